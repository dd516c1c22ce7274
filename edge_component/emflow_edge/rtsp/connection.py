"""An RTSP connection (RFC 2326): requests and responses, authentication, and interleaved packets."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Sequence
from typing import Callable

from emflow_edge.rtsp.auth import Authenticator, OriginCredentials, best_challenge
from emflow_edge.rtsp.buffered_socket import BufferedSocket
from emflow_edge.rtsp.errors import CameraLost, CameraRefused
from emflow_edge.rtsp.framing import RtspReader, framed
from emflow_edge.rtsp.messages import MessageHead, request
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_schema.stream_url import Place

_AGENT = "emflow-edge"
# Seconds for the answer to come after one that carries the number of a request that was answered already.
_REPEATED = 0.5
_MEANINGS = {
    403: "denies access (403)",
    404: "has no such stream (404: is the path right?)",
    453: "has not enough bandwidth (453)",
    454: "forgot the session (454)",
    461: "does not offer this transport (461: try another one)",
    503: "is not ready (503)",
}


def refusal(method: str, head: MessageHead) -> CameraLost:
    """What an answer that is neither 200 nor 401 means."""
    meaning = _MEANINGS.get(head.status, f"answers {method} with {head.status} {head.first[2]}".strip())
    return (CameraRefused if head.status == 403 else CameraLost)(meaning)


def _read_over(_packet: bytes) -> None:
    """Packets that nobody awaits yet."""


class RtspConnection:
    """To one camera. All waiting ends at `deadline`, a monotonic time, with TimeoutError.

    Args:
        place: the parts of its URL.
        credentials: user and password, which are sent if they are for this place.
        context: for TLS; None is plain TCP.
        timeout: seconds to connect in.
        stop: ends all waiting.
        notice: reports what the camera does otherwise than RTSP says.

    Raises:
        CameraLost: nothing answers.
    """

    def __init__(
        self,
        place: Place,
        credentials: OriginCredentials,
        context: ssl.SSLContext | None,
        timeout: float,
        stop: threading.Event,
        notice: Notice = no_notice,
    ) -> None:
        self.deadline = 0.0
        self.session = ""
        self.on_packet: Callable[[bytes], object] = _read_over
        """Called with the packets that come before an answer, each behind its channel."""
        self.wire = BufferedSocket.connected(place.host, place.port, timeout, stop, context)
        self._place, self._credentials = place, credentials
        self._answers: Authenticator | None = None
        self._notice = notice
        self._sequence = 0
        # The requests whose answers carried their number, until numbers prove to say nothing.
        self._answered: set[str] = set()
        self._numbers_are_wrong = False
        self._incoming = RtspReader(self.wire.buffer)

    def ask(
        self, method: str, url: str, headers: Sequence[tuple[str, str]] = (), *, lenient: bool = False
    ) -> tuple[MessageHead, bytes]:
        """Send a request and wait for its answer; user and password go with it once they are asked for.

        Args:
            lenient: any status will do.

        Raises:
            CameraLost: the answer is no; CameraRefused where it will stay so.
        """
        if lenient:
            self.send(method, url, headers)
            return self._answer()
        head, body = self.exchange(method, url, headers)
        if head.status == 200 or (300 <= head.status < 400 and method == "DESCRIBE"):
            return head, body
        raise refusal(method, head)

    def exchange(self, method: str, url: str, headers: Sequence[tuple[str, str]]) -> tuple[MessageHead, bytes]:
        """Send a request and wait for its answer, of any status but 401; user and password go with it once they are
        asked for.

        Raises:
            CameraLost: nothing answers; CameraRefused: user and password are missing or wrong.
        """
        self.send(method, url, headers)
        head, body = self._answer()
        if head.status == 401:
            # Once: a camera that asks again after it was answered says that they are wrong.
            self.accept_challenge(head)
            self.send(method, url, headers)
            head, body = self._answer()
            if head.status == 401:
                raise CameraRefused("refuses user and password (401)")
        return head, body

    def accept_challenge(self, head: MessageHead) -> None:
        """Take up a challenge, for all requests from now on.

        Raises:
            CameraRefused: it cannot be answered.
        """
        asked = best_challenge(head.all("www-authenticate"))
        own = self._credentials.at(self._place)
        if not any(own):
            raise CameraRefused(self._credentials.missing(self._place))
        if asked is None:
            raise CameraRefused("requires an authentication method that is not supported")
        answers = Authenticator(asked, *own)
        if self._answers is not None and self._answers.hides_the_password and not answers.hides_the_password:
            raise CameraRefused("asks for the password itself, after it asked for a digest of it")
        self._answers = answers

    def send(self, method: str, url: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send a request."""
        self._sequence += 1
        lines = [("CSeq", str(self._sequence)), ("User-Agent", _AGENT), *headers]
        if self.session:
            lines.append(("Session", self.session))
        if self._answers is not None:
            lines.append(("Authorization", self._answers.header(method, url)))
        self.wire.send(request(method, url, "RTSP/1.0", lines), self.deadline)

    def send_packet(self, channel: int, data: bytes) -> None:
        """Send a packet between the messages (RFC 2326, section 10.12)."""
        self.wire.send(framed(bytes([channel]) + data), self.deadline)

    def reply(self, head: MessageHead) -> None:
        """Answer a request of the camera."""
        answer = ("200", "OK") if head.first[0] == "OPTIONS" else ("501", "Not-Implemented")
        self.wire.send(request("RTSP/1.0", *answer, [("CSeq", head.get("cseq"))]), self.deadline)

    def _answer(self) -> tuple[MessageHead, bytes]:
        """The answer to the last request. Messages that come before it are read over.

        Requests are sent one at a time, so the order tells which one is answered. The number in `CSeq` is a hint: it
        only tells an answer that comes twice from one whose number is wrong.
        """
        wanted, repeated = str(self._sequence), None
        deadline = self.deadline
        while True:
            try:
                found = self.take()
                if found is None:
                    self.wire.fill(deadline)
            except TimeoutError:
                if repeated is None:
                    raise
                found = repeated
            if isinstance(found, bytes):
                self.on_packet(found)
            if not isinstance(found, tuple) or found[0].status < 200:
                continue
            number = found[0].get("cseq", wanted).strip()
            if number == wanted:
                self._answered.add(number)
                return found
            if number in self._answered and repeated is None and not self._numbers_are_wrong:
                repeated, deadline = found, min(self.deadline, time.monotonic() + _REPEATED)
            elif number not in self._answered or found is repeated or self._numbers_are_wrong:
                self._numbers_are_wrong = True
                self._notice("answers with wrong numbers (CSeq); its answers are taken in their order")
                return found

    def take(self) -> tuple[MessageHead, bytes] | bytes | None:
        """The next thing that came: a message with its body, or a packet behind its channel; None when none is whole.

        Raises:
            MalformedMessage: what comes is no RTSP.
        """
        return self._incoming.take()
