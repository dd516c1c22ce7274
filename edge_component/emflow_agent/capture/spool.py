"""Batches in a folder, under the same keys as in S3; after a crash there are only complete batches.

Every file is written under a temporary name, synced and renamed, the large tensors of a batch before the lines that
refer to them. Incomplete files of a crash are removed at the next start. Beyond the budget the oldest batches are
removed, after the newer one is stored: a write that fails, because others filled the disk, removes nothing. On a disk
that is full of our own batches, space for the next one is kept free, so that there too the oldest go last.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from emflow_agent.capture.jsonl import RAW_FOLDER, Batch
from emflow_agent.capture.retries import ProblemLog
from emflow_agent.errors import CannotStart

log = logging.getLogger(__name__)

# Captured images may be confidential: only the owner and the group may read them.
FOLDER_MODE, FILE_MODE = 0o750, 0o640
TEMPORARY = ".part"
# Files use disk space in blocks of this size.
BLOCK = 4096
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A disk is full of our own batches when all else on it takes at most this part of it.
OTHERS = 1 / 16
# Bytes for the folders of a new day and hour, and those of its tensors.
FOLDERS = 8 * BLOCK


# Retries for an agent that is shutting down; the pause is in seconds.
CLAIM_TRIES, CLAIM_PAUSE = 20, 0.1


def claim_folder(folder: Path) -> int:
    """Lock a folder for this process for as long as the returned descriptor is open.

    Each agent removes incomplete files and old batches; two agents would remove those of each other.

    Raises:
        CannotStart: another agent uses it.
        OSError: it cannot be created or opened.
    """
    _make_folder(folder)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
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
    raise CannotStart(
        f"captured data in {folder} is used by another agent; each agent needs its own CaptureDataDiskPath"
    )


class BatchDoesNotFit(Exception):
    """A batch is larger than the budget, or than what the disk has left."""


class Spool:
    """The batches in a folder. Thread-safe.

    Args:
        folder: created if it does not exist.
        prefix: of all keys; other files are not touched.
        budget: maximum bytes of all batches.
        on_dropped: called with the capture ids of each batch that is removed to make space.

    Raises:
        OSError: the folder cannot be created or read.
    """

    def __init__(
        self, folder: Path, prefix: str, budget: int, on_dropped: Callable[[tuple[str, ...]], object] = lambda _: None
    ) -> None:
        self.folder, self._budget, self._on_dropped = folder, budget, on_dropped
        self._root = folder / prefix
        self._lock = threading.RLock()
        self._dropping = ProblemLog()
        _make_folder(self._root)
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._uploading, self._given_way = "", False
        self._scan()
        # What a crash left undone between a new batch and the removal of the oldest.
        self._trim()

    def batches(self) -> list[str]:
        """The keys of all batches, oldest first."""
        with self._lock:
            return list(self._sizes)

    def write(self, batch: Batch) -> None:
        """Store a batch; then the oldest batches are removed until all fit into the budget, and the next on the disk.

        Raises:
            BatchDoesNotFit: there is not enough space; nothing was removed, or what could not be restored was reported.
            OSError: the folder cannot be written; nothing was removed.
        """
        size = sum(map(_on_disk, (len(batch.lines), *(len(data) for _, data in batch.raw))))
        if size > self._budget:
            raise BatchDoesNotFit(f"the batch has {size} bytes; the folder may hold {self._budget}")
        with self._lock:
            try:
                self._write(batch)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                if error.errno != errno.ENOSPC or not self._is_full_of_ours() or size > sum(self._sizes.values()):
                    raise BatchDoesNotFit(f"{self.folder}: {error.strerror}; what is stored is kept") from None
                self._write_instead_of_oldest(batch, size)
            self._sizes[batch.key] = size
            self._trim()

    def read(self, key: str) -> Batch | None:
        """Read a batch; None when it no longer exists. Missing large tensors are skipped."""
        with self._lock:
            try:
                lines = (self.folder / key).read_bytes()
            except FileNotFoundError:
                self._sizes.pop(key, None)
                return None
            raw = [(path.relative_to(self.folder).as_posix(), path.read_bytes()) for path in self._raw_files(key)]
            return Batch(key, tuple(_ids(lines)), lines, tuple(raw))

    @contextlib.contextmanager
    def uploading(self, key: str) -> Iterator[Batch | None]:
        """Read a batch, and leave the verdict about it to this context: without an error it has been uploaded.

        While it is being uploaded, its space may be needed for newer batches. Then it is removed from the disk, and its
        captures are reported as dropped only when the upload fails: each capture has one end.

        Yields:
            None when the batch no longer exists.
        """
        with self._lock:
            batch = self.read(key)
            self._uploading = key
            self._given_way = False
        try:
            yield batch
        except BaseException:
            with self._lock:
                self._uploading = ""
                dropped = self._given_way and batch is not None
            if dropped and batch is not None:
                self._on_dropped(batch.ids)
            raise
        with self._lock:
            self._uploading = ""
            self.remove(key)

    def ids(self, key: str) -> tuple[str, ...]:
        """The capture ids of a batch."""
        try:
            return tuple(_ids((self.folder / key).read_bytes()))
        except OSError:
            return ()

    def remove(self, key: str) -> None:
        """Remove a batch, its lines first, so that nothing refers to removed tensors."""
        with self._lock:
            self._sizes.pop(key, None)
            (self.folder / key).unlink(missing_ok=True)
            for path in self._raw_files(key):
                path.unlink(missing_ok=True)
            self._prune((self.folder / key).parent)

    def _trim(self) -> None:
        """Remove the oldest batches beyond the budget, and those that take the space for the next one."""
        excess = max(sum(self._sizes.values()) - self._budget, self._missing_space())
        if excess <= 0 or not self._sizes:
            self._dropping.resolved()
            return
        # Before it is done: this process may be killed in between.
        self._log_dropped()
        while excess > 0 and self._sizes:
            key, size = next(iter(self._sizes.items()))
            self._drop(key, self.ids(key))
            excess -= size

    def _missing_space(self) -> int:
        """Bytes that a batch as large as the largest would lack on a disk that is full of our own batches.

        Free space is kept, and no batch removed when the next one needs it: a process that is killed between the two
        would have lost a stored batch for one that is not stored.
        """
        older = list(self._sizes.values())[:-1]
        try:
            space = os.statvfs(self.folder)
            missing = max(self._sizes.values(), default=0) + FOLDERS - space.f_bavail * space.f_frsize
            # The newest stays: where two batches do not fit, nothing is removed in vain.
            return missing if missing <= sum(older) and self._is_full_of_ours() else 0
        except OSError:
            return 0

    def _write_instead_of_oldest(self, batch: Batch, size: int) -> None:
        """On a disk that is full of our own batches: write a batch, which is larger than the space that was kept free,
        in the place of the oldest ones, which are restored when that fails. If the process is killed, they are gone, as
        is said before.

        Raises:
            BatchDoesNotFit: it failed.
        """
        order, oldest = list(self._sizes), self._read_oldest(size)
        # Before it is done: if this process is killed in between, the line is all that tells what became of them.
        log.warning(
            "captured data: %s is full, and a batch of %d bytes needs more than the space that is kept free; the %d"
            " captures up to %s give way to it",
            *(self.folder, size, sum(len(old.ids) for old, _ in oldest), oldest[-1][0].key),
        )
        try:
            for old, _ in oldest:
                self.remove(old.key)
            self._write(batch)
        except BaseException as error:
            for old, taken in oldest:
                self._restore(old, taken)
            for key in reversed(order):
                if key in self._sizes:
                    self._sizes.move_to_end(key, last=False)
            if isinstance(error, OSError):
                raise BatchDoesNotFit(f"{self.folder}: {error.strerror}") from None
            raise
        for old, _ in oldest:
            self._drop(old.key, old.ids)
        self._log_dropped()

    def _read_oldest(self, size: int) -> list[tuple[Batch, int]]:
        """The oldest batches, with the bytes they take, that take at least `size` together; those that cannot be read,
        and so not be restored, are passed over.

        Raises:
            BatchDoesNotFit: there are not as many.
        """
        oldest: list[tuple[Batch, int]] = []
        for key, taken in list(self._sizes.items()):
            if sum(each for _, each in oldest) >= size:
                break
            with contextlib.suppress(OSError):
                batch = self.read(key)
                if batch is not None:
                    oldest.append((batch, taken))
        if sum(each for _, each in oldest) < size:
            raise BatchDoesNotFit(f"{self.folder}: {os.strerror(errno.ENOSPC)}; what is stored is kept")
        return oldest

    def _restore(self, batch: Batch, size: int) -> None:
        # The lines are removed first: while they are there, the batch is whole.
        if not (self.folder / batch.key).exists():
            try:
                self._write(batch)
            except (OSError, MemoryError):
                self._drop(batch.key, batch.ids)
                return
        self._sizes[batch.key] = size

    def _drop(self, key: str, ids: tuple[str, ...]) -> None:
        """Remove a batch and report its captures as dropped, unless it is being uploaded."""
        try:
            self.remove(key)
        except (OSError, MemoryError) as error:
            why = error.strerror if isinstance(error, OSError) else "no memory"
            self._dropping.report("removal", f"{self.folder}: a batch cannot be removed: {why}")
        if key == self._uploading:
            self._given_way = True
            return
        self._on_dropped(ids)

    def _log_dropped(self) -> None:
        self._dropping.report("full", f"{self.folder} is full; the oldest captures are removed for new ones")

    def _is_full_of_ours(self) -> bool:
        space = os.statvfs(self.folder)
        used = (space.f_blocks - space.f_bfree) * space.f_frsize
        # Some file systems report nothing; what takes their space is unknown.
        return space.f_blocks > 0 and used - sum(self._sizes.values()) <= space.f_blocks * space.f_frsize * OTHERS

    def _write(self, batch: Batch) -> None:
        written: list[Path] = []
        try:
            for key, data in (*batch.raw, (batch.key, batch.lines)):
                path = self.folder / key
                _make_folder(path.parent)
                written.append(path)
                _write_whole(path, data)
            # All parent folders too: the folder of the hour may be new.
            for folder in {
                folder for path in written for folder in path.parents if self.folder in (folder, *folder.parents)
            }:
                _sync_folder(folder)
        except BaseException:
            # The lines first, so that they never refer to removed tensors.
            for path in reversed(written):
                path.unlink(missing_ok=True)
                _temporary_path(path).unlink(missing_ok=True)
            self._prune((self.folder / batch.key).parent)
            raise

    def _raw_files(self, key: str) -> list[Path]:
        path = self.folder / key
        numbers = {raw: raw.name.rpartition("-")[2] for raw in (path.parent / RAW_FOLDER).glob(f"*/{path.stem}-*")}
        return sorted((raw for raw, number in numbers.items() if number.isdecimal()), key=lambda raw: int(numbers[raw]))

    def _scan(self) -> None:
        """Find existing batches, and remove incomplete files of a crash."""
        batches: list[tuple[int, str, int]] = []
        raw: dict[str, list[Path]] = {}
        for path in self._root.rglob("*"):
            if path.is_dir():
                continue
            if path.suffix == TEMPORARY:
                path.unlink(missing_ok=True)
            elif path.parent.parent.name == RAW_FOLDER:
                raw.setdefault(str(path.parent.parent.parent / path.name.rpartition("-")[0]), []).append(path)
            elif path.suffix == ".jsonl":
                status = path.stat()
                batches.append((status.st_mtime_ns, path.relative_to(self.folder).as_posix(), _on_disk(status.st_size)))
        for _, key, size in sorted(batches):
            parts = raw.pop(str(self.folder / key)[: -len(".jsonl")], [])
            self._sizes[key] = size + sum(_on_disk(temporary.stat().st_size) for temporary in parts)
        for orphans in raw.values():
            for path in orphans:
                path.unlink(missing_ok=True)

    def _prune(self, folder: Path) -> None:
        """Remove a folder, if it is there, and those above it, as far as they are empty."""
        while not folder.is_dir() and folder != self._root:
            folder = folder.parent
        try:
            for raw in (folder / RAW_FOLDER).glob("*"):
                raw.rmdir()
            if (folder / RAW_FOLDER).is_dir():
                (folder / RAW_FOLDER).rmdir()
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent
        except OSError:
            return  # not empty


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents with the same mode; `mkdir` sets it on the last one only."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(FOLDER_MODE, exist_ok=True)


def _write_whole(path: Path, data: bytes) -> None:
    temporary = _temporary_path(path)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


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
    """The capture ids in JSON lines; invalid lines are skipped."""
    for line in lines.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            yield str(json.loads(line)["eventMetadata"]["eventId"])
