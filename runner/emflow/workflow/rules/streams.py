"""Rules for streams: an address that the edge component can read, and settings that mean something for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from emflow.workflow.model import Stream, Workflow
from emflow.workflow.rules.violation import Offence
from emflow.workflow.source.positions import KeyPath, format_path
from emflow.workflow.suggestions import did_you_mean

RTSP = ("rtsp", "rtspt", "rtsps")
HTTP = ("http", "https")
LOCAL = ("v4l2", "file")
GSTREAMER = "gstreamer"
SCHEMES = (*RTSP, *HTTP, *LOCAL)

PRESETS = ("imx8mp", "imx8mp-h265", "decodebin")
"""Pipelines that the component knows by name; all of them read RTSP."""

_EXAMPLE = "for example: rtspt://192.168.1.20/stream1"


def streams(workflow: Workflow) -> Iterator[Offence]:
    for index, stream in enumerate(workflow.edge.streams):
        place: KeyPath = ("edge", "streams", index)
        scheme = stream.url.partition(":")[0].lower()
        wrong = tuple(_address(stream.url, (*place, "url")))
        yield from wrong or (*_reading(stream, scheme, place), *_pipeline(stream, scheme, place))


def _address(address: str, place: KeyPath) -> Iterator[Offence]:
    if address.lower() == f"{GSTREAMER}:":
        return
    try:
        url = urlsplit(address)
        host, _ = url.hostname, url.port
    except ValueError as error:  # its own words are left out, because a part of a password may stand in them
        why = "no valid port" if "port" in str(error).lower() else "no address"
        yield Offence(place, f"{format_path(place)} has {why}", _EXAMPLE)
        return
    if url.scheme not in SCHEMES or "://" not in address:
        kind = f"an address with {url.scheme}:" if url.scheme else "a path"
        mend = (
            did_you_mean(url.scheme, dict.fromkeys(SCHEMES))
            or f"begin with {', '.join(f'{one}://' for one in SCHEMES)}"
        )
        yield Offence(place, f"{format_path(place)} is {kind}, which the component cannot read", mend)
    elif url.scheme in LOCAL:
        if not address.partition("://")[2].startswith("/"):
            example = {"v4l2": "v4l2:///dev/video0", "file": "file:///var/lib/video.mp4"}[url.scheme]
            yield Offence(place, f"{format_path(place)} names no path on the device", f"with three slashes: {example}")
    elif why := _host_fault(url, host):
        yield Offence(place, f"{format_path(place)} {why}", _EXAMPLE)
    elif re.search(r"\s", address):
        yield Offence(place, f"{format_path(place)} has a space in it", "write it as %20")


def _host_fault(url: SplitResult, host: str | None) -> str:
    if not host:
        return "has no host"
    try:
        host.encode("idna")  # what looking it up does first: no empty label, none over 63 characters
    except UnicodeError:
        return "names a host that cannot be one"
    return "has no valid port" if url.port == 0 else ""


def _reading(stream: Stream, scheme: str, place: KeyPath) -> Iterator[Offence]:
    """Settings that say something else than the address, or nothing to it."""
    if stream.transport == "udp" and scheme != "rtsp":
        always = f"{scheme}:// is always over TCP" if scheme in RTSP else "the transport is for rtsp://"
        yield Offence((*place, "transport"), f"udp, and {always}", "leave it out, or write rtsp://")
    if stream.ca and scheme not in ("rtsps", "https"):
        yield Offence((*place, "ca"), f"{scheme}: has no certificates to check", "leave it out, or write rtsps://")
    if stream.credentials and scheme not in (*RTSP, *HTTP):
        yield Offence((*place, "credentials"), f"{scheme}: asks for no credentials", "leave them out")


def _pipeline(stream: Stream, scheme: str, place: KeyPath) -> Iterator[Offence]:
    pipeline, at = stream.pipeline or "", (*place, "pipeline")
    preset = pipeline in PRESETS
    if pipeline and "!" not in pipeline and not preset:
        mend = did_you_mean(pipeline, dict.fromkeys(PRESETS)) or f"presets: {', '.join(PRESETS)}"
        yield Offence(at, "neither a preset nor a pipeline, whose elements are joined by `!`", mend)
    elif pipeline and stream.backend not in ("auto", GSTREAMER):
        yield Offence((*place, "backend"), f"{stream.backend} runs no pipeline", "write gstreamer, or leave it out")
    elif preset and scheme not in RTSP:
        yield Offence(at, f"{pipeline} is for RTSP, the address begins with {scheme}:", "write a pipeline of your own")
    elif not pipeline and scheme == GSTREAMER:
        mend = 'for example: pipeline: "videotestsrc ! videoconvert ! appsink"'
        yield Offence((*place, "url"), "gstreamer: is the pipeline's word, and there is no pipeline", mend)
    elif not pipeline and stream.backend == GSTREAMER and scheme not in RTSP:
        yield Offence((*place, "backend"), f"gstreamer needs a pipeline for {scheme}:", "add pipeline: …")
