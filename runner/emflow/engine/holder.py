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

from emflow.problems import printable

LASTS = 120.0
"""Seconds that a lock holds without being renewed; long enough for a laptop that changes networks."""

LONGEST = 3600.0
"""Seconds that a lock is believed to last at most, whatever it says; a damaged one keeps nobody out for longer."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Args:
        id: of this one run, so that it knows its own writing when the answer to it was lost.
        owner: for people, such as `anna@laptop`.
        process: its number, within `machine`.
        machine: tells a machine, since its start, from every other, and containers on it too; empty where unknown.
        born: when the process started, by the machine's own count: its number may be another's by now; empty where
            unknown.
        lasts: seconds from one renewal to the next at most.
        expires: by the holder's clock; for people only.
    """

    id: str
    owner: str
    process: int
    machine: str
    born: str
    started: datetime
    lasts: float
    expires: datetime

    @classmethod
    def here(cls, lasts: float = LASTS) -> Holder:
        """This process, from now on."""
        now = datetime.now(UTC)
        owner = f"{_user()}@{socket.gethostname()}"
        process, expires = os.getpid(), now + timedelta(seconds=lasts)
        return cls(uuid.uuid4().hex, owner, process, _machine(), _born(process) or "", now, lasts, expires)

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
                born=str(facts.get("born", "")),
                lasts=_believed(float(facts["lasts"])),
                **times,
            )
        except (ValueError, TypeError, KeyError, OverflowError):
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
        except (ProcessLookupError, OverflowError):  # no process can have such a number
            return True
        except OSError:  # there, and somebody else's
            pass
        born = _born(self.process)
        return born is None or bool(self.born and born and born != self.born)

    def __str__(self) -> str:
        return printable(f"{self.owner} (process {self.process})")


def _believed(lasts: float) -> float:
    """Seconds as a document gives them, which may be anything, also no number."""
    return min(lasts, LONGEST) if lasts > 0 else LASTS


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "somebody"


def _born(process: int) -> str | None:
    """Clock ticks from the machine's start to the process's; None for a zombie, empty where this user cannot tell.

    The second word of /proc/PID/stat is in brackets and may hold anything; from it, the state is the first and the
    start the twentieth (proc_pid_stat(5)).
    """
    try:
        words = Path("/proc", str(process), "stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if words[0] in "ZX" else words[19]
    except (OSError, IndexError):
        return ""


def _machine() -> str:
    """This machine since its start, and the container in it; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        processes = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return hashlib.sha256(f"{socket.gethostname()} {boot} {processes}".encode()).hexdigest()[:16]
