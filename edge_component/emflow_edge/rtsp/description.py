"""From a camera's URL to its answer to DESCRIBE, over redirects; user and password go to the URL's own origin only."""

from __future__ import annotations

import contextlib
import dataclasses
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

from emflow_edge.rtsp.auth import OriginCredentials
from emflow_edge.rtsp.buffered_socket import tls_context
from emflow_edge.rtsp.connection import RtspConnection
from emflow_edge.rtsp.errors import CameraLost, CameraRefused
from emflow_edge.rtsp.messages import MalformedMessage, MessageHead
from emflow_edge.rtsp.notices import Notice
from emflow_schema.stream_url import RTSP, Place, split

_REDIRECTS = 5


@dataclass(frozen=True)
class Description:
    """What a camera answers.

    connection: to the camera that answered, which is at `place`; url: that was asked for; methods: that it offers, in
    capitals; head, body: of its answer.
    """

    connection: RtspConnection
    place: Place
    url: str
    methods: str
    head: MessageHead
    body: bytes

    @property
    def base(self) -> str:
        """What the tracks' URLs begin with, out of what the camera says that it is."""
        given = self.head.get("content-base") or self.head.get("content-location")
        try:
            return urljoin(self.url, given) if given.startswith("/") else given or self.url
        except ValueError:
            return self.url


def describe(
    place: Place,
    credentials: OriginCredentials,
    context: ssl.SSLContext | None,
    timeout: float,
    stop: threading.Event,
    notice: Notice,
) -> Description:
    """Ask for the description of the stream at a place. The caller closes the connection.

    Args:
        place: the parts of its URL.
        credentials: sent where they are asked for at their own origin.
        context: what to trust, for `rtsps`; None is the certificates of the system.
        timeout: seconds in which it has to answer.
        stop: ends all waiting.
        notice: reports redirects to which user and password are not sent, and other oddities.

    Raises:
        CameraLost: it does not answer, or not with a description; CameraRefused: nor will it, as things are.
    """
    deadline = time.monotonic() + timeout
    for _ in range(_REDIRECTS):
        trusted = (context or tls_context("")) if place.scheme == "rtsps" else None
        left = max(0.1, deadline - time.monotonic())
        connection = RtspConnection(place, credentials, trusted, left, stop, notice)
        connection.deadline = deadline
        try:
            with explained():
                url = f"{'rtsps' if place.scheme == 'rtsps' else 'rtsp'}://{place.authority}{place.path or '/'}"
                methods = connection.ask("OPTIONS", url, lenient=True)[0].get("public").upper()
                head, body = connection.ask("DESCRIBE", url, [("Accept", "application/sdp")])
            if not 300 <= head.status < 400:
                return Description(connection, place, url, methods, head, body)
            place = _redirected(place, head.get("location"))
        except BaseException:
            connection.wire.close()
            raise
        connection.wire.close()
        if credentials.withheld(place):
            notice(f"redirects to {place.shown}; user and password are not sent there")
    raise CameraLost("redirects too often")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise CameraLost for what shows that something is no RTSP camera."""
    try:
        yield
    except TimeoutError as error:
        raise CameraLost("does not answer; is it an RTSP camera?") from error
    except MalformedMessage as error:
        raise CameraLost(f"answers with {error}; is it an RTSP camera?") from error


def _redirected(place: Place, location: str) -> Place:
    try:
        # Only of `rtsp` does `urljoin` know, in all versions, that it has relative addresses.
        to = split(urljoin(f"rtsp://{place.authority}{place.path}", location))
    except ValueError as error:
        raise CameraRefused("redirects to an invalid URL") from error
    if "://" not in location:
        return dataclasses.replace(place, path=to.path)
    if to.scheme not in RTSP or (place.scheme == "rtsps" and to.scheme != "rtsps"):
        raise CameraRefused(f"redirects to {to.scheme}, which is not allowed")
    return to
