"""Tags of IoT role aliases, which moto's IoT does not store.

A workflow makes only role aliases in IoT. Tags of other resources can be written and read here too, but tags from the
request that created such a resource are not known.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

from emflow.json_text import from_json
from emflow_emulator.aws.protocol import Answer, Params, answer

_PATHS = {"/tags", "/untag"}
_ALIAS = "/role-aliases/"

CallMoto = Callable[[str, dict[str, Any]], Answer]


class IotTags:
    """Answers requests about tags, passes others to moto's IoT, and records role aliases that are made and removed."""

    def __init__(self, call_moto: CallMoto) -> None:
        self._call_moto = call_moto
        self._tags: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        self._handlers = {
            "ListTagsForResource": self._list,
            "TagResource": self._tag,
            "UntagResource": self._untag,
        }

    def tagged(self) -> dict[str, dict[str, str]]:
        """The tags of all resources in IoT, of all regions, by ARN."""
        with self._lock:
            return {arn: dict(tags) for arn, tags in self._tags.items()}

    def answer(self, environ: dict[str, Any]) -> Answer:
        """Answer one request to IoT."""
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path in _PATHS:
            return answer("iot", environ, self._handlers)
        if not path.startswith(_ALIAS) or method not in {"POST", "DELETE"}:
            return self._call_moto("iot", environ)
        body = environ["wsgi.input"].read()
        arn = self._arn(environ) if method == "DELETE" else ""
        answered = self._call_moto("iot", {**environ, "wsgi.input": io.BytesIO(body)})
        if answered.status == 200:
            with self._lock:
                if method == "DELETE":
                    self._tags.pop(arn, None)
                else:
                    self._tags[from_json(answered.body)["roleAliasArn"]] = _pairs(from_json(body).get("tags"))
        return answered

    def _arn(self, environ: dict[str, Any]) -> str:
        """The ARN of the alias that a request names; called while the alias still exists."""
        described = self._call_moto("iot", {**environ, "REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO()})
        if described.status != 200:
            return ""
        return str(from_json(described.body)["roleAliasDescription"]["roleAliasArn"])

    def _list(self, params: Params) -> dict[str, Any]:
        with self._lock:
            tags = self._tags.get(params["resourceArn"], {})
            return {"tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def _tag(self, params: Params) -> None:
        with self._lock:
            self._tags.setdefault(params["resourceArn"], {}).update(_pairs(params["tags"]))

    def _untag(self, params: Params) -> None:
        with self._lock:
            for key in params["tagKeys"]:
                self._tags.get(params["resourceArn"], {}).pop(key, None)


def _pairs(tags: Any) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in tags or ()}
