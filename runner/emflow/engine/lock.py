"""The lock of a workflow: only one run changes it at a time, and the lock says who that is, and since when.

The lock is a small document in a store with conditional writes: a write succeeds only if the document has not changed
since it was read (`LockStore`). The run that holds the lock renews it regularly. A lock that has not been renewed in
time has expired, and the next run takes it over. Its age is measured by the store's clock, because the clocks of two
machines differ.

- *acquire*: write the record if there is none. A lock that has expired is taken over; so is a lock whose process has
  ended on this machine, so that no run has to wait after a crash.
- *renew*: a thread writes the record again, `RENEWALS` times within the time that it lasts.
- *check*: before each change, a run checks that it still holds the lock, so that it changes nothing more after the lock
  was removed or taken over.
- *release*: remove the record. If that fails, it expires by itself.
- *unlock*: a person removes the lock of another run (`Lock.current`, `Lock.remove`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import hashlib
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

from emflow.json_text import from_json, to_json
from emflow.problems import Problem, printable

LASTS = 120.0
"""Seconds that a lock holds without being renewed; long enough for a laptop that changes networks."""

MAX_LASTS = 3600.0
"""Maximum seconds that a lock can last, whatever its document says; so a damaged lock cannot block runs for longer."""

RENEWALS = 4
"""How often a lock is renewed within the time that it lasts."""

ATTEMPTS = 5
"""How often a run tries to get the lock while others release it or take it over."""


@dataclass(frozen=True)
class LockRecord:
    """The content of a lock: which process on which machine holds it. People and other machines can read it.

    Args:
        id: of this one run, so that it recognises its own record when the answer to a write was lost.
        owner: for people, such as `anna@laptop`.
        process: its number, within `machine`.
        machine: identifies a machine since its start, and a container on it; empty if unknown.
        born: when the process started, in the machine's clock ticks, because its number may be used again; empty if
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
    def of_this_process(cls, lasts: float = LASTS) -> LockRecord:
        """This process, from now on."""
        now = datetime.now(UTC)
        owner = f"{_user()}@{socket.gethostname()}"
        process, expires = os.getpid(), now + timedelta(seconds=lasts)
        return cls(uuid.uuid4().hex, owner, process, _machine(), _process_start(process) or "", now, lasts, expires)

    @classmethod
    def parse(cls, body: bytes) -> LockRecord | None:
        """The record in a document; None where it is no such document."""
        try:
            facts = from_json(body, any_number=True)  # what is no time that a lock can last is limited below
            times = {key: datetime.fromisoformat(facts[key]).astimezone(UTC) for key in ("started", "expires")}
            return cls(
                id=str(facts["id"]),
                owner=str(facts["owner"]),
                process=int(facts["process"]),
                machine=str(facts["machine"]),
                born=str(facts.get("born", "")),
                lasts=_believable(float(facts["lasts"])),
                **times,
            )
        except (ValueError, TypeError, KeyError, OverflowError):
            return None

    def renewed(self) -> LockRecord:
        return dataclasses.replace(self, expires=datetime.now(UTC) + timedelta(seconds=self.lasts))

    def document(self) -> bytes:
        facts = dataclasses.asdict(self)
        facts |= {key: facts[key].isoformat(timespec="seconds") for key in ("started", "expires")}
        return to_json(facts, indent=2).encode()

    def process_has_ended(self) -> bool:
        """Whether its process has ended, as far as that can be known from here: False where it cannot."""
        if not self.machine or self.machine != _machine():
            return False
        try:
            os.kill(self.process, 0)
        except (ProcessLookupError, OverflowError):  # no process can have such a number
            return True
        except OSError:  # it exists, and belongs to another user
            pass
        born = _process_start(self.process)
        return born is None or bool(self.born and born and born != self.born)

    def __str__(self) -> str:
        return printable(f"{self.owner} (process {self.process})")


@dataclass(frozen=True)
class StoredLock:
    """A lock as it is in its store.

    Args:
        version: names this very write, for a write or a removal that is meant for it and nothing else.
        age: seconds since it was written, by the store's clock.
    """

    body: bytes
    version: str
    age: float

    @property
    def record(self) -> LockRecord | None:
        """Who holds it; None where the content does not say."""
        return LockRecord.parse(self.body)

    @property
    def may_be_taken_over(self) -> bool:
        """Whether it has expired, or its process has ended."""
        record = self.record
        return record is not None and (self.age > record.lasts or record.process_has_ended())

    def __str__(self) -> str:
        """Who holds it, since when, and until when at most."""
        record = self.record
        if record is None:
            return "another run holds the lock, but its content does not say which"
        since = f"{record.started:%Y-%m-%d %H:%M:%S} UTC"
        left = record.lasts - self.age
        expiry = f"it expires in {left:.0f} s unless it is renewed" if left > 0 else "it has expired"
        return f"{record} has held the lock since {since}; {expiry}"


class LockPlaceMissing(Exception):
    """The place in which the lock is kept does not exist."""


class LockStore(Protocol):
    """Where a lock is kept. Every call raises `Problem` where it is out of reach, or `LockPlaceMissing`."""

    @property
    def where(self) -> str:
        """Its address, for people."""

    @property
    def kept_in(self) -> str:
        """The id of the resource that the lock is kept in."""

    def read(self) -> StoredLock | None:
        """What is there."""

    def write(self, body: bytes, expected: str | None) -> str | None:
        """Write if what is there is still the version `expected`, or still nothing where that is None.

        Returns:
            The new version, or None where something else is there.
        """

    def remove(self, version: str) -> bool:
        """Remove this version; whether it was still the one that is there."""


class Lock:
    """The lock of one workflow, for one run. A context manager that releases it at its end, if it was acquired.

    Args:
        store: where it is kept.
        record: who acquires it; None is this process.
    """

    def __init__(self, store: LockStore, record: LockRecord | None = None) -> None:
        self._store = store
        self._record = record or LockRecord.of_this_process()
        self._version: str | None = None
        self._renewed_at = 0.0
        self._lost = ""
        self._unlocked = False
        self._ended = threading.Event()
        self._renewing: threading.Thread | None = None

    @property
    def where(self) -> str:
        """The address of the lock, for people."""
        return self._store.where

    @property
    def kept_in(self) -> str:
        """The id of the resource that the lock is kept in; it has to exist first."""
        return self._store.kept_in

    def current(self) -> StoredLock | None:
        """The current lock, of this or another run; None if there is none."""
        try:
            return self._store.read()
        except LockPlaceMissing:
            return None

    def remove(self, found: StoredLock) -> None:
        """Remove the lock of any run; that run then ends before its next change.

        Raises:
            Problem: it is no longer the one that was found.
        """
        try:
            removed = self._store.remove(found.version)
        except LockPlaceMissing:
            removed = False
        if not removed:
            raise Problem(
                "the lock was released, or taken over by another run, in the meantime",
                where=self.where,
                mend="Look again: emflow unlock.",
            )

    def refuse_if_held(self) -> None:
        """See that no other run holds the lock, without acquiring it.

        Raises:
            Problem: another run holds it.
        """
        found = self.current()
        if found and not found.may_be_taken_over:
            raise self._held(found)

    def remove_stale(self) -> None:
        """Remove a lock that was left by a run that has ended; for a run that changes nothing, and needs no lock."""
        with contextlib.suppress(LockPlaceMissing):
            found = self._store.read()
            if found and found.may_be_taken_over:
                self._store.remove(found.version)

    def acquire(self) -> bool:
        """Acquire the lock; False where the place for it does not exist yet.

        Raises:
            Problem: another run holds it.
        """
        for _ in range(ATTEMPTS):
            self._renewed_at = _clock()
            try:
                version = self._store.write(self._record.renewed().document(), None)
                found = None if version else self._store.read()
                if found and self._is_own(found):
                    # The answer to the first try was lost, and the second found what the first had written.
                    version = found.version
                elif found and found.may_be_taken_over:
                    version = self._store.write(self._record.renewed().document(), found.version)
            except LockPlaceMissing:
                return False
            if version:
                self._version = version
                self._renewing = threading.Thread(target=self._renew, name="lock", daemon=True)
                self._renewing.start()
                return True
            if found and not found.may_be_taken_over:
                raise self._held(found)
            # Another run released it, or took it over, between two of our calls: try again.
        raise Problem("other runs keep taking the lock", where=self.where, mend="Run it again.")

    def continue_without(self) -> None:
        """Work without the lock, because its place does not exist, and this run is not the one to make it.

        If the place exists later, another run of the same workflow has made it; then `check` ends this run.
        """
        self._unlocked = True

    def check(self) -> None:
        """Check before a change that this run still holds the lock. One call, if the lock was acquired.

        Where the store is out of reach, the lock counts as held for as long as it lasts.

        Raises:
            Problem: it was taken over, removed or not renewed in time; or a run without it is no longer alone.
        """
        if self._unlocked:
            with contextlib.suppress(LockPlaceMissing):
                self._store.read()
                raise Problem(
                    f"{self.kept_in} has been created in the meantime, so another run of this workflow may be going on",
                    where=self.where,
                    mend="Run it again: it continues where it stopped, and under the lock.",
                )
        if self._version and not self._lost:
            self._lost = self._why_lost()
        if self._lost:
            raise Problem(
                f"the lock was lost: {self._lost}",
                where=self.where,
                mend="Another run may be going on. Check with emflow plan, then run this again: it continues where it "
                "stopped.",
            )

    def release(self) -> None:
        """Release the lock, if this run holds it."""
        self._ended.set()
        if self._renewing:
            self._renewing.join()
            self._renewing = None
        if self._version and not self._lost:
            # Removed together with its place, or out of reach: then it expires by itself.
            with contextlib.suppress(LockPlaceMissing, Problem):
                self._store.remove(self._version)
        self._version = None

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.release()

    def _renew(self) -> None:
        while not self._ended.wait(self._record.lasts / RENEWALS):
            began = _clock()
            try:
                version = self._store.write(self._record.renewed().document(), self._version)
                if version is None:
                    found = self._store.read()
                    if found is None or not self._is_own(found):
                        self._lost = _what_happened(found)
                        return
                    version = found.version
                self._version = version
                self._renewed_at = began
            except LockPlaceMissing:
                self._lost = PLACE_REMOVED
                return
            except Problem as problem:
                if self._seconds_since_renewal() > self._record.lasts:
                    self._lost = f"it could not be renewed: {problem.what}"
                    return

    def _why_lost(self) -> str:
        """How the lock was lost; empty while it is held."""
        # A machine that slept for longer than the lock lasts: another run may hold it, or may have held it.
        if (seconds := self._seconds_since_renewal()) > self._record.lasts:
            return f"it was not renewed for {seconds:.0f} s; this machine may have slept"
        try:
            found = self._store.read()
        except LockPlaceMissing:
            return PLACE_REMOVED
        except Problem:
            return ""
        return "" if found and self._is_own(found) else _what_happened(found)

    def _seconds_since_renewal(self) -> float:
        return _clock() - self._renewed_at

    def _is_own(self, found: StoredLock) -> bool:
        record = found.record
        return record is not None and record.id == self._record.id

    def _held(self, found: StoredLock) -> Problem:
        return Problem(
            f"{found}, so nothing was changed",
            where=self.where,
            mend="Wait until that run has ended. If it is not running any more, remove its lock: emflow unlock, with "
            "the same workflow.",
        )


PLACE_REMOVED = "the resource that contains it was removed"


def _what_happened(found: StoredLock | None) -> str:
    """What happened to a lock in whose place this was found."""
    if found is None:
        return "it was removed, for example by emflow unlock"
    return f"{found.record or 'another run'} took it over"


def _believable(lasts: float) -> float:
    """Seconds as a document gives them, which may be anything, also no number."""
    return min(lasts, MAX_LASTS) if lasts > 0 else LASTS


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "unknown user"


def _process_start(process: int) -> str | None:
    """Clock ticks from the machine's start to the process's; None for a zombie, empty where this user cannot tell.

    The second word of /proc/PID/stat is in brackets and may hold anything; counted from it, the state is the first and
    the start the twentieth (proc_pid_stat(5)).
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


def _clock() -> float:
    """Seconds on a clock that goes on while the machine sleeps, which `time.monotonic` does not everywhere.

    It is CLOCK_BOOTTIME on Linux (clock_getres(2)), CLOCK_MONOTONIC on macOS (clock_gettime(3) there).
    """
    clock = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
    return time.monotonic() if clock is None else time.clock_gettime(clock)
