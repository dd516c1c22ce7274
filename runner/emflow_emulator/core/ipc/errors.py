"""The errors that components can get over IPC, named as their SDK knows them, and checks of what they ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]

PREFIX = "aws.greengrass#"


class IpcError(Exception):
    """An error of the service model; `kind` is its name, such as `UnauthorizedError`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def invalid(message: str) -> IpcError:
    return IpcError("InvalidArgumentsError", message)


def not_found(message: str) -> IpcError:
    return IpcError("ResourceNotFoundError", message)


def unauthorized(component: str, service: str, operation: str, resource: str) -> IpcError:
    """In the nucleus's words."""
    return IpcError(
        "UnauthorizedError",
        f"Authorization failed with error Principal {component} is not authorized to perform "
        f"{service}:{operation} on resource {resource}",
    )


def text(request: Mapping[str, Any], key: str) -> str:
    """A text that has to be there.

    Raises:
        IpcError: it is not, or is none.
    """
    value = request.get(key)
    if not isinstance(value, str) or not value:
        raise invalid(f"{key} is missing, or not text")
    return value


def optional_text(request: Mapping[str, Any], key: str) -> str | None:
    """A text, or None where it is missing or empty.

    Raises:
        IpcError: it is something else.
    """
    value = request.get(key)
    if value is not None and not isinstance(value, str):
        raise invalid(f"{key} is not text")
    return value or None


def key_path(request: Mapping[str, Any]) -> list[str]:
    """`keyPath`, empty where it is missing.

    Raises:
        IpcError: it is no list of texts.
    """
    keys = request.get("keyPath") or []
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise invalid("keyPath is not a list of texts")
    return keys
