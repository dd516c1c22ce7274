"""Cameras as the configuration names them: the section `streams`, and how a URL may appear in a log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from emflow_edge.problems import ConfigProblem
from emflow_edge.settings import fields

# `rtspt` is GStreamer's and FFmpeg's way of saying RTSP over TCP. All of these go over TCP here.
SCHEMES = ("rtsp", "rtspt", "rtsps")
_PORTS = {"rtsp": 554, "rtsps": 322}
# Host and port, then path segments of plain words only: `/user=admin_password=…` is a path on some cameras.
_PLAIN = re.compile(r"[\w.:~%\[\]-]*(?:/[\w.~%-]*(?=[/?#]|$))*")


@dataclass(frozen=True)
class Stream:
    """One camera. `every` is the time between two inferences in seconds; 0 means as fast as it goes."""

    name: str
    url: str
    every: float = 1.0

    @property
    def source(self) -> str:
        """The URL as OpenCV's FFmpeg backend wants it."""
        scheme, _, rest = self.url.partition("://")
        return f"{'rtsp' if scheme.lower() == 'rtspt' else scheme.lower()}://{rest}"

    @property
    def shown(self) -> str:
        """The URL as it may appear in a log."""
        return redacted(self.url)

    @property
    def address(self) -> tuple[str, int]:
        """Host and TCP port of the camera."""
        parts = urlsplit(self.source)
        return parts.hostname or "", parts.port or _PORTS[parts.scheme]


def redacted(url: str) -> str:
    """The URL without whatever may be a secret: cameras take passwords before the host, in the query, in the path."""
    scheme, colon, rest = url.partition("://")
    if not colon:
        return "***"
    # Not urlsplit: people write passwords that hold `/`, `?` or `#` as they are, and it would show their end as a path.
    _, at, place = rest.rpartition("@")
    kept = _PLAIN.match(place)
    plain = kept.group() if kept else ""
    hidden = place[len(plain) :]
    return f"{scheme}://{'***@' if at else ''}{plain}{f'{hidden[0]}***' if hidden else ''}"


def why_not(url: str) -> str | None:
    """What is wrong with a stream URL, in words without the URL; None when nothing is."""
    try:
        parts: SplitResult = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    try:
        # What looking it up does first, and stumbles over: an empty label, or one of over 63 characters.
        (host or "").encode("idna")
    except UnicodeError:
        return "names a host that cannot be one"
    if parts.scheme.lower() not in SCHEMES:
        return f"has to begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)}"
    if not host:
        return "names no host"
    return None


def read_streams(config: Mapping[str, Any]) -> tuple[Stream, ...]:
    """Check `streams`, or the workshop's `rtspStreamURL`.

    Raises:
        ConfigProblem: there is none, or a value is wrong.
    """
    listed, url = config.get("streams"), fields.text(config, "rtspStreamURL")
    if listed and url:
        raise ConfigProblem("streams and rtspStreamURL are both given: keep one of them")
    if url:
        listed = [{"name": "camera", "url": url}]
    if not listed:
        raise ConfigProblem("streams: there is none; give at least one, or rtspStreamURL, or -s")
    if not isinstance(listed, list):
        raise ConfigProblem("streams: has to be a list")
    streams = tuple(_stream(one, f"streams[{number}]" if not url else "") for number, one in enumerate(listed))
    names = [stream.name for stream in streams]
    for name in names:
        if names.count(name) > 1:
            raise ConfigProblem(f"streams: the name {name!r} is given twice")
    return streams


def _stream(one: Any, place: str) -> Stream:
    if not isinstance(one, Mapping):
        raise ConfigProblem(f"{place}: has to be an object with name, url and every")
    prefix = f"{place}." if place else ""
    url = fields.text(one, "url", required="-s", prefix=prefix)
    wrong = why_not(url)
    if wrong:
        # Without the value: it may hold a password.
        raise ConfigProblem(f"{f'{prefix}url' if place else 'rtspStreamURL'}: {wrong}")
    return Stream(
        name=fields.text(one, "name", required="name", prefix=prefix),
        url=url,
        every=fields.seconds(one, "every", "1s", prefix=prefix),
    )
