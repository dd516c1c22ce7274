"""The errors that components can get over IPC, with the names of their SDK, and checks of their requests."""

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
    """An UnauthorizedError with the nucleus's message."""
    return IpcError(
        "UnauthorizedError",
        f"Authorization failed with error Principal {component} is not authorized to perform "
        f"{service}:{operation} on resource {resource}",
    )


def text(request: Mapping[str, Any], key: str) -> str:
    """A required string.

    Raises:
        IpcError: it is missing, or is not a string.
    """
    value = request.get(key)
    if not isinstance(value, str) or not value:
        raise invalid(f"{key} is missing, or is not a string")
    return value


def optional_text(request: Mapping[str, Any], key: str) -> str | None:
    """An optional string; None if it is missing or empty.

    Raises:
        IpcError: it is not a string.
    """
    value = request.get(key)
    if value is not None and not isinstance(value, str):
        raise invalid(f"{key} is not a string")
    return value or None


def key_path(request: Mapping[str, Any]) -> list[str]:
    """`keyPath`; empty if it is missing.

    Raises:
        IpcError: it is not a list of strings.
    """
    keys = request.get("keyPath") or []
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise invalid("keyPath is not a list of strings")
    return keys
