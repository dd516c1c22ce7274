"""The video that a camera describes in its answer to DESCRIBE (SDP, RFC 4566; H.264 RFC 6184, H.265 RFC 7798)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from emflow_edge.rtsp.messages import small_integer

_START = b"\0\0\0\1"
_RTPMAP = re.compile(r"(\d{1,3})\s+([^/\s]+)/(\d{1,9})")
_FMTP = re.compile(r"(\d{1,3})\s+(.*)", re.DOTALL)
# Payload types with a meaning of their own that are video (RFC 3551, section 6).
_STATIC = {26: "JPEG", 31: "H261", 32: "MPV", 33: "MP2T", 34: "H263"}


@dataclass(frozen=True)
class VideoTrack:
    """One video track.

    codec: as SDP calls it, in capitals, such as `H264`; rate: ticks of the RTP clock a second; control: of the track,
    and `session` of all tracks together, as they are written; parameter_sets: with start codes, empty where the SDP has
    none; fps: frames a second, 0 where it does not say; numbered: H.265's decoding order numbers are in the payload.
    """

    codec: str
    payload_type: int
    rate: int = 90000
    control: str = ""
    session: str = ""
    parameter_sets: bytes = b""
    fps: float = 0.0
    numbered: bool = False


def find_video(description: str) -> VideoTrack | None:
    """The first video track, of a codec that is H.264 or H.265 where there is one; None without any."""
    session, *medias = re.split(r"(?m)^(?=m=)", description.replace("\r\n", "\n").replace("\r", "\n"))
    control = _attribute(session, "control")
    found = [_track(media, control) for media in medias if media.startswith("m=video")]
    return next((one for one in found if one.codec in ("H264", "H265")), found[0] if found else None)


def _track(media: str, session: str) -> VideoTrack:
    words = (small_integer(word) for word in media.split("\n", 1)[0].split()[3:])
    listed = [number for number in words if number is not None]
    maps = {int(number): (codec.upper(), int(rate)) for number, codec, rate in _RTPMAP.findall(media)}
    codecs = {"HEVC": "H265", "AVC": "H264"}
    for number in sorted(listed, key=lambda one: maps.get(one, ("",))[0] not in ("H264", "H265", "HEVC")):
        codec, rate = maps.get(number, (_STATIC.get(number, ""), 90000))
        if not codec:
            continue
        codec = codecs.get(codec, codec)
        parameters = _parameters(media, number)
        return VideoTrack(
            codec=codec,
            payload_type=number,
            rate=rate or 90000,
            control=_attribute(media, "control"),
            session=session,
            parameter_sets=_sets(codec, parameters),
            fps=_fps(_attribute(media, "framerate")),
            numbered=parameters.get("sprop-max-don-diff", "0") not in ("", "0"),
        )
    return VideoTrack("", listed[0] if listed else 0, control=_attribute(media, "control"), session=session)


def _attribute(text: str, name: str) -> str:
    match = re.search(rf"(?mi)^a={name}:[ \t]*(.*)$", text)
    return match.group(1).strip() if match else ""


def _parameters(media: str, number: int) -> dict[str, str]:
    for line in re.findall(r"(?mi)^a=fmtp:[ \t]*(.*)$", media):
        match = _FMTP.match(line)
        if match and int(match.group(1)) == number:
            pairs = (part.partition("=") for part in match.group(2).split(";"))
            return {name.strip().lower(): value.strip() for name, _, value in pairs}
    return {}


def _sets(codec: str, parameters: dict[str, str]) -> bytes:
    names = ("sprop-parameter-sets",) if codec == "H264" else ("sprop-vps", "sprop-sps", "sprop-pps")
    units = [_decoded(one) for name in names for one in parameters.get(name, "").split(",")]
    return b"".join(_START + unit for unit in units if unit)


def _decoded(text: str) -> bytes:
    try:
        # Some cameras leave the padding away, some end the unit with a zero too many.
        return base64.b64decode(text.strip() + "=" * (-len(text.strip()) % 4)).rstrip(b"\0")
    except (binascii.Error, ValueError):
        return b""


def _fps(text: str) -> float:
    try:
        fps = float(text)
    except ValueError:
        return 0.0
    return fps if 0 < fps <= 1000 else 0.0


def control_url(base: str, control: str) -> str:
    """The URL of a control attribute (RFC 2326, appendix C.1.1), joined as cameras understand it: by appending.

    FFmpeg and GStreamer do so too, also where the control begins with a slash.
    """
    if not control or control == "*":
        return base
    if re.match(r"(?i)rtsps?://", control):
        return control
    return f"{base.rstrip('/')}/{control.lstrip('/')}"
