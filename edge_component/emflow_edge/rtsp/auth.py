"""User and password as RTSP and HTTP want them: Basic (RFC 7617), and Digest by MD5 or SHA-256 (RFC 2617, RFC 7616)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from emflow_schema.stream_url import Place

# From the beginning of a word only: tried from each of its letters, a long one would hold the interpreter for a minute.
_PARAMETER = re.compile(r'(?<![\w-])([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
_SCHEME = re.compile(r"(?:^|,)\s*(Basic|Digest)(?=\s|$)", re.IGNORECASE)
# Best first.
_HASHES = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}


@dataclass(frozen=True)
class Challenge:
    """How a server wants to be answered. nonce, qop, opaque: as it gave them, for Digest."""

    algorithm: str
    realm: str = ""
    nonce: str = ""
    qop: bool = False
    opaque: str | None = None
    session: bool = False
    named: bool = False


def best_challenge(headers: Sequence[str]) -> Challenge | None:
    """The best of the challenges in `WWW-Authenticate` headers that can be answered; None when none can."""
    found: dict[str, Challenge] = {}
    for header in headers:
        starts = list(_SCHEME.finditer(header))
        for start, after in zip(starts, [*starts[1:], None]):
            text = header[start.end() : after.start() if after else len(header)]
            if start.group(1).lower() == "basic":
                found.setdefault("Basic", Challenge("Basic"))
                continue
            given = {
                name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
                for name, quoted, plain in _PARAMETER.findall(text)
            }
            name = given.get("algorithm", "MD5").upper()
            algorithm = name.removesuffix("-SESS")
            qops = [one.strip() for one in given.get("qop", "").lower().split(",")]
            if algorithm in _HASHES and "nonce" in given and ("qop" not in given or "auth" in qops):
                one = Challenge(
                    algorithm,
                    given.get("realm", ""),
                    given["nonce"],
                    "auth" in qops,
                    given.get("opaque"),
                    name.endswith("-SESS"),
                    "algorithm" in given,
                )
                found.setdefault(algorithm, one)
    return next((found[name] for name in (*_HASHES, "Basic") if name in found), None)


@dataclass(frozen=True)
class OriginCredentials:
    """User and password, and the place that they were given for: they go to its scheme, host and port only."""

    place: Place
    user: str = field(repr=False)
    password: str = field(repr=False)

    def at(self, place: Place) -> tuple[str, str]:
        """User and password for a place; empty for another origin, and where there are none."""
        return (self.user, self.password) if place.origin == self.place.origin else ("", "")

    def withheld(self, place: Place) -> bool:
        """Whether there are some, and this place is not given them."""
        return any((self.user, self.password)) and not any(self.at(place))

    def missing(self, place: Place) -> str:
        """Why a place that asks for user and password gets none."""
        missing = "requires user and password, but none are configured"
        if not self.withheld(place):
            return missing
        return f"redirects to {place.shown}, which {missing} for it; write that address in url, if it is the camera's"


class Authenticator:
    """Answers one challenge as often as is needed. Never in a representation: it knows the password."""

    def __init__(self, challenge: Challenge, user: str, password: str) -> None:
        self._challenge, self._user, self._password = challenge, user, password
        self._count = 0
        self._own_nonce = secrets.token_hex(8)

    @property
    def hides_the_password(self) -> bool:
        return self._challenge.algorithm != "Basic"

    def header(self, method: str, target: str) -> str:
        """The value of `Authorization` for one request."""
        asked = self._challenge
        if asked.algorithm == "Basic":
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        self._count += 1
        count, own = f"{self._count:08x}", self._own_nonce
        secret = self._hash(f"{self._user}:{asked.realm}:{self._password}")
        if asked.session:
            secret = self._hash(f"{secret}:{asked.nonce}:{own}")
        what = self._hash(f"{method}:{target}")
        middle = f"{asked.nonce}:{count}:{own}:auth" if asked.qop else asked.nonce
        parts = [
            f'username="{_quoted(self._user)}"',
            f'realm="{_quoted(asked.realm)}"',
            f'nonce="{_quoted(asked.nonce)}"',
            f'uri="{_quoted(target)}"',
            f'response="{self._hash(f"{secret}:{middle}:{what}")}"',
        ]
        if asked.named:
            parts.append(f"algorithm={asked.algorithm}{'-sess' if asked.session else ''}")
        if asked.opaque is not None:
            parts.append(f'opaque="{_quoted(asked.opaque)}"')
        if asked.qop:
            parts += ["qop=auth", f"nc={count}"]
        if asked.qop or asked.session:
            parts.append(f'cnonce="{own}"')
        return "Digest " + ", ".join(parts)

    def _hash(self, text: str) -> str:
        return _HASHES[self._challenge.algorithm](text.encode()).hexdigest()


def _quoted(text: str) -> str:
    """The inside of a quoted string (RFC 9110, section 5.6.4). Controls are refused by `request`."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
