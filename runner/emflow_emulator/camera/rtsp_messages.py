"""RTSP messages: parses requests, Transport headers and logins; makes responses and session descriptions. No I/O.

RTSP 1.0 is RFC 2326, SDP is RFC 4566, H.264 over RTP is RFC 6184. Logins use digest authentication, as most cameras do:
the client proves the password with an MD5 over it and a nonce of the server (RFC 2617, section 3.2, without `qop`, as
RTSP clients do it).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import parse_http_list, parse_keqv_list

from emflow.json_text import from_json
from emflow.problems import Problem

TRACK = "trackID=0"
PAYLOAD_TYPE = 96
METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER")

_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    461: "Unsupported Transport",
    501: "Not Implemented",
    505: "RTSP Version Not Supported",
}


class BadRequest(Exception):
    """The received bytes are not an RTSP request."""


@dataclass(frozen=True)
class RtspRequest:
    """One request. Header names are in lower case."""

    method: str
    url: str
    version: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """The URL's path without a final slash; for `*` or another kind of URL, its remaining text."""
        return urlsplit(self.url).path.rstrip("/")

    @property
    def session(self) -> str:
        return self.headers.get("session", "").split(";")[0].strip()


@dataclass(frozen=True)
class Interleaved:
    """RTP and RTCP inside the RTSP connection, each under its channel number."""

    rtp: int
    rtcp: int

    @property
    def header(self) -> str:
        return f"RTP/AVP/TCP;unicast;interleaved={self.rtp}-{self.rtcp}"


@dataclass(frozen=True)
class Datagrams:
    """RTP and RTCP as UDP, to these two ports of the client."""

    rtp: int
    rtcp: int

    def header(self, server: tuple[int, int]) -> str:
        return f"RTP/AVP;unicast;client_port={self.rtp}-{self.rtcp};server_port={server[0]}-{server[1]}"


def parse_request(head: bytes) -> RtspRequest:
    """Read a request's head, up to its empty line.

    Raises:
        BadRequest: it is not an RTSP request.
    """
    try:
        first, *rest = head.decode("utf-8").split("\r\n")
        method, url, version = first.split(" ")
        urlsplit(url)
    except ValueError as error:
        raise BadRequest(f"not an RTSP request: {head[:80]!r}") from error
    if not version.startswith("RTSP/"):
        raise BadRequest(f"not an RTSP request: {head[:80]!r}")
    headers = {}
    for line in filter(None, rest):
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest(f"not an RTSP header: {line[:80]!r}")
        headers[name.strip().lower()] = value.strip()
    return RtspRequest(method, url, version, headers)


def content_length(request: RtspRequest) -> int:
    """Bytes that follow the head.

    Raises:
        BadRequest: the header is not a number, or is larger than the limit.
    """
    text = request.headers.get("content-length", "0")
    if not text.isdecimal() or int(text) > 65536:
        raise BadRequest(f"Content-Length {text[:20]!r}")
    return int(text)


def choose_transport(header: str) -> Interleaved | Datagrams | None:
    """The first transport in a client's list that this camera supports; None if there is none.

    A client lists the transports that it supports in its order of preference:
    `RTP/AVP/TCP;unicast;interleaved=0-1,RTP/AVP;unicast;client_port=5000-5001`.
    """
    for offer in header.split(","):
        kind, *parts = (part.strip() for part in offer.split(";"))
        values = dict(part.partition("=")[::2] for part in parts)
        if "multicast" in values:
            continue
        match kind.upper():
            case "RTP/AVP/TCP":
                if pair := _pair(values.get("interleaved", "0-1"), 255):
                    return Interleaved(*pair)
            case "RTP/AVP" | "RTP/AVP/UDP":
                if pair := _pair(values.get("client_port", ""), 65535):
                    return Datagrams(*pair)
    return None


def _pair(text: str, highest: int) -> tuple[int, int] | None:
    first, _, second = text.partition("-")
    if not first.isdecimal() or (second and not second.isdecimal()):
        return None
    low, high = int(first), int(second) if second else int(first) + 1
    return (low, high) if low != high and max(low, high) <= highest else None


def response(
    status: int, request: RtspRequest | None = None, headers: Mapping[str, str] | None = None, body: str = ""
) -> bytes:
    """A response; with the sequence number of `request` if it is given."""
    lines = [f"RTSP/1.0 {status} {_REASONS[status]}"]
    if request and "cseq" in request.headers:
        lines.append(f"CSeq: {request.headers['cseq']}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    data = body.encode()
    if data:
        lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*lines, "", ""]).encode() + data


def session_description(name: str, rate: int, sps: bytes, pps: bytes) -> str:
    """SDP for one H.264 track.

    Args:
        name: the camera's name, for people.
        rate: frames per second.
        sps: sequence parameter set, without a start code.
        pps: picture parameter set, without a start code.
    """
    # RFC 6184, section 8.1: the profile and level are the three bytes after the NAL header of the SPS.
    format_parameters = (
        "packetization-mode=1",
        f"profile-level-id={sps[1:4].hex().upper()}",
        f"sprop-parameter-sets={base64.b64encode(sps).decode()},{base64.b64encode(pps).decode()}",
    )
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        f"s={name}",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        f"a=rtpmap:{PAYLOAD_TYPE} H264/90000",
        f"a=fmtp:{PAYLOAD_TYPE} {';'.join(format_parameters)}",
        f"a=framerate:{rate}",
        f"a=control:{TRACK}",
    ]
    return "\r\n".join([*lines, ""])


_REALM = "emflow test camera"


@dataclass(frozen=True)
class Login:
    """The one user of a camera."""

    username: str
    password: str = field(repr=False)
    nonce: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def challenge(self) -> str:
        """The value of the header WWW-Authenticate."""
        return f'Digest realm="{_REALM}", nonce="{self.nonce}"'

    def admits(self, request: RtspRequest) -> bool:
        """Whether a request has the digest of this user's password."""
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "digest":
            return False
        try:
            fields = parse_keqv_list(parse_http_list(text))
        except (ValueError, IndexError):
            return False
        if (fields.get("username"), fields.get("nonce")) != (self.username, self.nonce):
            return False
        who = _md5(f"{self.username}:{_REALM}:{self.password}")
        what = _md5(f"{request.method}:{fields.get('uri', '')}")
        proof = _md5(f"{who}:{self.nonce}:{what}")
        return hmac.compare_digest(proof.encode(), fields.get("response", "").encode())


def read_login(path: Path) -> Login:
    """Read a JSON file with `username` and `password`.

    Raises:
        Problem: the file cannot be read, or its content has another form.
    """
    try:
        document = from_json(path.read_text())
        username, password = document["username"], document["password"]
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}", where="--login") from error
    except (ValueError, TypeError, KeyError) as error:
        mend = 'Write {"username": "…", "password": "…"}.'
        raise Problem(f"{path} is not a JSON object with username and password", where="--login", mend=mend) from error
    return Login(str(username), str(password))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
