"""An RTSP connection (RFC 2326): requests and responses, authentication, and interleaved packets."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Sequence

from emflow_edge.rtsp.auth import Authenticator, OriginCredentials, best_challenge
from emflow_edge.rtsp.buffered_socket import BufferedSocket
from emflow_edge.rtsp.errors import CameraLost, CameraRefused
from emflow_edge.rtsp.messages import MalformedMessage, MessageHead, request, take_head
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_schema.stream_url import Place

_AGENT = "emflow-edge"
_DOLLAR = 0x24
# Seconds for the answer to come after one that carries the number of a request that was answered already.
_REPEATED = 0.5
# What a camera may send between answers and packets before it is not RTSP at all.
_MOST_GARBAGE = 1 << 16
_MESSAGE = re.compile(rb"RTSP/|[A-Z_]{3,16} ")
# What has come of one so far.
_PARTLY = re.compile(rb"[A-Z_]{1,16}")
# A packet for a higher channel is none: a session has two.
_HIGHEST = b"\x20"
_BEGINNING = re.compile(rb"RTSP/|\$[\0-\x1f]")
_MEANINGS = {
    403: "denies access (403)",
    404: "has no such stream (404: is the path right?)",
    453: "has not enough bandwidth (453)",
    454: "forgot the session (454)",
    461: "does not offer this transport (461: try another one)",
    503: "is not ready (503)",
}


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
        self.wire = BufferedSocket(place.host, place.port, timeout, stop, context)
        self._place, self._credentials = place, credentials
        self._answers: Authenticator | None = None
        self._notice = notice
        self._sequence = 0
        # The requests whose answers carried their number, until numbers prove to say nothing.
        self._answered: set[str] = set()
        self._numbers_are_wrong = False
        self._garbage = 0
        self._head: MessageHead | None = None

    def ask(
        self, method: str, url: str, headers: Sequence[tuple[str, str]] = (), *, lenient: bool = False
    ) -> tuple[MessageHead, bytes]:
        """Send a request and wait for its answer; user and password go with it once they are asked for.

        Args:
            lenient: any status will do.

        Raises:
            CameraLost: the answer is no; CameraRefused where it will stay so.
        """
        self.send(method, url, headers)
        head, body = self._answer()
        if head.status == 401 and not lenient:
            # Once: a camera that asks again after it was answered says that they are wrong.
            self.accept_challenge(head)
            self.send(method, url, headers)
            head, body = self._answer()
            if head.status == 401:
                raise CameraRefused("refuses user and password (401)")
        if head.status == 200 or lenient or (300 <= head.status < 400 and method == "DESCRIBE"):
            return head, body
        meaning = _MEANINGS.get(head.status, f"answers {method} with {head.status} {head.first[2]}".strip())
        raise (CameraRefused if head.status == 403 else CameraLost)(meaning)

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
        self.wire.send(bytes([_DOLLAR, channel]) + len(data).to_bytes(2, "big") + data, self.deadline)

    def reply(self, head: MessageHead) -> None:
        """Answer a request of the camera."""
        answer = ("200", "OK") if head.first[0] == "OPTIONS" else ("501", "Not-Implemented")
        self.wire.send(request("RTSP/1.0", *answer, [("CSeq", head.get("cseq"))]), self.deadline)

    def _answer(self) -> tuple[MessageHead, bytes]:
        """The answer to the last request. What comes before it is read over.

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
        buffer = self.wire.buffer
        while self._head is None and buffer:
            if buffer[0] == _DOLLAR and buffer[1:2] < _HIGHEST:
                end = 4 + int.from_bytes(buffer[2:4], "big")
                if len(buffer) < 4 or len(buffer) < end:
                    return None
                self._garbage = 0
                packet = bytes(buffer[1:2] + buffer[4:end])
                del buffer[:end]
                return packet
            if _MESSAGE.match(buffer):
                self._head = take_head(buffer)
                break
            if _PARTLY.fullmatch(buffer):
                return None
            self._resynchronise(buffer)
        if self._head is None or len(buffer) < self._head.length:
            return None
        head, self._head = self._head, None
        body = bytes(buffer[: head.length])
        del buffer[: head.length]
        return head, body

    def _resynchronise(self, buffer: bytearray) -> None:
        """Drop what is neither a message nor a packet, up to what may be one."""
        found = _BEGINNING.search(buffer, 1)
        # The last bytes may be the beginning of a beginning.
        drop = found.start() if found else max(1, len(buffer) - 4)
        self._garbage += drop
        del buffer[:drop]
        if self._garbage > _MOST_GARBAGE:
            raise MalformedMessage("data that is not RTSP")
