"""The test camera's door: who may see it, by RTSP's digest authentication, as most real cameras ask for it.

RFC 2326 takes it over from HTTP: a nonce of the server's, and an MD5 that proves the password without saying it
(RFC 2617, section 3.2, without `qop`, as RTSP clients do it).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import parse_http_list, parse_keqv_list

from emflow.problems import Problem
from emflow_emulator.camera.rtsp_messages import Request

_REALM = "emflow test camera"


@dataclass(frozen=True)
class Login:
    """The one user of a camera."""

    username: str
    password: str = field(repr=False)
    nonce: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def challenge(self) -> str:
        """For the header WWW-Authenticate."""
        return f'Digest realm="{_REALM}", nonce="{self.nonce}"'

    def admits(self, request: Request) -> bool:
        """Whether a request proves that it comes from this user."""
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "digest":
            return False
        try:
            given = parse_keqv_list(parse_http_list(text))
        except (ValueError, IndexError):
            return False
        if (given.get("username"), given.get("nonce")) != (self.username, self.nonce):
            return False
        who = _md5(f"{self.username}:{_REALM}:{self.password}")
        what = _md5(f"{request.method}:{given.get('uri', '')}")
        proof = _md5(f"{who}:{self.nonce}:{what}")
        return hmac.compare_digest(proof.encode(), given.get("response", "").encode())


def read_login(path: Path) -> Login:
    """Read a JSON file with `username` and `password`.

    Raises:
        Problem: it is not there, or something else.
    """
    try:
        document = json.loads(path.read_text())
        username, password = document["username"], document["password"]
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}", where="--login") from error
    except (ValueError, TypeError, KeyError) as error:
        mend = 'Write {"username": "…", "password": "…"}.'
        raise Problem(f"{path} is no JSON object with username and password", where="--login", mend=mend) from error
    return Login(str(username), str(password))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
