"""Cameras as the configuration names them: the section `streams`, or the workshop's `rtspStreamURL`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emflow_schema import fields
from emflow_schema.errors import ConfigProblem
from emflow_schema.stream_url import RTSP, SCHEMES, Place, redacted, split

__all__ = ["BACKENDS", "PRESETS", "SCHEMES", "TRANSPORTS", "Stream", "read_streams", "redacted", "why_not"]

TRANSPORTS = ("tcp", "udp")
BACKENDS = ("auto", "ffmpeg", "opencv", "gstreamer")
PRESETS = ("imx8mp", "imx8mp-h265", "decodebin")
GSTREAMER = "gstreamer:"
_SECRET = re.compile(r"arn:[^\s]+|[\w/+=.@-]+")


@dataclass(frozen=True)
class Stream:
    """One camera and how it is read.

    every: seconds between two inferences, 0 is as fast as it goes; every_frames: with n above 0, every n-th frame
    instead. backend: `auto` is ours with PyAV where that is installed, else OpenCV's FFmpeg. pipeline: a preset's name,
    or a GStreamer pipeline that may hold `{url}`. secret: name or ARN of one in Secrets Manager with `username` and
    `password`. ca: file of certificates to trust for rtsps and https; the system's when empty. Timeouts in seconds;
    frozen_after, black_after: seconds after which such a picture is reported, 0 never.
    """

    name: str
    url: str = field(repr=False)
    every: float = 1.0
    every_frames: int = 0
    transport: str = "tcp"
    backend: str = "auto"
    pipeline: str = field(default="", repr=False)
    secret: str = ""
    ca: str = ""
    open_timeout: float = 5.0
    read_timeout: float = 3.0
    frozen_after: float = 30.0
    black_after: float = 30.0

    @property
    def place(self) -> Place:
        """The parts of the URL."""
        return split(self.url)

    @property
    def scheme(self) -> str:
        """The URL's scheme; `gstreamer` where a pipeline stands for the URL."""
        return self.url.partition(":")[0].lower()

    @property
    def shown(self) -> str:
        """The URL as it may appear in a log."""
        return redacted(self.url)

    @property
    def pace(self) -> str:
        """How often, in words."""
        if self.every_frames:
            return f"every {self.every_frames} frames"
        return f"every {self.every:g} s" if self.every else "as fast as it goes"


def why_not(url: str) -> str | None:
    """What is wrong with a stream URL, in words without the URL; None when nothing is."""
    if url.lower() == GSTREAMER:
        return None
    try:
        split(url)
    except ValueError as error:
        return str(error)
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
    every, every_frames = fields.every(one, "every", "1s", prefix)
    stream = Stream(
        name=fields.text(one, "name", required="name", prefix=prefix),
        url=url,
        every=every,
        every_frames=every_frames,
        transport=fields.choice(one, "transport", TRANSPORTS, prefix),
        backend=fields.choice(one, "backend", BACKENDS, prefix),
        pipeline=fields.text(one, "pipeline", prefix=prefix),
        secret=_secret(one, f"{prefix}credentials"),
        ca=fields.text(one, "ca", prefix=prefix),
        open_timeout=_timeout(one, "openTimeout", "5s", prefix),
        read_timeout=_timeout(one, "readTimeout", "3s", prefix),
        frozen_after=fields.seconds(one, "frozenAfter", "30s", prefix),
        black_after=fields.seconds(one, "blackAfter", "30s", prefix),
    )
    _check(stream, prefix)
    return stream


def _check(stream: Stream, prefix: str) -> None:
    """Raise ConfigProblem where two values do not fit each other."""
    pipeline, scheme = stream.pipeline, stream.scheme
    if pipeline and "!" not in pipeline and pipeline not in PRESETS:
        # Without the value: it may hold a URL with a password.
        raise ConfigProblem(
            f"{prefix}pipeline: is neither {' nor '.join(PRESETS)} nor a pipeline (elements joined by !)"
        )
    if scheme == "gstreamer" and "!" not in pipeline:
        raise ConfigProblem(f"{prefix}pipeline: is missing; gstreamer: needs one, as in videotestsrc ! appsink")
    if pipeline and stream.backend not in ("auto", "gstreamer"):
        raise ConfigProblem(f"{prefix}backend: {stream.backend} runs no pipeline; leave it out, or say gstreamer")
    if pipeline and scheme not in ("gstreamer", *RTSP) and pipeline in PRESETS:
        raise ConfigProblem(f"{prefix}pipeline: {pipeline} is for RTSP; this stream's URL begins with {scheme}://")
    if stream.backend == "gstreamer" and not pipeline and scheme not in RTSP:
        raise ConfigProblem(f"{prefix}pipeline: is missing; backend gstreamer needs one for {scheme}://")
    if scheme in ("rtspt", "rtsps") and stream.transport == "udp":
        raise ConfigProblem(f"{prefix}transport: {scheme}:// is always over TCP; leave it out, or say rtsp://")
    try:
        if stream.ca and not Path(stream.ca).is_file():
            raise ConfigProblem(f"{prefix}ca: there is no file {stream.ca}")
    except OSError as error:
        raise ConfigProblem(f"{prefix}ca: {stream.ca} cannot be read: {error.strerror}") from error


def _secret(one: Mapping[str, Any], key: str) -> str:
    given = one.get("credentials")
    if given is None or given == {}:
        return ""
    if not isinstance(given, Mapping):
        raise ConfigProblem(f"{key}: has to be an object with secret")
    secret = fields.text(given, "secret", prefix=f"{key}.")
    if set(given) - {"secret"} or not _SECRET.fullmatch(secret):
        # Without the values: one of them may be a password.
        raise ConfigProblem(f"{key}: has to hold secret, the name or ARN of one in Secrets Manager, and nothing else")
    return secret


def _timeout(one: Mapping[str, Any], key: str, default: str, prefix: str) -> float:
    value = fields.seconds(one, key, default, prefix)
    if value < 0.1:
        raise ConfigProblem(f"{prefix}{key}: has to be 100ms or longer")
    return value
