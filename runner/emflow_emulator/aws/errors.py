"""The errors with which Greengrass and SageMaker answer requests that they refuse."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An error in the service's own shape.

    Args:
        code: the name of the error shape, such as `ResourceNotFoundException`; it also determines the HTTP status.
        message: the text that a client shows.
        members: further members of that shape, such as `resourceId` and `resourceType`.
    """

    def __init__(self, code: str, message: str, **members: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        # The serialiser reads the members of an error shape from the exception's attributes.
        for name, value in members.items():
            setattr(self, name, value)


def invalid(message: str, *fields: tuple[str, str], reason: str = "FIELD_VALIDATION_FAILED") -> ApiError:
    """A ValidationException; `fields` are (name, what is wrong with it), which only Greengrass has."""
    return ApiError(
        "ValidationException",
        message,
        reason=reason,
        fields=[{"name": name, "message": why} for name, why in fields],
    )
