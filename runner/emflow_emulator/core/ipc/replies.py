"""Replies for which the device waits: at most one for each component and deployment, with a timeout."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK = 0.2
"""Seconds between two checks whether the caller has given up."""


class PendingReplies(Generic[T]):
    """Requests to components that have no reply yet, and the received replies."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: set[tuple[str, str]] = set()
        self._replies: dict[tuple[str, str], T] = {}

    def ask(self, component: str, deployment: str) -> None:
        """Expect a reply. Call this before the component gets the request."""
        with self._changed:
            self._open.add((component, deployment))

    def answer(self, component: str, deployment: str, what: T) -> bool:
        """Store a reply; False when none is expected."""
        with self._changed:
            asked = (component, deployment) in self._open
            if asked:
                self._open.discard((component, deployment))
                self._replies[component, deployment] = what
                self._changed.notify_all()
        return asked

    def give_up(self, component: str) -> None:
        """Stop waiting for a reply of this component, which has ended."""
        with self._changed:
            self._open = {each for each in self._open if each[0] != component}
            self._changed.notify_all()

    def wait(self, deployment: str, timeout: float, given_up: threading.Event) -> dict[str, T]:
        """The replies by component, once all are there, after `timeout` seconds, or once `given_up` is set."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not given_up.is_set() and any(about == deployment for _, about in self._open):
                rest = deadline - time.monotonic()
                if rest <= 0:
                    break
                self._changed.wait(min(rest, _LOOK))
            self._open = {each for each in self._open if each[1] != deployment}
            found = {component: reply for (component, about), reply in self._replies.items() if about == deployment}
            self._replies.clear()
        return found
