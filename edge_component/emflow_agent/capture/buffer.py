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

from emflow_agent.capture.jsonl import Batch, Capture, grouped, seal, top
from emflow_agent.capture.retries import Bout, Pauses, unforeseen
from emflow_agent.capture.s3 import Bucket, NotTaken, Unreachable
from emflow_agent.capture.settings import CaptureSettings
from emflow_agent.capture.spool import DoesNotFit, Spool, claim
from emflow_agent.capture.uploader import Uploading
from emflow_agent.errors import AlreadyCaptured, BufferFull, NoPlace, UnknownCapture
from emflow_proto import messages as m

# What became of each capture, for as many of the newest as are worth remembering.


REMEMBERED = 10_000


def same(capture_id: str) -> str:
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
            if same(capture_id) in self._known:
                return False
            self._known[same(capture_id)] = m.CaptureDataStatus.IN_PROGRESS
            while len(self._known) > self._remembered:
                self._known.popitem(last=False)
            return True

    def settle(self, capture_ids: Iterable[str], status: m.CaptureDataStatus) -> None:
        """Note what became of captures; of those that are forgotten, nothing."""
        with self._lock:
            for capture_id in map(same, capture_ids):
                if capture_id in self._known:
                    self._known[capture_id] = status

    def get(self, capture_id: str) -> m.CaptureDataStatus | None:
        with self._lock:
            return self._known.get(same(capture_id))


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
        self._cloud, self._disk, self._full, self._unforeseen = Bout(), Bout(), Bout(), Bout()
        self._claim: int | None = None
        self._spool: Spool | None = None
        self._uploading: Uploading | None = None
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
            self._claim = claim(settings.folder / top(settings))
            self._spool = Spool(settings.folder, top(settings), settings.disk_budget, self._dropped)
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
        with self._changed:
            if self._closing:
                raise NoPlace("the agent is ending")
            known = self._statuses.get(capture.id) is not None
            if not known and not self._online and self._spool is None:
                self._count("refused", 1)
                raise NoPlace("there is no network to upload captured data, and no CaptureDataDiskPath to keep it in")
            if not known:
                self._check_room(capture)
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
        if self._thread.is_alive():
            self._finish(time.monotonic() + grace)
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    @property
    def wanted(self) -> bool:
        """Whether there is a place for captured data."""
        return not self._problem

    def told(self) -> str:
        """The counts, in words for the log."""
        with self._changed:
            counts = sorted(self.counts.items())
        return ", ".join(f"{number} {what}" for what, number in counts) or "none"

    def _finish(self, deadline: float) -> None:
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
                self._fail(batch)
                log.error("captured data: %d captures are lost, the agent ends before they are stored", len(batch.ids))
        if self._uploading is not None:
            self._uploading.close(max(0.0, deadline - time.monotonic()))
        log.info("captured data: %s", self.told())

    def _check_room(self, capture: Capture) -> None:
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
        self._full.on("full", f"{wait} wait to be stored, more are refused for now")
        raise BufferFull(f"{wait} wait to be stored, and {limit}")

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
            done = self._tried(batch)
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
        for same_model in grouped(captures, self._settings.batch):
            self._seal(same_model)

    def _seal(self, captures: list[Capture]) -> None:
        try:
            self._sealed.append(seal(captures, self._settings, self._clock()))
        except Exception as error:
            self._unforeseen.on(type(error).__name__, f"no batch can be made: {unforeseen(error)}", logging.ERROR)
            ids, nbytes = tuple(capture.id for capture in captures), sum(capture.nbytes for capture in captures)
            self._settle(ids, nbytes, Status.FAILURE, "failed")

    def _tried(self, batch: Batch) -> bool:
        """As `_stored`. Whatever goes wrong must not end the thread, with which all storing would end."""
        try:
            return self._stored(batch)
        except Exception as error:
            self._unforeseen.on(type(error).__name__, f"not uploaded: {unforeseen(error)}", logging.ERROR)
            if not self._keep(batch):
                self._fail(batch)
            return True

    def _stored(self, batch: Batch) -> bool:
        """Store a batch, or come to know that nothing will; False to try again, after a pause."""
        if not self._settings.to_cloud:
            if not self._keep(batch):
                self._fail(batch)
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
                self._fail(batch)
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
        self._settle(batch.ids, batch.nbytes, Status.SUCCESS, "stored")
        return True

    def _keep(self, batch: Batch) -> bool:
        """Write a batch into the folder, if there is one; whether that went well."""
        if self._spool is None:
            return False
        try:
            self._spool.write(batch)
        except Exception as error:
            text = str(error) if isinstance(error, (DoesNotFit, OSError)) else unforeseen(error)
            self._disk.on(type(error).__name__, f"captures cannot be written: {text}", logging.ERROR)
            return False
        self._disk.over("writing again")
        if self._settings.to_cloud:
            self._release(batch.ids, batch.nbytes)
        else:
            self._settle(batch.ids, batch.nbytes, Status.SUCCESS, "stored")
        if self._uploading is not None:
            self._uploading.wake()
        return True

    def _dropped(self, ids: tuple[str, ...]) -> None:
        self._statuses.settle(ids, Status.FAILURE)
        self._count("dropped", len(ids))

    def _uploaded(self, ids: tuple[str, ...]) -> None:
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
