"""The buffer between CaptureData and the place where captured data goes.

`put` takes a capture or refuses it, at once. A thread makes batches and stores them: in a folder, in S3, or, while S3
cannot be reached, in a folder on the way there; another thread uploads what is in the folder. In the buffer counts
what is not stored yet, so when storing is too slow, clients are refused; nothing is dropped without a word.
"""

from __future__ import annotations

import logging
import os
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

# What became of each capture, for as many of the newest as are worth remembering.


REMEMBERED = 10_000


def normalised_id(capture_id: str) -> str:
    """One spelling for all that name the same UUID."""
    return capture_id.replace("-", "").lower()


class Statuses:
    """Statuses by capture id; when there are too many, the oldest are forgotten. Safe to use from any thread."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._lock = threading.Lock()
        self._known: OrderedDict[str, m.CaptureDataStatus] = OrderedDict()

    def begin(self, capture_id: str) -> bool:
        """Note that a capture is under way; False when its id was there before."""
        with self._lock:
            if normalised_id(capture_id) in self._known:
                return False
            self._known[normalised_id(capture_id)] = m.CaptureDataStatus.IN_PROGRESS
            while len(self._known) > self._remembered:
                self._known.popitem(last=False)
            return True

    def settle(self, capture_ids: Iterable[str], status: m.CaptureDataStatus) -> None:
        """Note what became of captures; of those that are forgotten, nothing."""
        with self._lock:
            for capture_id in map(normalised_id, capture_ids):
                if capture_id in self._known:
                    self._known[capture_id] = status

    def get(self, capture_id: str) -> m.CaptureDataStatus | None:
        with self._lock:
            return self._known.get(normalised_id(capture_id))


log = logging.getLogger(__name__)

Status = m.CaptureDataStatus


class CaptureBuffer:
    """Everything between `put` and the place where captures end. Safe to use from any thread, between start and close.

    Args:
        settings: what goes where.
        bucket: S3; by default the one that the settings name.
        clock: Unix seconds.
        pauses: makes what waits between tries.

    counts: captures that were stored, uploaded (those that were stored on disk before), refused, failed (not stored
    anywhere) and dropped (from the disk, for newer ones).
    """

    def __init__(
        self,
        settings: CaptureSettings,
        bucket: CaptureBucket | None = None,
        clock: Callable[[], float] = time.time,
        pauses: Callable[[], RetryPause] = RetryPause,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._bucket = bucket or CaptureBucket(settings.bucket)
        self._pauses, self._new_pauses = pauses(), pauses
        self._statuses = Statuses()
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, Capture]] = deque()
        self._batches: deque[Batch] = deque()
        self._unstored = self._unstored_bytes = 0
        self._closing = False
        self._online = True
        self._cloud, self._disk, self._full, self._unforeseen = ProblemLog(), ProblemLog(), ProblemLog(), ProblemLog()
        self._claim: int | None = None
        self._spool: Spool | None = None
        self._uploading: SpoolUploader | None = None
        self._problem = settings.missing
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def open(self) -> None:
        """Look at what an earlier run left on disk, and make the folder this agent's.

        Raises:
            CannotStart: it is another agent's.
        """
        settings = self._settings
        if self._problem or settings.folder is None:
            return
        try:
            self._claim = claim_folder(settings.folder / key_prefix(settings))
            self._spool = Spool(settings.folder, key_prefix(settings), settings.disk_budget, self._on_dropped)
        except OSError as error:
            log.error("captured data: %s cannot be used: %s", settings.folder, error.strerror)
            if not settings.to_cloud:
                self._problem = f"the agent cannot use {settings.folder}: {error.strerror}"

    def start(self) -> None:
        """Begin, after `open`. What does not work is told; predictions go on without it."""
        settings = self._settings
        if self._problem:
            log.debug("captured data is not stored: %s", self._problem)
            return
        if self._spool is not None and settings.uploads:
            every = None if settings.to_cloud else settings.upload_period
            self._uploading = SpoolUploader(self._spool, self._bucket, self._new_pauses(), every, self._on_uploaded)
            if settings.to_cloud:
                for key in self._spool.batches():
                    for capture_id in self._spool.ids(key):
                        self._statuses.begin(capture_id)
            self._uploading.start()
        self._thread.start()

    def put(self, capture: Capture) -> None:
        """Take a capture along. Never waits for a disk or the network.

        Raises:
            CaptureUnavailable: nothing can be stored with these settings, or there is no network and no folder to wait in.
            AlreadyCaptured: its id was there before.
            BufferFull: too many wait.
        """
        if self._problem:
            raise CaptureUnavailable(self._problem)
        with self._changed:
            if self._closing:
                raise CaptureUnavailable("the agent is ending")
            known = self._statuses.get(capture.id) is not None
            if not known and not self._online and self._spool is None:
                self._count("refused", 1)
                raise CaptureUnavailable(
                    "there is no network to upload captured data, and no CaptureDataDiskPath to keep it in"
                )
            if not known:
                self._check_capacity(capture)
            if not self._statuses.begin(capture.id):
                raise AlreadyCaptured(f"capture {capture.id} was handed over before")
            self._full.resolved()
            self._waiting.append((time.monotonic(), capture))
            self._unstored += 1
            self._unstored_bytes += capture.nbytes
            self._changed.notify_all()

    def status(self, capture_id: str) -> m.CaptureDataStatus:
        """What became of a capture.

        Raises:
            UnknownCapture: it was never handed over, or too long ago.
        """
        found = self._statuses.get(capture_id)
        if found is None:
            raise UnknownCapture(f"no capture {capture_id[:100]!r} was handed over, or too many came after it")
        return found

    def close(self, grace: float) -> None:
        """Store what waits, for at most `grace` seconds. What is left goes to the folder, or is lost, which is told."""
        if self._thread.is_alive():
            self._finish(time.monotonic() + grace)
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    @property
    def is_configured(self) -> bool:
        """Whether there is a place for captured data."""
        return not self._problem

    def counts_text(self) -> str:
        """The counts, in words for the log."""
        with self._changed:
            counts = sorted(self.counts.items())
        return ", ".join(f"{number} {what}" for what, number in counts) or "none"

    def _finish(self, deadline: float) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._pauses.stop()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            self._batch_waiting()
            left, self._batches = list(self._batches), deque()
        for batch in left:
            if self._spool is None or not self._write_to_spool(batch):
                self._fail(batch)
                log.error("captured data: %d captures are lost, the agent ends before they are stored", len(batch.ids))
        if self._uploading is not None:
            self._uploading.close(max(0.0, deadline - time.monotonic()))
        log.info("captured data: %s", self.counts_text())

    def _check_capacity(self, capture: Capture) -> None:
        """Raises: BufferFull."""
        wait, most = f"{self._unstored} captures", self._settings.buffer_bytes
        if self._unstored >= self._settings.buffer:
            limit = f"the buffer holds {self._settings.buffer}"
        elif self._unstored and self._unstored_bytes + capture.nbytes > most:
            wait += f" of {self._unstored_bytes} bytes"
            limit = f"{capture.nbytes} more are above the {most} bytes that the buffer holds"
        else:
            return
        self._count("refused", 1)
        self._full.report("full", f"{wait} wait to be stored, more are refused for now")
        raise BufferFull(f"{wait} wait to be stored, and {limit}")

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
            done = self._try_to_store(batch)
            with self._changed:
                if done and self._batches and self._batches[0] is batch:
                    self._batches.popleft()
                elif self._closing:
                    return  # that was the last try; `close` sees to the rest

    def _until_due(self) -> float | None:
        if not self._waiting:
            return None
        return max(0.0, self._waiting[0][0] + self._settings.push_period - time.monotonic())

    def _due(self) -> bool:
        if self._batches or self._closing or len(self._waiting) >= self._settings.batch:
            return True
        return bool(self._waiting) and self._until_due() == 0.0

    def _batch_waiting(self) -> None:
        """Make batches of all that waits: one model a batch, in the order in which models came."""
        captures = [capture for _, capture in self._waiting]
        self._waiting.clear()
        for same_model in group_by_model(captures, self._settings.batch):
            self._make_batch(same_model)

    def _make_batch(self, captures: list[Capture]) -> None:
        try:
            self._batches.append(make_batch(captures, self._settings, self._clock()))
        except Exception as error:
            self._unforeseen.report(
                type(error).__name__, f"no batch can be made: {describe_unexpected(error)}", logging.ERROR
            )
            ids, nbytes = tuple(capture.id for capture in captures), sum(capture.nbytes for capture in captures)
            self._settle(ids, nbytes, Status.FAILURE, "failed")

    def _try_to_store(self, batch: Batch) -> bool:
        """As `_store`. Whatever goes wrong must not end the thread, with which all storing would end."""
        try:
            return self._store(batch)
        except Exception as error:
            self._unforeseen.report(type(error).__name__, f"not uploaded: {describe_unexpected(error)}", logging.ERROR)
            if not self._write_to_spool(batch):
                self._fail(batch)
            return True

    def _store(self, batch: Batch) -> bool:
        """Store a batch, or come to know that nothing will; False to try again, after a pause."""
        if not self._settings.to_cloud:
            if not self._write_to_spool(batch):
                self._fail(batch)
            return True
        # While others wait on disk, it is the uploader's turn: there was no network a moment ago.
        waiting = self._spool is not None and bool(self._spool.batches())
        return (waiting and self._write_to_spool(batch)) or self._upload(batch)

    def _upload(self, batch: Batch) -> bool:
        try:
            self._bucket.store(batch)
        except UploadRejected as refusal:
            self._online = True
            self._cloud.report(str(refusal), f"not uploaded: {refusal}", logging.ERROR)
            if not self._write_to_spool(batch):
                self._fail(batch)
            return True
        except S3Unreachable as reason:
            if self._write_to_spool(batch):
                self._cloud.report("offline", f"{reason}; captures are kept on disk until it works again")
                return True
            self._online = False
            self._cloud.report("offline", f"{reason}; captures are refused until it works again")
            self._pauses.wait()
            return False
        self._online = True
        self._pauses.reset()
        self._cloud.resolved("uploading again")
        self._settle(batch.ids, batch.nbytes, Status.SUCCESS, "stored")
        return True

    def _write_to_spool(self, batch: Batch) -> bool:
        """Write a batch into the folder, if there is one; whether that went well."""
        if self._spool is None:
            return False
        try:
            self._spool.write(batch)
        except Exception as error:
            text = str(error) if isinstance(error, (BatchDoesNotFit, OSError)) else describe_unexpected(error)
            self._disk.report(type(error).__name__, f"captures cannot be written: {text}", logging.ERROR)
            return False
        self._disk.resolved("writing again")
        if self._settings.to_cloud:
            self._release(batch.ids, batch.nbytes)
        else:
            self._settle(batch.ids, batch.nbytes, Status.SUCCESS, "stored")
        if self._uploading is not None:
            self._uploading.wake()
        return True

    def _on_dropped(self, ids: tuple[str, ...]) -> None:
        self._statuses.settle(ids, Status.FAILURE)
        self._count("dropped", len(ids))

    def _on_uploaded(self, ids: tuple[str, ...]) -> None:
        self._statuses.settle(ids, Status.SUCCESS)
        self._count("stored" if self._settings.to_cloud else "uploaded", len(ids))

    def _fail(self, batch: Batch) -> None:
        self._settle(batch.ids, batch.nbytes, Status.FAILURE, "failed")

    def _settle(self, ids: tuple[str, ...], nbytes: int, status: m.CaptureDataStatus, count: str) -> None:
        self._statuses.settle(ids, status)
        self._count(count, len(ids))
        self._release(ids, nbytes)

    def _count(self, what: str, number: int) -> None:
        with self._changed:
            self.counts[what] += number

    def _release(self, ids: tuple[str, ...], nbytes: int) -> None:
        """They take no place in the buffer any more."""
        with self._changed:
            self._unstored -= len(ids)
            self._unstored_bytes -= nbytes
