"""Tags of SageMaker's resources, by ARN."""

from __future__ import annotations

from typing import Any

from emflow_emulator.aws.errors import ApiError
from emflow_emulator.aws.paging import page
from emflow_emulator.aws.protocol import Handler, Params


class Tags:
    """The tags of every existing resource."""

    def __init__(self) -> None:
        self._all: dict[str, dict[str, str]] = {}

    @property
    def handlers(self) -> dict[str, Handler]:
        return {"AddTags": self._add, "ListTags": self._list, "DeleteTags": self._delete}

    def new(self, arn: str, params: Params) -> None:
        """Add a new resource, with the tags of its request."""
        self._all[arn] = {tag["Key"]: tag["Value"] for tag in params.get("Tags", [])}

    def tagged(self) -> dict[str, dict[str, str]]:
        """All tags, by ARN."""
        return {arn: dict(tags) for arn, tags in self._all.items()}

    def drop(self, arn: str) -> None:
        """Remove a resource that was deleted."""
        self._all.pop(arn, None)

    def _add(self, params: Params) -> dict[str, Any]:
        tags = self._at(params)
        tags.update({tag["Key"]: tag["Value"] for tag in params["Tags"]})
        return {"Tags": _listed(tags)}

    def _list(self, params: Params) -> dict[str, Any]:
        listed, token = page(_listed(self._at(params)), params)
        return {"Tags": listed, "NextToken": token}

    def _delete(self, params: Params) -> None:
        tags = self._at(params)
        for key in params["TagKeys"]:
            tags.pop(key, None)

    def _at(self, params: Params) -> dict[str, str]:
        arn = params["ResourceArn"]
        if arn not in self._all:
            raise ApiError("ResourceNotFound", f"Could not find {arn}.")
        return self._all[arn]


def _listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
