"""Client tokens: a create that is sent twice happens once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emflow_emulator.aws.errors import ApiError


class ClientTokens:
    """Remembers what each client token was used for and what came of it."""

    def __init__(self) -> None:
        self._used: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def once(self, params: dict[str, Any], create: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Create, or answer as the first time when the same request comes again under the same token.

        Raises:
            ApiError: the token was used for another request.
        """
        token = params.get("clientToken")
        if token in self._used:
            first, answer = self._used[token]
            if first != params:
                raise ApiError(
                    "ConflictException",
                    f"Client token {token} was used for a request with other parameters.",
                    resourceId=token,
                    resourceType="clientToken",
                )
            return answer
        answer = create()
        if token is not None:
            self._used[token] = (dict(params), answer)
        return answer
