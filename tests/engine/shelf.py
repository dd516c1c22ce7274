"""A place for a lock in memory, and somebody else who may hold it."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time

from emflow.engine.lock import LockPlaceMissing, LockRecord, StoredLock
from emflow.problems import Problem


class Shelf:
    """A store in memory: one document, written only over the version that was read. Safe for several threads."""

    where = "shelf/lock.json"
    kept_in = "bucket"

    def __init__(self, there=True):
        self.there = there
        self.found: tuple[bytes, str, float] | None = None
        self.writes = 0
        self.lost_answers = 0
        self._versions = itertools.count(1)
        self._lock = threading.Lock()

    def read(self):
        if not self.there:
            raise LockPlaceMissing
        if self.found is None:
            return None
        body, version, written = self.found
        return StoredLock(body, version, time.monotonic() - written)

    def write(self, body, expected):
        if not self.there:
            raise LockPlaceMissing
        with self._lock:
            if (self.found and self.found[1]) != expected:
                return None
            version = f"v{next(self._versions)}"
            self.found = (body, version, time.monotonic())
            self.writes += 1
        if self.lost_answers:  # what a repeated call finds is that somebody has written: itself
            self.lost_answers -= 1
            return None
        return version

    def remove(self, version):
        with self._lock:
            if self.found is None or self.found[1] != version:
                return False
            self.found = None
            return True

    @property
    def record(self) -> LockRecord:
        """The record of whoever holds the lock."""
        assert self.found
        record = LockRecord.parse(self.found[0])
        assert record
        return record

    def put(self, holder, age=0.0):
        self.found = (holder.document(), "v0", time.monotonic() - age)


def other(**facts):
    """Somebody on another machine."""
    return dataclasses.replace(
        LockRecord.of_this_process(), owner="anna@laptop", process=4711, machine="another", **facts
    )


def lost(lock):
    """How a lock was lost; empty while it is held."""
    try:
        lock.check()
    except Problem as problem:
        return str(problem)
    return ""
