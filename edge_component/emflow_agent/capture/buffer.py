"""The buffer between CaptureData and the destination of captured data.

`put` accepts or refuses a capture without waiting. A thread makes batches and stores them: in a folder, in S3, or,
while S3 cannot be reached, in a folder from which another thread uploads later. The buffer counts what is not stored
yet, so clients are refused when storing is too slow. Every capture that is dropped is logged.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable

from emflow_agent.capture.jsonl import Batch, Capture, group_by_model, key_prefix, make_batch
from emflow_agent.capture.retries import ProblemLog, RetryPause, describe_unexpected
from emflow_agent.capture.s3 import CaptureBucket, S3Unreachable, UploadRejected
from emflow_agent.capture.settings import CaptureSettings
from emflow_agent.capture.spool import BatchDoesNotFit, Spool, claim_folder
from emflow_agent.capture.uploader import SpoolUploader
from emflow_agent.errors import AlreadyCaptured, BufferFull, CaptureUnavailable, UnknownCapture
from emflow_proto import messages as m

log = logging.getLogger(__name__)

Status = m.CaptureDataStatus

REMEMBERED = 10_000
"""The status of so many captures is remembered, of the newest."""


_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)


def normalised_id(capture_id: str) -> str:
    """The same spelling for all forms of a UUID; other ids as they are."""
    return capture_id.replace("-", "").lower() if _UUID.fullmatch(capture_id) else capture_id


class Statuses:
    """Status by capture id; the oldest are forgotten when there are too many. Thread-safe."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._lock = threading.Lock()
        self._by_id: OrderedDict[str, m.CaptureDataStatus] = OrderedDict()

    def begin(self, capture_id: str) -> bool:
        """Register a capture as in progress; False when its id is known already."""
        with self._lock:
            if normalised_id(capture_id) in self._by_id:
                return False
            self._by_id[normalised_id(capture_id)] = m.CaptureDataStatus.IN_PROGRESS
            while len(self._by_id) > self._remembered:
                self._by_id.popitem(last=False)
            return True

    def settle(self, capture_ids: Iterable[str], status: m.CaptureDataStatus) -> None:
        """Set the final status of captures that are still remembered."""
        with self._lock:
            for capture_id in map(normalised_id, capture_ids):
                if capture_id in self._by_id:
                    self._by_id[capture_id] = status

    def get(self, capture_id: str) -> m.CaptureDataStatus | None:
        with self._lock:
            return self._by_id.get(normalised_id(capture_id))


class CaptureBuffer:
    """Buffers captures and stores them in batches. Thread-safe between start and close.

    Args:
        settings: destination and limits.
        bucket: S3 bucket; by default the one in the settings.
        clock: Unix seconds.
        retry_pause: makes the pauses between retries.

    counts: captures that were stored, uploaded (from the disk), refused, failed (not stored anywhere), and dropped
    (removed from the disk to make space for newer ones).
    """

    def __init__(
        self,
        settings: CaptureSettings,
        bucket: CaptureBucket | None = None,
        clock: Callable[[], float] = time.time,
        retry_pause: Callable[[], RetryPause] = RetryPause,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._bucket = bucket or CaptureBucket(settings.bucket)
        self._retry_pause, self._new_retry_pause = retry_pause(), retry_pause
        self._statuses = Statuses()
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, Capture]] = deque()
        self._batches: deque[Batch] = deque()
        self._unstored = self._unstored_bytes = 0
        self._settled: set[str] = set()  # keys of batches that have their end and are still in `_batches`
        self._lost = 0  # captures since writing to the disk worked
        self._closing = False
        self._online = True
        self._upload_problem, self._disk_problem, self._buffer_full, self._unexpected = (
            ProblemLog(),
            ProblemLog(),
            ProblemLog(),
            ProblemLog(),
        )
        self._folder_lock: int | None = None
        self._spool: Spool | None = None
        self._uploader: SpoolUploader | None = None
        self._problem = settings.missing
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def open(self) -> None:
        """Lock the folder on disk for this agent and read what an earlier run left there.

        Raises:
            CannotStart: another agent uses the folder.
        """
        settings = self._settings
        if self._problem or settings.folder is None:
            return
        try:
            self._folder_lock = claim_folder(settings.folder / key_prefix(settings))
            self._spool = Spool(settings.folder, key_prefix(settings), settings.disk_budget, self._on_dropped)
        except OSError as error:
            log.error("captured data: %s cannot be used: %s", settings.folder, error.strerror)
            if not settings.to_cloud:
                self._problem = f"the agent cannot use {settings.folder}: {error.strerror}"

    def start(self) -> None:
        """Start, after `open`. Problems are logged; predictions work without capturing."""
        settings = self._settings
        if self._problem:
            log.debug("captured data is not stored: %s", self._problem)
            return
        if self._spool is not None and settings.uploads:
            period = None if settings.to_cloud else settings.upload_period
            self._uploader = SpoolUploader(
                self._spool, self._bucket, self._new_retry_pause(), period, self._on_uploaded
            )
            if settings.to_cloud:
                for key in self._spool.batches():
                    for capture_id in self._spool.ids(key):
                        self._statuses.begin(capture_id)
            self._uploader.start()
        self._thread.start()

    def put(self, capture: Capture) -> None:
        """Accept a capture. Never waits for the disk or the network.

        Raises:
            CaptureUnavailable: nothing is configured, or there is no network and no folder.
            AlreadyCaptured: its id was sent before.
            BufferFull: too many captures are waiting.
        """
        if self._problem:
            raise CaptureUnavailable(self._problem)
        with self._changed:
            if self._closing:
                raise CaptureUnavailable("the agent is shutting down")
            known = self._statuses.get(capture.id) is not None
            if not known and not self._online and self._spool is None:
                self._count("refused", 1)
                raise CaptureUnavailable(
                    "there is no network to upload captured data, and no CaptureDataDiskPath to keep it in"
                )
            if not known:
                self._check_capacity(capture)
            if not self._statuses.begin(capture.id):
                raise AlreadyCaptured(f"capture {capture.id} was sent before")
            self._buffer_full.resolved()
            self._waiting.append((time.monotonic(), capture))
            self._unstored += 1
            self._unstored_bytes += capture.nbytes
            self._changed.notify_all()

    def status(self, capture_id: str) -> m.CaptureDataStatus:
        """The status of a capture.

        Raises:
            UnknownCapture: it was never sent, or too many came after it.
        """
        status = self._statuses.get(capture_id)
        if status is None:
            raise UnknownCapture(
                f"capture {capture_id[:100]!r} is not known: it was never sent, or too many came after it"
            )
        return status

    def close(self, grace: float) -> None:
        """Store waiting captures for at most `grace` seconds. The rest goes to the folder, or is lost and logged."""
        if self._thread.is_alive():
            self._finish(time.monotonic() + grace)
        if self._folder_lock is not None:
            os.close(self._folder_lock)
            self._folder_lock = None

    @property
    def is_configured(self) -> bool:
        """Whether captured data can be stored."""
        return not self._problem

    def counts_text(self) -> str:
        """The counts as text for the log."""
        with self._changed:
            counts = sorted(self.counts.items())
        return ", ".join(f"{number} {what}" for what, number in counts) or "none"

    def _finish(self, deadline: float) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._retry_pause.stop()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            self._batch_waiting()
            unstored, self._batches = [each for each in self._batches if each.key not in self._settled], deque()
        for batch in unstored:
            if self._spool is None or not self._write_to_spool(batch):
                self._fail(batch)
                log.error("captured data: %d captures are lost: the agent ends before they are stored", len(batch.ids))
        if self._uploader is not None:
            self._uploader.close(max(0.0, deadline - time.monotonic()))
        log.info("captured data: %s", self.counts_text())

    def _check_capacity(self, capture: Capture) -> None:
        """Raises: BufferFull."""
        waiting, max_bytes = f"{self._unstored} captures", self._settings.buffer_bytes
        if self._unstored >= self._settings.buffer:
            limit = f"the buffer holds at most {self._settings.buffer}"
        elif self._unstored and self._unstored_bytes + capture.nbytes > max_bytes:
            waiting += f" of {self._unstored_bytes} bytes"
            limit = f"{capture.nbytes} more exceed the {max_bytes} bytes of the buffer"
        else:
            return
        self._count("refused", 1)
        self._buffer_full.report("full", f"{waiting} are waiting to be stored; new ones are refused for now")
        raise BufferFull(f"{waiting} are waiting to be stored, and {limit}")

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due():
                    self._changed.wait(self._until_due())
                if not self._batches:
                    self._batch_waiting()
                if not self._batches:
                    if self._closing:
                        return
                    continue
                batch = self._batches[0]
            stored = self._try_to_store(batch)
            with self._changed:
                if stored and self._batches and self._batches[0] is batch:
                    self._batches.popleft()
                    self._settled.discard(batch.key)
                elif self._closing:
                    return  # that was the last attempt; `close` handles the rest

    def _until_due(self) -> float | None:
        if not self._waiting:
            return None
        return max(0.0, self._waiting[0][0] + self._settings.push_period - time.monotonic())

    def _due(self) -> bool:
        if self._batches or self._closing or len(self._waiting) >= self._settings.batch:
            return True
        return bool(self._waiting) and self._until_due() == 0.0

    def _batch_waiting(self) -> None:
        """Make batches of what is due, one model in each: a full batch, or all after the push period."""
        everything = self._closing or self._until_due() == 0.0
        count = len(self._waiting) if everything else min(len(self._waiting), self._settings.batch)
        captures = [self._waiting.popleft()[1] for _ in range(count)]
        for same_model in group_by_model(captures, self._settings.batch):
            self._make_batch(same_model)

    def _make_batch(self, captures: list[Capture]) -> None:
        try:
            self._batches.append(make_batch(captures, self._settings, self._clock()))
        except Exception as error:
            self._unexpected.report(
                type(error).__name__, f"no batch can be made: {describe_unexpected(error)}", logging.ERROR
            )
            ids, nbytes = tuple(capture.id for capture in captures), sum(capture.nbytes for capture in captures)
            self._settle(ids, nbytes, Status.FAILURE, "failed")

    def _try_to_store(self, batch: Batch) -> bool:
        """Like `_store`, but no error may end the thread."""
        try:
            return self._store(batch)
        except Exception as error:
            self._unexpected.report(type(error).__name__, f"not uploaded: {describe_unexpected(error)}", logging.ERROR)
            if not self._write_to_spool(batch):
                self._fail(batch)
            return True

    def _store(self, batch: Batch) -> bool:
        """Store a batch, or count it as failed; False to try again after a pause."""
        if not self._settings.to_cloud:
            if not self._write_to_spool(batch):
                self._fail(batch)
            return True
        # While batches wait on disk, the uploader has precedence: there was no network a moment ago.
        waiting = self._spool is not None and bool(self._spool.batches())
        return (waiting and self._write_to_spool(batch)) or self._upload(batch)

    def _upload(self, batch: Batch) -> bool:
        try:
            self._bucket.store(batch)
        except UploadRejected as refusal:
            self._online = True
            self._upload_problem.report(str(refusal), f"not uploaded: {refusal}", logging.ERROR)
            if not self._write_to_spool(batch):
                self._fail(batch)
            return True
        except S3Unreachable as reason:
            if self._write_to_spool(batch):
                self._upload_problem.report("offline", f"{reason}; captures are kept on disk until S3 can be reached")
                return True
            self._online = False
            self._upload_problem.report("offline", f"{reason}; captures are refused until S3 can be reached")
            self._retry_pause.wait()
            return False
        self._online = True
        self._retry_pause.reset()
        self._upload_problem.resolved("uploads work again")
        self._settle_batch(batch, Status.SUCCESS, "stored")
        return True

    def _write_to_spool(self, batch: Batch) -> bool:
        """Write a batch to the folder; False if there is none or it failed."""
        if self._spool is None:
            return False
        try:
            self._spool.write(batch)
        except Exception as error:
            text = str(error) if isinstance(error, (BatchDoesNotFit, OSError)) else describe_unexpected(error)
            self._disk_problem.report(type(error).__name__, f"captures cannot be written: {text}", logging.ERROR)
            return False
        lost, self._lost = self._lost, 0
        self._disk_problem.resolved(f"writing works again{f'; {lost} captures were lost' if lost else ''}")
        if self._settings.to_cloud:
            self._release(batch.ids, batch.nbytes)
        else:
            self._settle_batch(batch, Status.SUCCESS, "stored")
        if self._uploader is not None:
            self._uploader.wake()
        return True

    def _on_dropped(self, ids: tuple[str, ...]) -> None:
        self._statuses.settle(ids, Status.FAILURE)
        self._count("dropped", len(ids))

    def _on_uploaded(self, ids: tuple[str, ...]) -> None:
        self._statuses.settle(ids, Status.SUCCESS)
        self._count("stored" if self._settings.to_cloud else "uploaded", len(ids))

    def _fail(self, batch: Batch) -> None:
        self._lost += len(batch.ids)
        self._settle_batch(batch, Status.FAILURE, "failed")

    def _settle_batch(self, batch: Batch, status: m.CaptureDataStatus, count: str) -> None:
        """As `_settle`, once a batch: `close` may have given up one that was still on its way."""
        with self._changed:
            if batch.key in self._settled:
                return
            self._settled.add(batch.key)
        self._settle(batch.ids, batch.nbytes, status, count)

    def _settle(self, ids: tuple[str, ...], nbytes: int, status: m.CaptureDataStatus, count: str) -> None:
        self._statuses.settle(ids, status)
        self._count(count, len(ids))
        self._release(ids, nbytes)

    def _count(self, what: str, number: int) -> None:
        with self._changed:
            self.counts[what] += number

    def _release(self, ids: tuple[str, ...], nbytes: int) -> None:
        """Remove captures from the counters of the buffer."""
        with self._changed:
            self._unstored -= len(ids)
            self._unstored_bytes -= nbytes
