"""Credentials of cameras, by the name of a secret: from Secrets Manager through Greengrass, or from a file.

The file (`--secrets FILE`) is JSON, `{"NAME": {"username": "…", "password": "…"}}`, readable by its owner only. It is
read whenever credentials are needed, so a new password needs no restart. Secrets are never logged.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from emflow_edge.ipc import Nucleus
from emflow_schema.errors import ConfigProblem, EdgeProblem
from emflow_schema.stream_url import holds_control

_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class NucleusSecrets:
    """Secrets of Secrets Manager; the nucleus caches them."""

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus
        self._asked: set[str] = set()

    def __call__(self, name: str) -> tuple[str, str]:
        """User and password. A second call for a name bypasses the cache, because the camera refused the cached ones.

        Raises:
            EdgeProblem: the secret does not exist, or does not hold user and password.
        """
        again = name in self._asked
        self._asked.add(name)
        return credentials(self._nucleus.secret(name, refresh=again), name)


class FileSecrets:
    """Secrets in a file on this device; None for no file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __call__(self, name: str) -> tuple[str, str]:
        """User and password.

        Raises:
            EdgeProblem: there is no file, other users can read it, or it does not hold the secret.
        """
        if self._path is None:
            raise EdgeProblem(
                f"the secret {name} is not known; outside of Greengrass, give a file with it in --secrets"
            )
        try:
            if self._path.stat().st_mode & _FOR_OTHERS:
                raise ConfigProblem(f"--secrets: other users can read {self._path}; run: chmod 600 {self._path}")
            held = json.loads(self._path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigProblem(f"--secrets: {self._path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError):
            # Without the details of the error, which would show a part of the file.
            raise ConfigProblem(f"--secrets: {self._path} is not JSON") from None
        if not isinstance(held, dict) or name not in held:
            raise EdgeProblem(f"the secret {name} is not in {self._path}")
        return _pair(held[name], name)


def credentials(text: str | bytes, name: str) -> tuple[str, str]:
    """Parse user and password from a secret: JSON with `username` and `password`.

    Raises:
        EdgeProblem: it is something else. The message does not show the content.
    """
    try:
        return _pair(json.loads(text), name)
    except (ValueError, RecursionError):
        raise _unusable(name) from None


def _pair(value: Any, name: str) -> tuple[str, str]:
    user, password = (value.get("username"), value.get("password")) if isinstance(value, dict) else (None, None)
    if not isinstance(user, str) or not isinstance(password, str):
        raise _unusable(name)
    if holds_control(user):
        # A password is never in a header as it is.
        raise EdgeProblem(
            f"the secret {name} holds a control character in username, such as the end of a line, which no camera"
            " takes; leave it out"
        )
    return user, password


def _unusable(name: str) -> EdgeProblem:
    return EdgeProblem(f"the secret {name} is not a JSON object with username and password")
