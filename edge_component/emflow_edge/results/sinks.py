"""Ways out of the device: AWS IoT Core through the Greengrass nucleus, and standard output; `mqtt` has the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from emflow_edge.ipc import Nucleus
from emflow_schema.errors import EdgeProblem


@dataclass(frozen=True)
class Message:
    """What is sent. lasting: it is no result, and of use however late it arrives."""

    topic: str
    payload: str
    qos: int = 1
    retain: bool = False
    lasting: bool = False


class Refused(Exception):
    """The other side does not want this message; others it may."""


class Outlet(Protocol):
    """One place to send messages to. Used by one thread."""

    def open(self, lost: Callable[[], object], will: Message | None) -> None:
        """Get ready to send.

        Args:
            lost: called once, from any thread, when nothing can be sent any more until it was closed and opened again.
            will: what the other side is to publish then, where it can do such a thing.

        Raises:
            EdgeProblem: it will never be.
            Exception: it is not now.
        """

    def send(self, message: Message) -> Future[Any]:
        """Begin to deliver one message, after those before it. `Refused` or any other exception: it was not delivered.

        Raises:
            EdgeProblem: nothing can be delivered any more.
            Exception: it was not delivered.
        """

    def close(self) -> None:
        """Let go. What was not delivered by now will not be."""


class GreengrassOutlet:
    """AWS IoT Core through the nucleus, which keeps QoS 1 messages while the core is offline."""

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus

    def open(self, lost: Callable[[], object], will: Message | None) -> None:
        """Nothing: the nucleus connects by itself, and has no wills."""

    def send(self, message: Message) -> Future[Any]:
        asked = self._nucleus.publish(message.topic, message.payload.encode(), message.qos, message.retain)
        return checked(asked, lambda _: None, _refusal)

    def close(self) -> None:
        """Nothing: the nucleus is there for more than messages."""


class StdoutOutlet:
    """One result a line, and nothing else: there are no topics to tell it from."""

    def open(self, lost: Callable[[], object], will: Message | None) -> None:
        """Nothing: it is open from the start."""

    def send(self, message: Message) -> Future[Any]:
        try:
            if not message.lasting:
                sys.stdout.write(message.payload + "\n")
                sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read has gone, as `head` does; what is left in the buffer must not complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise EdgeProblem("standard output was closed") from None
        done: Future[Any] = Future()
        done.set_result(None)
        return done

    def close(self) -> None:
        """Nothing: others write there, too."""


def checked(
    asked: Future[Any],
    check: Callable[[Any], object],
    mend: Callable[[BaseException], BaseException] = lambda error: error,
) -> Future[Any]:
    """A future that fails when `check` raises for the result of `asked`, and with `mend` of the error of `asked`."""
    answer: Future[Any] = Future()

    def done(asked: Future[Any]) -> None:
        try:
            error = asked.exception()
            if error is None:
                check(asked.result())
        except BaseException as raised:
            error = raised
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(mend(error))

    asked.add_done_callback(done)
    return answer


def _refusal(error: BaseException) -> BaseException:
    # By name: the nucleus' errors come with a package that only a component in Greengrass has to load.
    if type(error).__name__ in ("UnauthorizedError", "InvalidArgumentsError"):
        return Refused(getattr(error, "message", None) or str(error))
    return error
