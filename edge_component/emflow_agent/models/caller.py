"""Identifies the client of a call, and tells whether it still waits for the answer.

All connections over a Unix socket have the same address, so gRPC cannot tell clients apart. A client that wants its own
place in the fair queue sends the metadata key `emflow-client` with a text that no other client uses. Without it, all
clients with the same gRPC implementation (`user-agent`) count as one. Calls of one client are answered in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import grpc

from emflow_agent.errors import CallerGone

CLIENT_KEY = "emflow-client"
MAX_CLIENT_LENGTH = 128


class Caller(Protocol):
    """The origin of a call."""

    @property
    def client(self) -> str:
        """Identifies the client: calls with the same text share one place in the fair queue."""

    def is_gone(self) -> bool:
        """Whether the client no longer waits: it cancelled, disconnected, or its deadline passed."""

    def on_gone(self, then: Callable[[], None]) -> None:
        """Call `then` when the client is gone; immediately if it is gone already."""


class GrpcCaller:
    """The client of a gRPC call."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context

    @property
    def client(self) -> str:
        metadata = {
            key: str(value) for key, value in self._context.invocation_metadata() if key in (CLIENT_KEY, "user-agent")
        }
        return (metadata.get(CLIENT_KEY) or f"{self._context.peer()} {metadata.get('user-agent', '')}")[
            :MAX_CLIENT_LENGTH
        ]

    def is_gone(self) -> bool:
        return not self._context.is_active()

    def on_gone(self, then: Callable[[], None]) -> None:
        if not self._context.add_callback(then):
            then()


class LocalCaller:
    """A caller inside this process, which always waits for the answer."""

    client = ""

    def is_gone(self) -> bool:
        return False

    def on_gone(self, then: Callable[[], None]) -> None:
        pass


def check_not_gone(caller: Caller) -> None:
    """Raises: CallerGone: nobody waits for the answer."""
    if caller.is_gone():
        raise CallerGone("the caller is gone")
