"""One change of a workflow at a time: a lock that says who holds it, since when, and when it lapses by itself.

The lock is a small document in a place where a write can be made to succeed only if nobody wrote there since
(`Store`). Whoever holds it writes it anew from time to time; one that has not been renewed for as long as it lasts is
nobody's, and the next one takes it over. How old it is tells the store's own clock: those of two machines differ.

A lock whose process is gone from this very machine is taken over at once, so that after a crash nobody has to wait.

Whoever is about to change something looks first whether the lock is still there and still its own (`check`), so that a
run whose lock was taken away does nothing more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Protocol

from emflow.problems import Problem, printable

# Who holds a lock: a process on a machine, as a document that people and other machines can read.


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


BEATS = 4
"""How often a lock is renewed within the time that it lasts."""

GONE = "the place where it was is gone"


@dataclass(frozen=True)
class Found:
    """What a store holds.

    Args:
        version: names this very writing, for a write that is to replace it and nothing else.
        age: seconds since it was written, by the store's clock.
    """

    body: bytes
    version: str
    age: float


class NoPlace(Exception):
    """Where the lock would be, there is nothing yet."""


class Store(Protocol):
    """Where a lock is kept. Every call may raise a `Problem` where it is out of reach, and `NoPlace`."""

    @property
    def where(self) -> str:
        """For people, such as `s3://bucket/key`."""

    @property
    def needs(self) -> str:
        """The id of the resource that it is kept in."""

    def read(self) -> Found | None:
        """What is there."""

    def write(self, body: bytes, over: str | None) -> str | None:
        """Write if what is there is still the version `over`, or still nothing; the new version, None if it is not."""

    def remove(self, version: str) -> bool:
        """Remove this version; whether it was still the one that is there."""


class Lock:
    """The lock of one workflow, for one run. A context manager that lets go at its end, if it was taken.

    Args:
        store: where it is kept.
        holder: who takes it; None is this process.
    """

    def __init__(self, store: Store, holder: Holder | None = None) -> None:
        self._store = store
        self._holder = holder or Holder.here()
        self._version: str | None = None
        self._renewed = 0.0
        self._lost = ""
        self._without = False
        self._end = threading.Event()
        self._beating: threading.Thread | None = None

    @property
    def needs(self) -> str:
        """The id of the resource that the lock is kept in; it has to be there first."""
        return self._store.needs

    def refuse_if_held(self) -> None:
        """See that nobody else is at it, without taking the lock.

        Raises:
            Problem: somebody is.
        """
        try:
            found = self._store.read()
        except NoPlace:
            return
        if found and not self._free(found):
            raise self._held(found)

    def sweep(self) -> None:
        """Remove what a run that is no more has left; for a run that changes nothing, and so takes no lock."""
        try:
            found = self._store.read()
            if found and self._free(found):
                self._store.remove(found.version)
        except NoPlace:
            return

    def acquire(self) -> bool:
        """Take the lock; False when the place for it is not there yet.

        Raises:
            Problem: somebody else holds it.
        """
        for _ in range(5):
            self._renewed = _clock()
            try:
                version = self._store.write(self._holder.renewed().document(), None)
                found = None if version else self._store.read()
                if found and self._ours(found):
                    # The answer to the first try was lost, and the second found what the first had written.
                    version = found.version
                elif found and self._free(found):
                    version = self._store.write(self._holder.renewed().document(), found.version)
            except NoPlace:
                return False
            if version:
                self._version = version
                self._beating = threading.Thread(target=self._beat, name="lock", daemon=True)
                self._beating.start()
                return True
            if found and not self._free(found):
                raise self._held(found)
            # Somebody let go of it, or took it over, between two of our calls: look again.
        raise Problem("others take the lock again and again", where=self._store.where, mend="Run it again.")

    def go_without(self) -> None:
        """Work without the lock, because its place is not there, and not this run's to make.

        Whoever makes the place is at the same workflow; then `check` ends this run, which knows nothing of the other.
        """
        self._without = True

    def check(self) -> None:
        """Look whether the lock is still ours; for whoever is about to change something. One call, if it was taken.

        Where the store is out of reach, it counts as ours as long as it lasts.

        Raises:
            Problem: it was taken over, removed or not renewed in time, or a run without it is no longer alone.
        """
        if self._without:
            with contextlib.suppress(NoPlace):
                self._store.read()
                raise Problem(
                    f"{self.needs} has been made meanwhile, so somebody else may be at it",
                    where=self._store.where,
                    mend="Run it again: it goes on where it was, and under the lock.",
                )
        if self._version and not self._lost:
            self._lost = self._look()
        if self._lost:
            raise Problem(
                f"the lock was lost: {self._lost}",
                where=self._store.where,
                mend="Somebody else may be at it now. Look (emflow plan), then run it again: it goes on where it was.",
            )

    def release(self) -> None:
        """Let go of it, if we hold it."""
        self._end.set()
        if self._beating:
            self._beating.join()
            self._beating = None
        if self._version and not self._lost:
            # Gone with its bucket, or out of reach: then it lapses by itself.
            with contextlib.suppress(NoPlace, Problem):
                self._store.remove(self._version)
        self._version = None

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.release()

    def _beat(self) -> None:
        while not self._end.wait(self._holder.lasts / BEATS):
            began = _clock()
            try:
                version = self._store.write(self._holder.renewed().document(), self._version)
                if version is None:
                    found = self._store.read()
                    if found is None or not self._ours(found):
                        self._lost = _taken(found)
                        return
                    version = found.version
                self._version = version
                self._renewed = began
            except NoPlace:
                self._lost = GONE
                return
            except Problem as problem:
                if self._age() > self._holder.lasts:
                    self._lost = f"it could not be renewed: {problem.what}"
                    return

    def _look(self) -> str:
        """How the lock was lost; empty while it is ours."""
        # A machine that slept for longer than the lock lasts: its place may be another's, or have been.
        if (age := self._age()) > self._holder.lasts:
            return f"it was not renewed for {age:.0f} s; this machine may have slept"
        try:
            found = self._store.read()
        except NoPlace:
            return GONE
        except Problem:
            return ""
        return "" if found and self._ours(found) else _taken(found)

    def _age(self) -> float:
        """Seconds since it was last written."""
        return _clock() - self._renewed

    def _ours(self, found: Found) -> bool:
        holder = Holder.read(found.body)
        return holder is not None and holder.id == self._holder.id

    def _free(self, found: Found) -> bool:
        holder = Holder.read(found.body)
        return holder is not None and (found.age > holder.lasts or holder.gone())

    def _held(self, found: Found) -> Problem:
        return Problem(
            f"{described(found)}, so nothing was changed",
            where=self._store.where,
            mend="Wait until it is done. If it is not running any more: emflow unlock, with the same workflow.",
        )


def described(found: Found) -> str:
    """Who holds a lock, since when, and until when at most."""
    holder = Holder.read(found.body)
    if holder is None:
        return "the lock is held, but does not say by whom"
    since = f"{holder.started:%Y-%m-%d %H:%M:%S} UTC"
    left = holder.lasts - found.age
    lapses = f"it lapses in {left:.0f} s unless renewed" if left > 0 else "it has lapsed"
    return f"{holder} holds the lock since {since}; {lapses}"


def _taken(found: Found | None) -> str:
    """What became of a lock in whose place this was found."""
    if found is None:
        return "somebody took it away (emflow unlock does that)"
    return f"{Holder.read(found.body) or 'somebody'} took it over"


def _clock() -> float:
    """Seconds on a clock that goes on while the machine sleeps, which `time.monotonic` does not everywhere.

    It is CLOCK_BOOTTIME on Linux (clock_getres(2)), CLOCK_MONOTONIC on macOS (clock_gettime(3) there).
    """
    clock = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
    return time.monotonic() if clock is None else time.clock_gettime(clock)
