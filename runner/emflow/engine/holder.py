"""Who holds a lock: a process on a machine, as a document that people and other machines can read."""

from __future__ import annotations

import dataclasses
import getpass
import hashlib
import json
import os
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

LASTS = 120.0
"""Seconds that a lock holds without being renewed; long enough for a laptop that changes networks."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Args:
        id: of this one run, so that it knows its own writing when the answer to it was lost.
        owner: for people, such as `anna@laptop`.
        process: its number, within `machine`.
        machine: tells a machine, since its start, from every other, and containers on it too; empty where unknown.
        lasts: seconds from one renewal to the next at most.
        expires: by the holder's clock; for people only.
    """

    id: str
    owner: str
    process: int
    machine: str
    started: datetime
    lasts: float
    expires: datetime

    @classmethod
    def here(cls, lasts: float = LASTS) -> Holder:
        """This process, from now on."""
        now = datetime.now(UTC)
        owner = f"{_user()}@{socket.gethostname()}"
        return cls(uuid.uuid4().hex, owner, os.getpid(), _machine(), now, lasts, now + timedelta(seconds=lasts))

    @classmethod
    def read(cls, body: bytes) -> Holder | None:
        """The holder that a lock's document names; None where it is no such document."""
        try:
            facts = json.loads(body)
            times = {key: datetime.fromisoformat(facts[key]).astimezone(UTC) for key in ("started", "expires")}
            return cls(
                id=str(facts["id"]),
                owner=str(facts["owner"]),
                process=int(facts["process"]),
                machine=str(facts["machine"]),
                lasts=float(facts["lasts"]),
                **times,
            )
        except (ValueError, TypeError, KeyError):
            return None

    def renewed(self) -> Holder:
        return dataclasses.replace(self, expires=datetime.now(UTC) + timedelta(seconds=self.lasts))

    def document(self) -> bytes:
        facts = dataclasses.asdict(self)
        facts |= {key: facts[key].isoformat(timespec="seconds") for key in ("started", "expires")}
        return json.dumps(facts, indent=2).encode()

    def gone(self) -> bool:
        """Whether its process has ended, as far as can be told from here: False where it cannot."""
        if not self.machine or self.machine != _machine():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    def __str__(self) -> str:
        return f"{self.owner} (process {self.process})"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "somebody"


def _machine() -> str:
    """This machine since its start, and the container in it; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        processes = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return hashlib.sha256(f"{socket.gethostname()} {boot} {processes}".encode()).hexdigest()[:16]
