"""Answers that components owe the device: one a component and deployment, waited for with a limit."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK = 0.2
"""Seconds between looks whether waiting is still wanted."""


class Answers(Generic[T]):
    """Questions that are open, and what came back."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: set[tuple[str, str]] = set()
        self._given: dict[tuple[str, str], T] = {}

    def ask(self, component: str, deployment: str) -> None:
        """From now on an answer is waited for. Ask before the component hears of it."""
        with self._changed:
            self._open.add((component, deployment))

    def answer(self, component: str, deployment: str, what: T) -> bool:
        """Whether anybody waits for this answer."""
        with self._changed:
            asked = (component, deployment) in self._open
            if asked:
                self._open.discard((component, deployment))
                self._given[component, deployment] = what
                self._changed.notify_all()
        return asked

    def give_up(self, component: str) -> None:
        """No answer of this component will come: it is gone."""
        with self._changed:
            self._open = {each for each in self._open if each[0] != component}
            self._changed.notify_all()

    def wait(self, deployment: str, timeout: float, given_up: threading.Event) -> dict[str, T]:
        """Answers by component, when all are there, `timeout` seconds are over, or nobody wants to know any more."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not given_up.is_set() and any(about == deployment for _, about in self._open):
                rest = deadline - time.monotonic()
                if rest <= 0:
                    break
                self._changed.wait(min(rest, _LOOK))
            self._open = {each for each in self._open if each[1] != deployment}
            found = {component: given for (component, about), given in self._given.items() if about == deployment}
            self._given.clear()
        return found
