"""What lies on disk on its way to S3: uploaded oldest first, and removed when it has arrived."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from emflow_agent.capture.retries import ProblemLog, RetryPause, describe_unexpected
from emflow_agent.capture.s3 import CaptureBucket, S3Unreachable, UploadNotConfigured, UploadRejected
from emflow_agent.capture.spool import Spool

log = logging.getLogger(__name__)


class SpoolUploader:
    """A thread that empties a spool into a bucket.

    A batch is removed only after S3 has taken all of it, and has one key from its beginning: a crash in between
    uploads it once more to the same place.

    Args:
        every: seconds between two rounds; None to begin as soon as there is something.
        uploaded: told the capture ids of each batch that has arrived.
    """

    def __init__(
        self,
        spool: Spool,
        bucket: CaptureBucket,
        pauses: RetryPause,
        every: float | None,
        uploaded: Callable[[tuple[str, ...]], object],
    ) -> None:
        self._spool, self._bucket, self._pauses = spool, bucket, pauses
        self._every, self._told = every, uploaded
        self._trouble = ProblemLog()
        self._something = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture-upload", daemon=True)

    def start(self) -> None:
        self._something.set()
        self._thread.start()

    def wake(self) -> None:
        """There is something to upload."""
        self._something.set()

    def close(self, grace: float) -> None:
        """End after the batch under way, or leave it behind after `grace` seconds; the next run uploads it."""
        self._pauses.stop()
        self._something.set()
        self._thread.join(grace)

    def _run(self) -> None:
        while not self._pauses.stopped:
            self._something.wait()
            self._something.clear()
            while not self._pauses.stopped and not self._round():
                self._pauses.wait(self._every or 0.0)
            if self._every is not None:
                self._pauses.wait(self._every)
                self._something.set()

    def _round(self) -> bool:
        """Upload all that there is; whether all of it arrived."""
        complete = True
        for key in self._spool.batches():
            if self._pauses.stopped:
                return True
            try:
                batch = self._spool.read(key)
                if batch is None:
                    continue
                self._bucket.store(batch)
                self._spool.remove(key)
                self._pauses.reset()
                self._told(batch.ids)
            except S3Unreachable as reason:
                self._trouble.report("offline", f"{reason}; what lies on disk is uploaded when it works again")
                return False
            except (UploadRejected, OSError) as refusal:
                # It stays, until somebody mends it or newer batches need its room; others may fare better.
                kind = str(refusal) if isinstance(refusal, UploadRejected) else type(refusal).__name__
                self._trouble.report(kind, f"what lies on disk is not uploaded: {refusal}", logging.ERROR)
                if isinstance(refusal, UploadNotConfigured):
                    return False  # asking for credentials takes a board's processor a second, for each of thousands
                complete = False
            except Exception as error:
                # Whatever it is, it must not end the thread, with which all uploads would end.
                self._trouble.report(
                    type(error).__name__, f"what lies on disk is not uploaded: {describe_unexpected(error)}"
                )
                complete = False
        if complete:
            self._trouble.resolved("what lay on disk is uploaded")
        return complete
