"""Cameras' credentials, by the name of a secret: out of Secrets Manager through Greengrass, or out of a file.

The file (`--secrets FILE`) is JSON, `{"NAME": {"username": "…", "password": "…"}}`, that nobody but its owner may read;
it is read whenever credentials are needed, so a new password in it needs no restart. Nothing of either is ever logged.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from emflow_edge.ipc import Nucleus
from emflow_schema.errors import ConfigProblem, EdgeProblem

_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class NucleusSecrets:
    """Secrets of Secrets Manager, which the nucleus keeps copies of."""

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus
        self._asked: set[str] = set()

    def __call__(self, name: str) -> tuple[str, str]:
        """User and password. Asked again, the copy is not trusted: the camera refused what was in it.

        Raises:
            EdgeProblem: there is no such secret, or no user and password in it.
        """
        again = name in self._asked
        self._asked.add(name)
        return credentials(self._nucleus.secret(name, refresh=again), name)


class FileSecrets:
    """Secrets in a file of this device; None is no file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __call__(self, name: str) -> tuple[str, str]:
        """User and password.

        Raises:
            EdgeProblem: there is no file, others can read it, or it does not hold the secret.
        """
        if self._path is None:
            raise EdgeProblem(f"the secret {name} is not known: outside of Greengrass, --secrets names a file with it")
        try:
            if self._path.stat().st_mode & _FOR_OTHERS:
                raise ConfigProblem(f"--secrets: others can read {self._path}; run: chmod 600 {self._path}")
            held = json.loads(self._path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigProblem(f"--secrets: {self._path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError):
            # Without what is wrong with it: that would show a piece of it.
            raise ConfigProblem(f"--secrets: {self._path} is not JSON") from None
        if not isinstance(held, dict) or name not in held:
            raise EdgeProblem(f"the secret {name} is not in {self._path}")
        return _pair(held[name], name)


def credentials(text: str | bytes, name: str) -> tuple[str, str]:
    """User and password out of a secret: JSON with `username` and `password`, as Secrets Manager keeps them.

    Raises:
        EdgeProblem: it is something else. The message does not show it.
    """
    try:
        return _pair(json.loads(text), name)
    except (ValueError, RecursionError):
        raise _unusable(name) from None


def _pair(value: Any, name: str) -> tuple[str, str]:
    user, password = (value.get("username"), value.get("password")) if isinstance(value, dict) else (None, None)
    if not isinstance(user, str) or not isinstance(password, str):
        raise _unusable(name)
    return user, password


def _unusable(name: str) -> EdgeProblem:
    return EdgeProblem(f"the secret {name} is no JSON object with username and password")
