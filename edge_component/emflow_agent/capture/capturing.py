"""The buffer between CaptureData and the place where captured data goes.

`put` takes a capture or refuses it, at once. A thread makes batches and stores them: in a folder, in S3, or, while S3
cannot be reached, in a folder on the way there; another thread uploads what is in the folder. In the buffer counts
what is not stored yet, so when storing is too slow, clients are refused; nothing is dropped without a word.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import groupby

from emflow_agent.capture.bouts import Bout, Pauses
from emflow_agent.capture.cloud import Bucket, NotTaken, Unreachable
from emflow_agent.capture.lines import Batch, Capture, seal, top
from emflow_agent.capture.settings import CaptureSettings
from emflow_agent.capture.spool import DoesNotFit, Spool
from emflow_agent.capture.statuses import Statuses
from emflow_agent.capture.uploading import Uploading
from emflow_agent.problems import AlreadyCaptured, BufferFull, NoPlace, UnknownCapture
from emflow_proto import messages as m

log = logging.getLogger(__name__)

Status = m.CaptureDataStatus


class Capturing:
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
        bucket: Bucket | None = None,
        clock: Callable[[], float] = time.time,
        pauses: Callable[[], Pauses] = Pauses,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._bucket = bucket or Bucket(settings.bucket)
        self._pauses, self._new_pauses = pauses(), pauses
        self._statuses = Statuses()
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, Capture]] = deque()
        self._sealed: deque[Batch] = deque()
        self._unstored = self._unstored_bytes = 0
        self._closing = False
        self._online = True
        self._cloud, self._disk, self._full = Bout(), Bout(), Bout()
        self._spool: Spool | None = None
        self._uploading: Uploading | None = None
        self._problem = settings.missing
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier run left on disk. What does not work is told; predictions go on without it."""
        settings = self._settings
        if self._problem:
            log.debug("captured data is not stored: %s", self._problem)
            return
        if settings.folder is not None:
            try:
                self._spool = Spool(settings.folder, top(settings), settings.disk_budget, self._dropped)
            except OSError as error:
                log.error("captured data: %s cannot be used: %s", settings.folder, error.strerror)
                if not settings.to_cloud:
                    self._problem = f"the agent cannot use {settings.folder}: {error.strerror}"
                    return
        if self._spool is not None and settings.uploads:
            every = None if settings.to_cloud else settings.upload_period
            self._uploading = Uploading(self._spool, self._bucket, self._new_pauses(), every, self._uploaded)
            if settings.to_cloud:
                for key in self._spool.batches():
                    for capture_id in self._spool.ids(key):
                        self._statuses.begin(capture_id)
            self._uploading.start()
        self._thread.start()

    def put(self, capture: Capture) -> None:
        """Take a capture along. Never waits for a disk or the network.

        Raises:
            NoPlace: nothing can be stored with these settings, or there is no network and no folder to wait in.
            AlreadyCaptured: its id was there before.
            BufferFull: too many wait.
        """
        if self._problem:
            raise NoPlace(self._problem)
        if not self._online and self._spool is None:
            self._count("refused", 1)
            raise NoPlace("there is no network to upload captured data, and no CaptureDataDiskPath to keep it in")
        with self._changed:
            full = self._unstored >= self._settings.buffer or (
                self._unstored > 0 and self._unstored_bytes + capture.nbytes > self._settings.buffer_bytes
            )
            if self._closing:
                raise NoPlace("the agent is ending")
            if full:
                self._refuse()
            if not self._statuses.begin(capture.id):
                raise AlreadyCaptured(f"capture {capture.id} was handed over before")
            self._full.over()
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
        if not self._thread.is_alive():
            return
        deadline = time.monotonic() + grace
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._pauses.end()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            self._seal_all()
            left, self._sealed = list(self._sealed), deque()
        for batch in left:
            if self._spool is None or not self._keep(batch):
                self._settle(batch, Status.FAILURE, "failed")
                log.error("captured data: %d captures are lost, the agent ends before they are stored", len(batch.ids))
        if self._uploading is not None:
            self._uploading.close(max(0.0, deadline - time.monotonic()))
        log.info("captured data: %s", ", ".join(f"{n} {what}" for what, n in sorted(self.counts.items())) or "none")

    def _refuse(self) -> None:
        self._count("refused", 1)
        self._full.on("full", f"{self._unstored} captures wait to be stored, more are refused for now")
        raise BufferFull(f"{self._unstored} captures wait to be stored, and the buffer holds {self._settings.buffer}")

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due():
                    self._changed.wait(self._until_due())
                if not self._sealed:
                    self._seal_all()
                if not self._sealed:
                    if self._closing:
                        return
                    continue
                batch = self._sealed[0]
            done = self._stored(batch)
            with self._changed:
                if done and self._sealed and self._sealed[0] is batch:
                    self._sealed.popleft()
                elif self._closing:
                    return  # that was the last try; `close` sees to the rest

    def _until_due(self) -> float | None:
        if not self._waiting:
            return None
        return max(0.0, self._waiting[0][0] + self._settings.push_period - time.monotonic())

    def _due(self) -> bool:
        if self._sealed or self._closing or len(self._waiting) >= self._settings.batch:
            return True
        return bool(self._waiting) and self._until_due() == 0.0

    def _seal_all(self) -> None:
        """Make batches of all that waits: one model a batch, in the order in which models came."""
        captures = [capture for _, capture in self._waiting]
        self._waiting.clear()
        order = {model: at for at, model in enumerate(dict.fromkeys(capture.model for capture in captures))}
        captures.sort(key=lambda capture: order[capture.model])
        for _, same_model in groupby(captures, key=lambda capture: capture.model):
            group = list(same_model)
            for begin in range(0, len(group), self._settings.batch):
                self._sealed.append(seal(group[begin : begin + self._settings.batch], self._settings, self._clock()))

    def _stored(self, batch: Batch) -> bool:
        """Store a batch, or come to know that nothing will; False to try again, after a pause."""
        if not self._settings.to_cloud:
            if not self._keep(batch):
                self._settle(batch, Status.FAILURE, "failed")
            return True
        # While others wait on disk, it is the uploader's turn: there was no network a moment ago.
        waiting = self._spool is not None and bool(self._spool.batches())
        return (waiting and self._keep(batch)) or self._upload(batch)

    def _upload(self, batch: Batch) -> bool:
        try:
            self._bucket.store(batch)
        except NotTaken as refusal:
            self._online = True
            self._cloud.on(str(refusal), f"not uploaded: {refusal}", logging.ERROR)
            if not self._keep(batch):
                self._settle(batch, Status.FAILURE, "failed")
            return True
        except Unreachable as reason:
            if self._keep(batch):
                self._cloud.on("offline", f"{reason}; captures are kept on disk until it works again")
                return True
            self._online = False
            self._cloud.on("offline", f"{reason}; captures are refused until it works again")
            self._pauses.wait()
            return False
        self._online = True
        self._pauses.reset()
        self._cloud.over("uploading again")
        self._settle(batch, Status.SUCCESS, "stored")
        return True

    def _keep(self, batch: Batch) -> bool:
        """Write a batch into the folder, if there is one; whether that went well."""
        if self._spool is None:
            return False
        try:
            self._spool.write(batch)
        except (DoesNotFit, OSError) as error:
            self._disk.on(type(error).__name__, f"captures cannot be written: {error}", logging.ERROR)
            return False
        self._disk.over("writing again")
        if self._settings.to_cloud:
            self._release(batch)
        else:
            self._settle(batch, Status.SUCCESS, "stored")
        if self._uploading is not None:
            self._uploading.wake()
        return True

    def _dropped(self, ids: tuple[str, ...]) -> None:
        self._statuses.settle(ids, Status.FAILURE)
        self._count("dropped", len(ids))

    def _uploaded(self, ids: tuple[str, ...]) -> None:
        self._statuses.settle(ids, Status.SUCCESS)
        self._count("stored" if self._settings.to_cloud else "uploaded", len(ids))

    def _settle(self, batch: Batch, status: m.CaptureDataStatus, count: str) -> None:
        self._statuses.settle(batch.ids, status)
        self._count(count, len(batch.ids))
        self._release(batch)

    def _count(self, what: str, number: int) -> None:
        with self._changed:
            self.counts[what] += number

    def _release(self, batch: Batch) -> None:
        """It takes no place in the buffer any more."""
        with self._changed:
            self._unstored -= len(batch.ids)
            self._unstored_bytes -= batch.nbytes
