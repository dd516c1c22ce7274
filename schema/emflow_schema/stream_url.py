"""URLs of cameras: their parts, as people write them, and how they may appear in a log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

# `rtspt` is GStreamer's and FFmpeg's way of saying RTSP over TCP.
RTSP = ("rtsp", "rtspt", "rtsps")
HTTP = ("http", "https")
LOCAL = ("v4l2", "file")
SCHEMES = (*RTSP, *HTTP, *LOCAL)
GSTREAMER = "gstreamer:"
"""Stands for the URL where a pipeline is the whole source."""
PORTS = {"rtsp": 554, "rtspt": 554, "rtsps": 322, "http": 80, "https": 443}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,20}")
# Host and port, then path segments of plain words only: `/user=admin_password=…` is a path on some cameras.
_PLAIN = re.compile(r"[\w.:~%\[\]-]*(?:/[\w.~%-]*(?=[/?#]|$))*")
_WITH_PORT = re.compile(r"(?:\[[^]/?#@]*\]|[^]\[:/?#@]*):[^/?#]*(?:[/?#].*)?", re.DOTALL)
_EXAMPLES = {"v4l2": "v4l2:///dev/video0", "file": "file:///var/lib/video.mp4"}
_AUTHORITY = re.compile(r"(?P<host>\[[^]/?#@]*\]|[^]\[:/?#@]*)(?::(?P<port>[0-9]{0,5}))?(?P<path>[/?#].*)?", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """The parts of a camera's URL.

    host: without the brackets of an IPv6 address; path: with its query, as it is requested; for a device or a file its
    path on this machine. User and password are empty when there is none, and in no representation.
    """

    scheme: str
    host: str
    port: int
    path: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def authority(self) -> str:
        """Host and port as a URL has them; the port only where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS.get(self.scheme) else f"{host}:{self.port}"


class UnknownScheme(ValueError):
    """A URL begins with what the component does not read; `scheme` is that, or empty where it is no scheme."""

    def __init__(self, scheme: str) -> None:
        what = f"an address with {scheme}:" if scheme else "a path"
        known = ", ".join(f"{one}://" for one in SCHEMES)
        super().__init__(f"is {what}, which the component cannot read; it reads {known} and {GSTREAMER}")
        self.scheme = scheme


def why_not(url: str) -> ValueError | None:
    """What is wrong with a stream's URL, in words without the URL; None when nothing is."""
    if url.lower() == GSTREAMER:
        return None
    try:
        split(url)
    except ValueError as error:
        return error
    return None


def split(url: str) -> Place:
    """Take a URL apart. A password may hold `/`, `?`, `#` and `@` as they are, because people write it so.

    Raises:
        ValueError: it is no URL of a camera; the message says why, in words that hold nothing of it.
    """
    scheme, colon, rest = url.partition("://")
    scheme = scheme.lower()
    if not colon or scheme not in SCHEMES:
        raise UnknownScheme(scheme if colon and _SCHEME.fullmatch(scheme) else "")
    if scheme in LOCAL:
        path = unquote(rest)
        if not path.startswith("/"):
            raise ValueError(f"names no path on the device, with three slashes: {_EXAMPLES[scheme]}")
        return Place(scheme, "", 0, path)
    readings = ((before, _AUTHORITY.fullmatch(place)) for before, place in _readings(rest))
    credentials, match = next((one for one in readings if one[1] and _is_port(one[1].group("port"))), ("", None))
    if match is None:
        wrong_port = any(_WITH_PORT.fullmatch(place) for _, place in _readings(rest))
        raise ValueError("has no valid port" if wrong_port else "is no address")
    host = match.group("host").strip("[]")
    try:
        # What looking it up does first, and stumbles over: an empty label, or one of over 63 characters.
        host.encode("idna")
    except UnicodeError as error:
        raise ValueError("names a host that cannot be one") from error
    if not host:
        raise ValueError("has no host")
    user, _, password = credentials.partition(":")
    port = int(match.group("port") or PORTS[scheme])
    return Place(scheme, host, port, match.group("path") or "", unquote(user), unquote(password))


def _is_port(text: str | None) -> bool:
    return int(text or 1) in range(1, 65536)


def _readings(rest: str) -> Iterator[tuple[str, str]]:
    """Credentials, and what follows them: first as the standard has it, then with a password that holds a slash."""
    end = min((rest.index(sign) for sign in "/?#" if sign in rest), default=len(rest))
    credentials, _, host = rest[:end].rpartition("@")
    yield credentials, host + rest[end:]
    credentials, _, place = rest.rpartition("@")
    yield credentials, place


def redacted(url: str) -> str:
    """The URL without whatever may be a secret: cameras take passwords before the host, in the query, in the path."""
    scheme, colon, rest = url.partition("://")
    if not colon:
        return GSTREAMER if url.lower() == GSTREAMER else "***"
    # Not urlsplit: people write passwords that hold `/`, `?` or `#` as they are, and it would show their end as a path.
    _, at, place = rest.rpartition("@")
    kept = _PLAIN.match(place)
    plain = kept.group() if kept else ""
    hidden = place[len(plain) :]
    return f"{scheme}://{'***@' if at else ''}{plain}{f'{hidden[0]}***' if hidden else ''}"
