"""Uploads batches from disk to S3, the oldest first, and removes them afterwards."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from emflow_agent.capture.retries import ProblemLog, RetryPause, describe_unexpected
from emflow_agent.capture.s3 import CaptureBucket, S3Unreachable, UploadNotConfigured, UploadRejected
from emflow_agent.capture.spool import Spool

log = logging.getLogger(__name__)


class SpoolUploader:
    """A thread that uploads the batches of a spool to a bucket.

    A batch is removed only after S3 has stored all of it. Its keys are fixed, so after a crash it is uploaded again to
    the same keys.

    Args:
        period: seconds between two rounds; None to start as soon as there is a batch.
        uploaded: called with the capture ids of each uploaded batch.
    """

    def __init__(
        self,
        spool: Spool,
        bucket: CaptureBucket,
        pauses: RetryPause,
        period: float | None,
        uploaded: Callable[[tuple[str, ...]], object],
    ) -> None:
        self._spool, self._bucket, self._pauses = spool, bucket, pauses
        self._period, self._on_uploaded = period, uploaded
        self._problem = ProblemLog()
        self._work_available = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture-upload", daemon=True)

    def start(self) -> None:
        self._work_available.set()
        self._thread.start()

    def wake(self) -> None:
        """There is a batch to upload."""
        self._work_available.set()

    def close(self, grace: float) -> None:
        """End after the current batch, at most after `grace` seconds; the next run uploads the rest."""
        self._pauses.stop()
        self._work_available.set()
        self._thread.join(grace)

    def _run(self) -> None:
        while not self._pauses.stopped:
            self._work_available.wait()
            self._work_available.clear()
            while not self._pauses.stopped and not self._round():
                self._pauses.wait(self._period or 0.0)
            if self._period is not None:
                self._pauses.wait(self._period)
                self._work_available.set()

    def _round(self) -> bool:
        """Upload all batches; True when all were uploaded."""
        complete = True
        for key in self._spool.batches():
            if self._pauses.stopped:
                return True
            try:
                with self._spool.uploading(key) as batch:
                    if batch is not None:
                        self._bucket.store(batch)
                if batch is not None:
                    self._pauses.reset()
                    self._on_uploaded(batch.ids)
            except S3Unreachable as reason:
                self._problem.report("offline", f"{reason}; batches on disk are uploaded when S3 can be reached")
                return False
            except (UploadRejected, OSError) as refusal:
                # It stays until the cause is fixed or newer batches need the space; others may succeed.
                kind = str(refusal) if isinstance(refusal, UploadRejected) else type(refusal).__name__
                self._problem.report(kind, f"batches on disk are not uploaded: {refusal}", logging.ERROR)
                if isinstance(refusal, UploadNotConfigured):
                    return False  # looking for credentials takes a second of CPU time on a board, for each batch
                complete = False
            except Exception as error:
                # No error may end the thread.
                self._problem.report(
                    type(error).__name__, f"batches on disk are not uploaded: {describe_unexpected(error)}"
                )
                complete = False
        if complete:
            self._problem.resolved("all batches on disk are uploaded")
        return complete
