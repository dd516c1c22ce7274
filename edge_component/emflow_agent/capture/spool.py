"""Batches in a folder, under the same keys as in S3: written so that a crash leaves whole batches or nothing.

Everything is written under a temporary name, synchronised and renamed; a batch's large tensors before the lines that
refer to them. What a crash left half-made is removed at the next start. When the folder has its fill, the oldest batch
goes for the newest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from emflow_agent.capture.jsonl import RAW_FOLDER, Batch
from emflow_agent.capture.retries import ProblemLog
from emflow_agent.errors import CannotStart

# Captured pictures are nobody's business but the owner's and those whom he lets into the group.
FOLDER_MODE, FILE_MODE = 0o750, 0o640
TEMPORARY = ".part"
# What a file takes on a disk, in steps of this.
BLOCK = 4096
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


# Seconds, for an agent that is just ending.
CLAIM_TRIES, CLAIM_PAUSE = 20, 0.1


def claim_folder(key_prefix: Path) -> int:
    """Make a folder this process' own, as long as the descriptor that this returns is open.

    Each agent removes what it finds half-made, and the oldest of what it finds; of two, each would the other's.

    Raises:
        CannotStart: another agent has it.
        OSError: it cannot be made or opened.
    """
    _make_folder(key_prefix)
    opened = os.open(key_prefix, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for _ in range(CLAIM_TRIES):
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # noqa: PERF203 few, and far between
            time.sleep(CLAIM_PAUSE)
        except OSError:
            return opened  # a file system without locks
        else:
            return opened
    os.close(opened)
    raise CannotStart(f"captured data in {key_prefix} is another agent's; each needs a CaptureDataDiskPath of its own")


class BatchDoesNotFit(Exception):
    """The folder cannot take a batch, for a reason that older batches have no part in."""


class Spool:
    """The batches under one folder. Safe to use from any thread.

    Args:
        folder: made when it is not there.
        prefix: of all keys; nothing outside of it is touched.
        budget: bytes that all batches together may have.
        gone: told the capture ids of each batch that had to go for a newer one.

    Raises:
        OSError: the folder cannot be made or read.
    """

    def __init__(
        self, folder: Path, prefix: str, budget: int, gone: Callable[[tuple[str, ...]], object] = lambda _: None
    ) -> None:
        self.folder, self._budget, self._gone = folder, budget, gone
        self._top = folder / prefix
        self._lock = threading.RLock()
        self._dropping = ProblemLog()
        self.dropped = 0
        _make_folder(self._top)
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._scan()

    def batches(self) -> list[str]:
        """The keys of all batches, oldest first."""
        with self._lock:
            return list(self._sizes)

    def write(self, batch: Batch) -> None:
        """Store a batch; the oldest go for it where it needs their room.

        Raises:
            BatchDoesNotFit: there is no room even so.
            OSError: the folder cannot be written.
        """
        size = sum(map(_on_disk, (len(batch.lines), *(len(data) for _, data in batch.raw))))
        if size > self._budget:
            raise BatchDoesNotFit(f"the batch has {size} bytes, and the folder may hold {self._budget}")
        with self._lock:
            before = self.dropped
            self._make_room(sum(self._sizes.values()) + size - self._budget)
            try:
                self._write(batch)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                # Somebody else filled the disk. As much as this batch needs is ours to give; all that we have is not.
                self._make_room(size)
                try:
                    self._write(batch)
                except OSError as again:
                    raise BatchDoesNotFit(f"{self.folder}: {again.strerror}") from None
            finally:
                self._log_dropped(self.dropped - before)
            self._sizes[batch.key] = size

    def read(self, key: str) -> Batch | None:
        """A batch as it was sealed; None when it is gone. Large tensors that are gone already are left out."""
        with self._lock:
            try:
                lines = (self.folder / key).read_bytes()
            except FileNotFoundError:
                self._sizes.pop(key, None)
                return None
            raw = [(path.relative_to(self.folder).as_posix(), path.read_bytes()) for path in self._raw_files(key)]
            return Batch(key, tuple(_ids(lines)), lines, tuple(raw))

    def ids(self, key: str) -> tuple[str, ...]:
        """The capture ids of a batch."""
        try:
            return tuple(_ids((self.folder / key).read_bytes()))
        except OSError:
            return ()

    def remove(self, key: str) -> None:
        """Take a batch away: its lines first, so that nothing is left that refers to what is gone."""
        with self._lock:
            self._sizes.pop(key, None)
            (self.folder / key).unlink(missing_ok=True)
            for path in self._raw_files(key):
                path.unlink(missing_ok=True)
            self._prune((self.folder / key).parent)

    def _make_room(self, needed: int) -> None:
        while needed > 0 and self._sizes:
            key, size = next(iter(self._sizes.items()))
            gone = self.ids(key)
            self.remove(key)
            needed -= size
            self.dropped += len(gone)
            self._gone(gone)

    def _log_dropped(self, dropped: int) -> None:
        if dropped:
            text = f"{self.folder} is full; the oldest captures go for the newest, {self.dropped} since the start"
            self._dropping.report("full", text)
        else:
            self._dropping.resolved()

    def _write(self, batch: Batch) -> None:
        made: list[Path] = []
        try:
            for key, data in (*batch.raw, (batch.key, batch.lines)):
                path = self.folder / key
                _make_folder(path.parent)
                made.append(path)
                _write_whole(path, data)
            # Up to the top: the folders of an hour may be new themselves.
            for folder in {
                folder for path in made for folder in path.parents if self.folder in (folder, *folder.parents)
            }:
                _sync_folder(folder)
        except OSError:
            for path in made:
                path.unlink(missing_ok=True)
                _temporary_path(path).unlink(missing_ok=True)
            raise

    def _raw_files(self, key: str) -> list[Path]:
        path = self.folder / key
        found = {raw: raw.name.rpartition("-")[2] for raw in (path.parent / RAW_FOLDER).glob(f"*/{path.stem}-*")}
        return sorted((raw for raw, number in found.items() if number.isdecimal()), key=lambda raw: int(found[raw]))

    def _scan(self) -> None:
        """Find what is there, and remove what a crash left half-made."""
        found: list[tuple[int, str, int]] = []
        raw: dict[str, list[Path]] = {}
        for path in self._top.rglob("*"):
            if path.is_dir():
                continue
            if path.suffix == TEMPORARY:
                path.unlink(missing_ok=True)
            elif path.parent.parent.name == RAW_FOLDER:
                raw.setdefault(str(path.parent.parent.parent / path.name.rpartition("-")[0]), []).append(path)
            elif path.suffix == ".jsonl":
                about = path.stat()
                found.append((about.st_mtime_ns, path.relative_to(self.folder).as_posix(), _on_disk(about.st_size)))
        for _, key, size in sorted(found):
            parts = raw.pop(str(self.folder / key)[: -len(".jsonl")], [])
            self._sizes[key] = size + sum(_on_disk(part.stat().st_size) for part in parts)
        for orphans in raw.values():
            for path in orphans:
                path.unlink(missing_ok=True)

    def _prune(self, folder: Path) -> None:
        """Remove the folders of an hour that has no batch any more."""
        try:
            for raw in (folder / RAW_FOLDER).glob("*"):
                raw.rmdir()
            if (folder / RAW_FOLDER).is_dir():
                (folder / RAW_FOLDER).rmdir()
            while folder != self._top:
                folder.rmdir()
                folder = folder.parent
        except OSError:
            return  # something is in it


def _make_folder(folder: Path) -> None:
    """A folder and those above it, all with the same mode; `mkdir` gives it to the last only."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(FOLDER_MODE, exist_ok=True)


def _write_whole(path: Path, data: bytes) -> None:
    part = _temporary_path(path)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def _temporary_path(path: Path) -> Path:
    return path.with_name(path.name + TEMPORARY)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _on_disk(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _ids(lines: bytes) -> Iterator[str]:
    """Capture ids; a line that somebody else wrote, or spoilt, has none."""
    for line in lines.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            yield str(json.loads(line)["eventMetadata"]["eventId"])
