"""URLs of cameras: their parts, as people write them, and how they may appear in a log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

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
_EXAMPLES = {"v4l2": "v4l2:///dev/video0", "file": "file:///var/lib/video.mp4"}
# The port may be anything here, so that a wrong one is reported as that.
_AUTHORITY = re.compile(r"(?P<host>\[[^]/?#@]*\]|[^]\[:/?#@]*)(?::(?P<port>[^/?#@]*))?(?P<path>[/?#].*)?", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}")
# Ports at which cameras listen: hardly the beginning of a password.
_WELL_KNOWN = ("80", "322", "443", "554", "8080", "8554")
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})"
_IP = re.compile(rf"(?:{_BYTE}\.){{3}}{_BYTE}|\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%.*)?\]")
_NAME = re.compile(r"[\w.-]+")
# How surely a text is a host: none, something that a resolver takes, a name, an IP address.
_IMPOSSIBLE, _POSSIBLE, _NAMED, _ADDRESS = range(4)
# Some end a line or a text where a URL is sent, logged or given to a library.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What people write in a path as it is, and what would end it in the line of a request, or in a quoted string.
_BREAKS_A_REQUEST = re.compile(r'[ "<>\\]')
_NO_PASSWORD = re.compile(r"://|\?.*=", re.DOTALL)


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

    @property
    def shown(self) -> str:
        """Scheme, host and port, for messages."""
        return f"{self.scheme}://{self.authority}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: whom user and password are for. `rtspt` is `rtsp`."""
        return ("rtsp" if self.scheme == "rtspt" else self.scheme), self.host.lower().rstrip("."), self.port


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
    if _CONTROL.search(url):
        raise ValueError(
            "holds a control character, such as the end of a line; leave it out, or write it with a percent sign,"
            " %0A for a line feed"
        )
    if scheme in LOCAL:
        path = unquote(rest)
        if not path.startswith("/"):
            raise ValueError(f"names no path on the device, with three slashes: {_EXAMPLES[scheme]}")
        return Place(scheme, "", 0, path)
    reading = _chosen(list(_readings(rest)))
    host = reading.host.strip("[]")
    try:
        # What looking it up does first, and stumbles over: an empty label, or one of over 63 characters.
        host.encode("idna")
    except UnicodeError as error:
        raise ValueError("names a host that cannot be one") from error
    if not reading.port_is_valid:
        raise ValueError("has no valid port")
    if not host:
        raise ValueError("has no host")
    user, password = map(unquote, reading.credentials.partition(":")[::2])
    if holds_control(user):
        # A password is never in a header as it is.
        raise ValueError(
            "holds a control character in the user name, such as the end of a line (%0D, %0A), which no camera takes;"
            " leave it out"
        )
    path = _BREAKS_A_REQUEST.sub(lambda found: quote(found.group()), reading.path)
    return Place(scheme, host, int(reading.port or PORTS[scheme]), path, user, password)


def holds_control(text: str) -> bool:
    """Whether a text holds a control character, which ends a line in some places."""
    return _CONTROL.search(text) is not None


@dataclass(frozen=True)
class _Reading:
    """One way to read what follows `://`. host: with the brackets of an IPv6 address."""

    credentials: str = field(repr=False)
    host: str
    port: str
    path: str = field(repr=False)

    @property
    def port_is_valid(self) -> bool:
        return not self.port or (_PORT.fullmatch(self.port) is not None and 0 < int(self.port) < 65536)

    @property
    def likelihood(self) -> int:
        """How surely the host is one."""
        if _IP.fullmatch(self.host):
            return _ADDRESS
        try:
            self.host.encode("idna")
        except UnicodeError:
            return _IMPOSSIBLE
        return _IMPOSSIBLE if not self.host else _NAMED if _NAME.fullmatch(self.host) else _POSSIBLE


def _readings(rest: str) -> Iterator[_Reading]:
    """Every way to read it: credentials up to any of the @, and a host behind. The standard's is the first."""
    end = min((rest.index(sign) for sign in "/?#" if sign in rest), default=len(rest))
    standard = rest.rfind("@", 0, end)
    ats = [at for at, sign in enumerate(rest) if sign == "@" and at > standard]
    for at in [standard, *ats]:
        credentials = rest[: max(at, 0)]
        match = _AUTHORITY.fullmatch(rest, at + 1)
        # Without a password, what precedes a later @ is a path with an @ in it.
        if match and (at == standard or ":" in credentials):
            yield _Reading(credentials, match.group("host"), match.group("port") or "", match.group("path") or "")


def _chosen(readings: list[_Reading]) -> _Reading:
    """The only reading that can be meant.

    Where there are several, the one whose host is an IP address is meant, as in `admin:p@ss/word@10.0.0.7/live`.
    Between names nothing decides: with the wrong one, a part of the password would be looked up as a name, and user
    and password would be given to another host.

    Raises:
        ValueError: there is none, or there are several.
    """
    if not readings:
        raise ValueError("is no address")
    # `user:password` looks like a host with a port that is none. The last host may have a port that is misspelt.
    if _names_its_port(*readings):
        return readings[0]
    left = [one for one in readings if one.port_is_valid or one is readings[-1]]
    best = max(one.likelihood for one in left)
    chosen = [one for one in left if one.likelihood == best]
    # Before it, a name with a dot and what looks like a query are hardly a part of a password.
    before = [one for one in left[: left.index(chosen[0])] if one.likelihood == _NAMED]
    if len(chosen) > 1 or any("." in one.host or _NO_PASSWORD.search(one.path) for one in before):
        raise ValueError(
            "can be read in several ways; in user, password and path, write %40 for @, %3A for :, %2F for /, %3F for ?"
            " and %23 for #"
        )
    return chosen[0]


def _names_its_port(first: _Reading, *others: _Reading) -> bool:
    """Whether host and port are meant by `camera:554/live@1080p`, which could be the user `camera` and `554/live`.

    Not where an address, a port or a path follows the @, or a name with a dot behind what is no query: that is what a
    host looks like, and what precedes it would be a password that is sent to another host.
    """
    return (
        not first.credentials
        and first.port in _WELL_KNOWN
        and first.likelihood >= _NAMED
        and not any(
            one.port
            or one.path
            or one.likelihood == _ADDRESS
            or ("." in one.host and not _NO_PASSWORD.search(one.credentials))
            for one in others
        )
    )


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
