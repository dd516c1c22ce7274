"""Results' tensors for the agent's captured data: the very bytes that went into a prediction and came out of it.

In a thread of its own with a slot for one, so that neither a slow agent nor a full buffer holds up inference; when a
newer capture comes before an older one was sent, the newer wins.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import grpc

from emflow_edge.cadence import Cadence
from emflow_edge.latest_slot import LatestSlot, SlotClosed
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emflow_proto.shared_memory import SharedBuffer
from emflow_schema.edge_config import Capture

log = logging.getLogger(__name__)

TIMEOUT = 10.0
CALM = 600.0
"""Seconds between two lines in the log about the same refusal."""

LARGE = 256 << 10
"""Bytes from which a tensor is handed over in shared memory, as the interface advises."""


@dataclass(frozen=True)
class CapturedPrediction:
    """What one prediction took and gave. taken: Unix time of its frame."""

    model: str
    inputs: Sequence[m.Tensor]
    outputs: Sequence[m.Tensor]
    captured_at: float


class CaptureSender:
    """One stream's captures.

    Args:
        stream: its name, for the log.
        count: called with `captures` for each that the agent took, with `captures_failed` for each that it did not
            take or that a newer one replaced.
    """

    def __init__(self, stream: str, count: Callable[[str], object]) -> None:
        self._stream, self._count = stream, count
        self._slot: LatestSlot[tuple[AgentStub, CapturedPrediction]] = LatestSlot()
        self._put = self._taken = 0
        self._settings = Capture()
        self._cadence = Cadence(0.0)
        self._results = 0
        self._told = ""
        self._told_at: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def is_due(self, settings: Capture, at: float) -> bool:
        """Whether the next result is to be captured. at: its frame's moment on the monotonic clock.

        Settings may change between two calls. For one thread at a time.
        """
        if settings != self._settings:
            self._settings = settings
            self._cadence.change(settings.every.seconds, settings.every.frames)
            self._results = 0
        number, self._results = self._results, self._results + 1
        if not settings.enabled or not self._cadence.is_due(at, number):
            return False
        self._cadence.mark_taken(at, number)
        return True

    @property
    def waiting(self) -> bool:
        """Whether something that was handed over is still in the slot."""
        return self._taken < self._put

    def put(self, agent: AgentStub, shot: CapturedPrediction) -> None:
        """Hand over what was due. Never blocks; for the thread that asked."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"capture-{self._stream}", daemon=True)
            self._thread.start()
        if self._slot.put((agent, shot)):
            self._count("captures_failed")
        else:
            self._put += 1

    def close(self, timeout: float) -> bool:
        """Send what is in the slot, and end; whether it has."""
        self._slot.close()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                agent, shot = self._slot.take()
                self._taken += 1
            except SlotClosed:
                return
            try:
                self._send(agent, shot)
            except grpc.RpcError as error:
                self._refused(error.code(), error.details() or "")
            except ValueError:
                # The channel was closed meanwhile: the run ends, or talks to another agent.
                self._count("captures_failed")
            else:
                self._count("captures")
                if self._told:
                    self._told = ""
                    log.info("stream %s: captures are taken again", self._stream)

    def _send(self, agent: AgentStub, shot: CapturedPrediction) -> None:
        seconds = int(shot.captured_at)
        request = m.CaptureDataRequest(
            model_name=shot.model,
            capture_id=str(uuid.uuid4()),
            inference_timestamp=m.Timestamp(seconds=seconds, nanos=int((shot.captured_at - seconds) * 1e9)),
        )
        with ExitStack() as opened:
            for tensors, sent in ((shot.inputs, request.input_tensors), (shot.outputs, request.output_tensors)):
                for tensor in tensors:
                    sent.append(_light(tensor, opened))
            agent.CaptureData(request, timeout=TIMEOUT)

    def _refused(self, code: grpc.StatusCode, details: str) -> None:
        self._count("captures_failed")
        # Not for every frame, nor each time that a buffer is full again: whoever reads the log sees the count go up.
        now = time.monotonic()
        if code.name != self._told and now - self._told_at.get(code.name, -math.inf) >= CALM:
            self._told, self._told_at[code.name] = code.name, now
            log.warning("stream %s: the agent does not take captures (%s): %s", self._stream, code.name, details)


def _light(tensor: m.Tensor, opened: ExitStack) -> m.Tensor:
    """A tensor as it travels best; what it needs on the way is closed with `opened`."""
    size = len(tensor.byte_data)
    if size <= LARGE:
        return tensor
    try:
        buffer = SharedBuffer(size)
    except OSError:
        return tensor  # no shared memory here, or no more of it; the message holds it as well
    opened.callback(buffer.close)
    buffer.view[:] = tensor.byte_data
    return m.Tensor(tensor_metadata=tensor.tensor_metadata, shared_memory_handle=buffer.handle)
