"""Lists in pages: MaxResults, and an opaque NextToken."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from emflow.json_text import from_json, to_json
from emflow_emulator.aws.errors import invalid

T = TypeVar("T")

_PAGING = frozenset({"maxresults", "nexttoken"})


def page(items: Sequence[T], params: Mapping[str, Any], default: int = 50) -> tuple[list[T], str | None]:
    """The page that `params` asks for, and the token of the next page; None after the last page.

    A token is valid only for the query that returned it.

    Raises:
        ApiError: the token was not made here, or belongs to another query.
    """
    lowered = {name.lower(): value for name, value in params.items()}
    query = _digest({name: str(value) for name, value in params.items() if name.lower() not in _PAGING})
    start = _start(lowered["nexttoken"], query) if lowered.get("nexttoken") else 0
    end = start + int(lowered.get("maxresults") or default)
    token = None
    if end < len(items):
        token = base64.urlsafe_b64encode(to_json([query, end]).encode()).decode()
    return list(items[start:end]), token


def _start(token: str, query: str) -> int:
    try:
        owner, start = from_json(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError) as error:
        raise invalid("The pagination token is invalid.", ("nextToken", "is not a token of this service")) from error
    if owner != query:
        raise invalid("The pagination token is invalid.", ("nextToken", "was given for another request"))
    return int(start)


def _digest(value: Mapping[str, str]) -> str:
    return hashlib.sha256(to_json(value, sort_keys=True).encode()).hexdigest()[:16]
