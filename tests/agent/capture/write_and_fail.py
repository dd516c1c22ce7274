"""Writes one batch to a spool and fails at a step: `write_and_fail.py <folder> <name> <bytes> <step> <failure>`.

A step is each use of a file or folder in the spool, as Python's audit events report it. The failure is `kill`, or the
name of an exception, which is raised once and only while the oldest batches are replaced. Prints what happened as JSON.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import sys
from pathlib import Path

from emflow_agent.capture import spool
from emflow_agent.capture.jsonl import Batch

FILE_EVENTS = {"open", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.listdir", "os.scandir"}
FAILURES = {"OSError": OSError(errno.EIO, "as the test says"), "MemoryError": MemoryError()}


def stored_batch(name: str, *sizes: int) -> Batch:
    """A batch with large tensors of these sizes."""
    raw = tuple((f"p/m/raw-data/x/{name}-{at}", bytes(size)) for at, size in enumerate(sizes))
    return Batch(f"p/m/{name}.jsonl", (name,), b'{"eventMetadata": {"eventId": "%s"}}\n' % name.encode(), raw)


def main(folder: str, name: str, size: int, step: int, failure: str) -> None:
    """Write the batch, and fail at the step."""
    logging.basicConfig(format="%(message)s")
    dropped: list[str] = []
    disk = spool.Spool(Path(folder), "p/", 1 << 30, dropped.extend)
    left, active = step, failure == "kill"

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if not active or event not in FILE_EVENTS or not str(arguments[0]).startswith(folder):
            return
        left -= 1
        if left == 0:
            if failure == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise FAILURES[failure]

    replace = disk._write_instead_of_oldest

    def replace_and_fail(batch: Batch, taken: int) -> None:
        nonlocal active
        active = True
        try:
            replace(batch, taken)
        finally:
            active = failure == "kill"

    disk._write_instead_of_oldest = replace_and_fail  # type: ignore[method-assign, assignment]
    before = disk.batches()
    sys.addaudithook(count)
    raised = ""
    try:
        disk.write(stored_batch(name, size))
    except (spool.BatchDoesNotFit, OSError, MemoryError) as error:
        raised = type(error).__name__
    active = False
    print(json.dumps({"before": before, "dropped": dropped, "raised": raised, "finished": left > 0}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
