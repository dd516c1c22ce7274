"""A place for a lock in memory, and somebody else who may hold it."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time

from emflow.engine.lock import Found, Holder, NoPlace
from emflow.problems import Problem


class Shelf:
    """A store in memory: one document, written only over the version that was read. Safe for several threads."""

    where = "shelf/lock.json"
    needs = "bucket"

    def __init__(self, there=True):
        self.there = there
        self.found: tuple[bytes, str, float] | None = None
        self.writes = 0
        self.lost_answers = 0
        self._versions = itertools.count(1)
        self._lock = threading.Lock()

    def read(self):
        if not self.there:
            raise NoPlace
        if self.found is None:
            return None
        body, version, written = self.found
        return Found(body, version, time.monotonic() - written)

    def write(self, body, over):
        if not self.there:
            raise NoPlace
        with self._lock:
            if (self.found and self.found[1]) != over:
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
    def holder(self) -> Holder:
        """Whose document is there."""
        assert self.found
        holder = Holder.read(self.found[0])
        assert holder
        return holder

    def put(self, holder, age=0.0):
        self.found = (holder.document(), "v0", time.monotonic() - age)


def other(**facts):
    """Somebody on another machine."""
    return dataclasses.replace(Holder.here(), owner="anna@laptop", process=4711, machine="another", **facts)


def lost(lock):
    """How a lock was lost; empty while it is held."""
    try:
        lock.check()
    except Problem as problem:
        return str(problem)
    return ""
