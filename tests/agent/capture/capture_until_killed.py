"""A program that captures as fast as it goes until it is killed: `python capture_until_killed.py BUCKET FOLDER`.

It writes the id of every capture that is stored on disk, a line each, after it is. A capture's tensor is made of its
id, so that whoever finds it in the end can tell whether it is whole.
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

from emflow_agent.capture.buffer import CaptureBuffer
from emflow_agent.capture.jsonl import Capture, CapturedItem
from emflow_agent.capture.retries import RetryPause
from emflow_agent.capture.settings import CaptureSettings
from emflow_agent.errors import BufferFull
from emflow_proto import messages as m

REPEATED = 200


def tensor_of(capture_id: str) -> bytes:
    return capture_id.encode() * REPEATED


def main(bucket: str, folder: str) -> None:
    settings = CaptureSettings(
        fleet="orchard", device="board", to_cloud=False, bucket=bucket, folder=Path(folder), batch=3, buffer=9,
        push_period=0.01, upload=True, upload_period=0.01,
    )  # fmt: skip
    capturing = CaptureBuffer(settings, retry_pause=lambda: RetryPause(0.01, 0.1))
    capturing.open()
    capturing.start()
    under_way: list[str] = []
    while True:
        capture_id = str(uuid.uuid4())
        data = tensor_of(capture_id)
        part = CapturedItem("text", f"Tensor[UINT8; {len(data)}]", data)
        try:
            capturing.put(Capture(capture_id, "net", 1e9, (part,), ()))
            under_way.append(capture_id)
        except BufferFull:
            pass
        for known in list(under_way):
            if capturing.status(known) == m.CaptureDataStatus.SUCCESS:
                under_way.remove(known)
                sys.stdout.write(f"{known}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
