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
PORTS = {"rtsp": 554, "rtspt": 554, "rtsps": 322, "http": 80, "https": 443}
# Host and port, then path segments of plain words only: `/user=admin_password=…` is a path on some cameras.
_PLAIN = re.compile(r"[\w.:~%\[\]-]*(?:/[\w.~%-]*(?=[/?#]|$))*")
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


def split(url: str) -> Place:
    """Take a URL apart. A password may hold `/`, `?`, `#` and `@` as they are, because people write it so.

    Raises:
        ValueError: it is no URL of a camera; the message says why, in words that hold nothing of it.
    """
    scheme, colon, rest = url.partition("://")
    scheme = scheme.lower()
    if not colon or scheme not in SCHEMES:
        raise ValueError(f"has to begin with {', '.join(f'{one}://' for one in SCHEMES)} or be gstreamer:")
    if scheme in LOCAL:
        path = unquote(rest)
        if not path.startswith("/"):
            raise ValueError(f"names no path: three slashes, as in {scheme}:///dev/video0")
        return Place(scheme, "", 0, path)
    readings = ((before, _AUTHORITY.fullmatch(place)) for before, place in _readings(rest))
    credentials, match = next((one for one in readings if one[1] and _is_port(one[1].group("port"))), ("", None))
    if match is None:
        raise ValueError("is not a URL")
    host = match.group("host").strip("[]")
    try:
        # What looking it up does first, and stumbles over: an empty label, or one of over 63 characters.
        host.encode("idna")
    except UnicodeError as error:
        raise ValueError("names a host that cannot be one") from error
    if not host:
        raise ValueError("names no host")
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
        return "gstreamer:" if url.lower() == "gstreamer:" else "***"
    # Not urlsplit: people write passwords that hold `/`, `?` or `#` as they are, and it would show their end as a path.
    _, at, place = rest.rpartition("@")
    kept = _PLAIN.match(place)
    plain = kept.group() if kept else ""
    hidden = place[len(plain) :]
    return f"{scheme}://{'***@' if at else ''}{plain}{f'{hidden[0]}***' if hidden else ''}"
