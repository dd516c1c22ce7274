"""A GET request to an HTTP camera, over challenges and redirects; user and password go to the URL's own origin only.

Uses HTTP/1.0, so that the response is not chunked by servers that keep to the protocol. Nothing here reads the
environment: a proxy that is set there gets no request of ours.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

from emflow_edge.rtsp.auth import Authenticator, OriginCredentials, best_challenge
from emflow_edge.rtsp.buffered_socket import BufferedSocket, tls_context
from emflow_edge.rtsp.errors import CameraLost, CameraRefused
from emflow_edge.rtsp.messages import MalformedMessage, MessageHead, request, take_head
from emflow_edge.rtsp.notices import Notice
from emflow_schema.stream_url import Place, split

_REDIRECTS = 5
# HTTP version not supported, and upgrade required.
_NEWER_WANTED = (505, 426)


@dataclass(frozen=True)
class HttpAnswer:
    """An answer with the status 200.

    wire: the connection, with the beginning of the body in its buffer; the caller closes it. protocol: that was asked
    by, `HTTP/1.0` or `HTTP/1.1`.
    """

    wire: BufferedSocket
    head: MessageHead
    protocol: str


class HttpRequest:
    """A request for what is at a place.

    Args:
        place: the parts of its URL.
        credentials: sent where they are asked for at their own origin.
        ca: file with the certificates to trust, for `https`; empty is those of the system.
        timeout: seconds in which it has to be answered.
        stop: ends all waiting.
        notice: reports redirects to which user and password are not sent, and other oddities.
    """

    def __init__(
        self,
        place: Place,
        credentials: OriginCredentials,
        ca: str,
        timeout: float,
        stop: threading.Event,
        notice: Notice,
    ) -> None:
        self._place, self._credentials, self._ca = place, credentials, ca
        self._stop, self._notice = stop, notice
        self._deadline = time.monotonic() + timeout
        self._protocol = "HTTP/1.0"

    def answer(self) -> HttpAnswer:
        """Send the request, and wait for its answer.

        Raises:
            CameraLost: there is none, or another status; CameraRefused: nor will there be, as things are.
        """
        with _explained():
            return self._ask()

    def _ask(self) -> HttpAnswer:
        place, answers = self._place, None
        for _ in range(_REDIRECTS):
            wire, head = self._exchange(place, answers)
            if head.status == 200:
                return HttpAnswer(wire, head, self._protocol)
            wire.close()
            if head.status == 401:
                if answers is not None:
                    raise CameraRefused("refuses user and password (401)")
                answers = self._accept_challenge(place, head)
            elif 300 <= head.status < 400:
                place, answers = self._redirected(place, head.get("location")), None
            elif head.status in _NEWER_WANTED and self._protocol == "HTTP/1.0":
                self._notice(f"refuses HTTP/1.0 ({head.status}); it is asked by HTTP/1.1")
                self._protocol = "HTTP/1.1"
            else:
                raise CameraLost(f"answers with {head.status} {head.first[2]}".strip())
        raise CameraLost("redirects too often")

    def _accept_challenge(self, place: Place, head: MessageHead) -> Authenticator:
        asked = best_challenge(head.all("www-authenticate"))
        own = self._credentials.at(place)
        if not any(own):
            raise CameraRefused(self._credentials.missing(place))
        if asked is None:
            raise CameraRefused("requires an authentication method that is not supported")
        return Authenticator(asked, *own)

    def _exchange(self, place: Place, answers: Authenticator | None) -> tuple[BufferedSocket, MessageHead]:
        context = tls_context(self._ca) if place.scheme == "https" else None
        left = max(0.1, self._deadline - time.monotonic())
        wire = BufferedSocket.connected(place.host, place.port, left, self._stop, context)
        try:
            target = (place.path if place.path.startswith("/") else f"/{place.path}").partition("#")[0]
            headers = [("Host", place.authority), ("User-Agent", "emflow-edge"), ("Connection", "close")]
            if answers is not None:
                headers.append(("Authorization", answers.header("GET", target)))
            wire.send(request("GET", target, self._protocol, headers), self._deadline)
            while True:
                head = take_head(wire.buffer)
                if head is not None:
                    return wire, head
                wire.fill(self._deadline)
        except BaseException:
            wire.close()
            raise

    def _redirected(self, place: Place, location: str) -> Place:
        try:
            to = split(urljoin(f"{place.scheme}://{place.authority}{place.path}", location))
        except ValueError as error:
            raise CameraRefused("redirects to an invalid URL") from error
        if to.scheme not in ("http", "https") or (place.scheme == "https" and to.scheme != "https"):
            raise CameraRefused(f"redirects to {to.scheme}, which is not allowed")
        if self._credentials.withheld(to):
            self._notice(f"redirects to {to.shown}; user and password are not sent there")
        return to


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Raise CameraLost for what shows that something is no HTTP camera."""
    try:
        yield
    except TimeoutError as error:
        raise CameraLost("does not answer; is it an HTTP camera?") from error
    except MalformedMessage as error:
        raise CameraLost(f"answers with {error}; is it an HTTP camera?") from error
