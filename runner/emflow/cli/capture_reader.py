"""Reads captures for the command line: what cannot be read is a message on standard error, and the others are read."""

from __future__ import annotations

from collections.abc import Iterator

import click

from emflow.problems import Problem, printable
from emflow.results.capture_stores import CaptureStore, batches
from emflow.results.captures import Capture, NotACapture, read_batch

MOST_UNREADABLE = 20
"""Batches in a row that cannot be read before the rest is not tried."""


class RestNotTried(Problem):
    """Too many batches in a row cannot be read. What was read before them is good."""


class CaptureReader:
    """The captures of a store, of one model or of all. Each message is printed once, however often they are read."""

    def __init__(self, store: CaptureStore, prefix: str, model: str | None) -> None:
        self._store, self._prefix, self._model = store, prefix, model
        self._printed: set[str] = set()
        self._silent = False
        self._entries: Iterator[Capture | NotACapture] = iter(())

    def captures(self) -> Iterator[Capture]:
        """All captures, newest first.

        Raises:
            RestNotTried: `MOST_UNREADABLE` batches in a row cannot be read.
            Problem: the store does not answer, or refuses.
        """
        self._entries, unreadable = self._read(), 0
        for entry in self._entries:
            if isinstance(entry, Capture):
                unreadable = 0
                yield entry
                continue
            self._print(str(entry))
            unreadable += entry.is_batch
            if unreadable >= MOST_UNREADABLE:
                raise RestNotTried(
                    f"{unreadable} batches in a row cannot be read; the rest was not tried",
                    where=str(self._store),
                    mend="Allow reading the objects of the bucket, or the files of the folder. Restore objects that a "
                    "lifecycle rule has moved to an archive (S3 Glacier).",
                )

    def find(self, capture_id: str) -> Capture:
        """The capture with this id, or the newest for `latest`.

        Raises:
            Problem: there is none, or none among those that can be read.
        """
        wanted = capture_id.replace("-", "").lower()
        try:
            for capture in self.captures():
                if capture_id == "latest" or capture.id.replace("-", "").lower() == wanted:
                    return capture
        except RestNotTried as error:
            what = f"no capture {capture_id} so far: {error.what}"
            raise Problem(what, where=error.where, mend=error.mend) from None
        raise Problem(f"no capture {capture_id} in {self._store}", mend="List them: emflow captures list.")

    def has_older(self) -> bool:
        """Whether there is more after what was taken from `captures`: captures, or a batch that cannot be read.

        It neither raises nor prints anything: whoever has what was asked for did not ask for these.
        """
        self._silent = True
        try:
            return any(isinstance(entry, Capture) or entry.is_batch for entry in self._entries)
        except Problem:
            return False
        finally:
            self._silent = False

    def _read(self) -> Iterator[Capture | NotACapture]:
        for key in batches(self._store, self._prefix, self._model, self._print):
            yield from read_batch(self._store, key)

    def _print(self, message: str) -> None:
        if not self._silent and message not in self._printed:
            self._printed.add(message)
            click.echo(printable(message), err=True)
