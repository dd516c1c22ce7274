"""The access keys that the embedded AWS accepts: the run's key, and those that its IAM and STS have issued."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree

from emflow_emulator.access import AccessKey
from emflow_emulator.aws.protocol import Answer

_ABOUT_KEYS = b"AccessKey", b"DeleteUser", b"UpdateUser"
"""One of these is in every answer after which other keys are let in than before."""

Upstream = Callable[[str, dict[str, Any]], Answer]


@dataclass
class IssuedKey:
    """A key, when it ends (never: None), whether it may be used now, and the IAM user whose it is."""

    key: AccessKey
    ends: datetime | None = None
    active: bool = True
    user: str = ""

    @property
    def ended(self) -> bool:
        return self.ends is not None and self.ends <= datetime.now(UTC)


class Keys:
    """Passes requests to moto's IAM and STS and records the keys that are made, deactivated and removed.

    Args:
        own: the run's key, which is always accepted.
        upstream: sends a request to moto.
    """

    def __init__(self, own: AccessKey, upstream: Upstream) -> None:
        self._upstream = upstream
        self._own = own.id
        self._known = {own.id: IssuedKey(own)}
        self._lock = threading.Lock()

    def find(self, key_id: str) -> IssuedKey | None:
        """The key with this id; None if there is none or it is inactive."""
        with self._lock:
            known = self._known.get(key_id)
            return known if known and known.active else None

    def answer(self, service: str, environ: dict[str, Any]) -> Answer:
        """Answer one request to IAM or STS."""
        body = environ["wsgi.input"].read()
        environ["wsgi.input"].seek(0)
        answered = self._upstream(service, environ)
        if answered.status == 200 and any(word in answered.body for word in _ABOUT_KEYS):
            # As moto does, which looks into both.
            request = parse_qs(environ.get("QUERY_STRING", "")) | parse_qs(body.decode(errors="replace"))
            self._record(request, ElementTree.fromstring(answered.body))  # noqa: S314 moto wrote it
        return answered

    def _record(self, request: dict[str, list[str]], document: ElementTree.Element) -> None:
        operation = document.tag.rpartition("}")[2].removesuffix("Response")
        key_id = request.get("AccessKeyId", [""])[0]
        with self._lock:
            if operation == "DeleteAccessKey" and key_id != self._own:
                self._known.pop(key_id, None)
            elif operation == "UpdateAccessKey" and key_id in self._known and key_id != self._own:
                self._known[key_id].active = request.get("Status") == ["Active"]
            elif operation == "DeleteUser":
                # AWS refuses while there are keys; moto removes the user, whose keys would stay for ever.
                gone = request.get("UserName", [""])[0]
                self._known = {each: known for each, known in self._known.items() if not gone or known.user != gone}
            elif operation == "UpdateUser":
                renamed = request.get("UserName", [""])[0]
                for known in self._known.values():
                    if renamed and known.user == renamed:
                        known.user = request.get("NewUserName", [renamed])[0]
            for made in document.iter():
                members = {child.tag.rpartition("}")[2]: child.text or "" for child in made}
                if {"AccessKeyId", "SecretAccessKey"} <= members.keys():
                    self._add(members)

    def _add(self, made: dict[str, str]) -> None:
        self._known = {key_id: known for key_id, known in self._known.items() if not known.ended}
        key = AccessKey(made["AccessKeyId"], made["SecretAccessKey"], made.get("SessionToken", ""))
        ends = made.get("Expiration")
        end = datetime.fromisoformat(ends) if ends else None
        self._known[key.id] = IssuedKey(key, end, user=made.get("UserName", ""))
