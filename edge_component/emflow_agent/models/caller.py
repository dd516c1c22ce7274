"""Who calls: which client a call belongs to, and whether somebody still waits for its answer.

Every connection over a Unix socket has the same address, and gRPC tells no more of it, so a client that wants a turn of
its own says who it is in the metadata `emflow-client`, any text that others do not use. Calls without it belong to
one client for each gRPC implementation (its `user-agent`). A client that calls once at a time gets its turn either way:
calls of the same client are answered in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import grpc

KEY = "emflow-client"
LONGEST = 128


class Caller(Protocol):
    """Whoever made a call."""

    @property
    def client(self) -> str:
        """Calls with the same text share their turns."""

    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more: the client hung up or died, or its deadline passed."""

    def on_gone(self, then: Callable[[], None]) -> None:
        """Call `then` as soon as that is so; at once where it is so already."""


class GrpcCaller:
    """The client at the other end of a gRPC call."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context

    @property
    def client(self) -> str:
        said = {key: str(value) for key, value in self._context.invocation_metadata() if key in (KEY, "user-agent")}
        return (said.get(KEY) or f"{self._context.peer()} {said.get('user-agent', '')}")[:LONGEST]

    def is_gone(self) -> bool:
        return not self._context.is_active()

    def on_gone(self, then: Callable[[], None]) -> None:
        if not self._context.add_callback(then):
            then()


class LocalCaller:
    """A caller in this process, which waits for its answer whatever happens."""

    client = ""

    def is_gone(self) -> bool:
        return False

    def on_gone(self, then: Callable[[], None]) -> None:
        pass
