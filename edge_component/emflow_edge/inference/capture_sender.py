"""Sends the tensors of predictions to the agent as captured data.

In a separate thread with a slot for one capture, so that a slow agent or a full buffer does not delay inference. A
newer capture replaces one that was not sent yet.
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
QUIET_SECONDS = 600.0
"""Minimum seconds between two log lines about the same error."""

MIN_SHARED_BYTES = 256 << 10
"""Larger tensors are passed in shared memory, as the interface recommends."""


@dataclass(frozen=True)
class CapturedPrediction:
    """Inputs and outputs of one prediction. captured_at: Unix time of its frame. handle: the load of the model that
    made it; 0 where the agent gives none."""

    model: str
    inputs: Sequence[m.Tensor]
    outputs: Sequence[m.Tensor]
    captured_at: float
    handle: int = 0


class CaptureSender:
    """Sends the captures of one stream.

    Args:
        stream: its name, for the log.
        count: called with `captures` for each accepted capture, with `captures_failed` for each that was refused or
            replaced.
    """

    def __init__(self, stream: str, count: Callable[[str], object]) -> None:
        self._stream, self._count = stream, count
        self._slot: LatestSlot[tuple[AgentStub, CapturedPrediction]] = LatestSlot()
        self._put = self._taken = 0
        self._settings = Capture()
        self._cadence = Cadence(0.0)
        self._results = 0
        self._logged = ""
        self._logged_at: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def is_due(self, settings: Capture, at: float) -> bool:
        """Whether the next result is to be captured. at: its frame's moment on the monotonic clock.

        Settings may change between two calls. Not thread-safe.
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
        """Whether a capture is still in the slot."""
        return self._taken < self._put

    def put(self, agent: AgentStub, capture: CapturedPrediction) -> None:
        """Send a capture. Never blocks; called by the thread that called `is_due`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"capture-{self._stream}", daemon=True)
            self._thread.start()
        if self._slot.put((agent, capture)):
            self._count("captures_failed")
        else:
            self._put += 1

    def close(self, timeout: float) -> bool:
        """Send the capture in the slot, and end; whether the thread has ended."""
        self._slot.close()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                agent, capture = self._slot.take()
                self._taken += 1
            except SlotClosed:
                return
            try:
                self._send(agent, capture)
            except grpc.RpcError as error:
                self._refused(error.code(), error.details() or "")
            except ValueError:
                # The channel was closed: the run ends, or another agent is used.
                self._count("captures_failed")
            else:
                self._count("captures")
                if self._logged:
                    self._logged = ""
                    log.info("stream %s: captures are accepted again", self._stream)

    def _send(self, agent: AgentStub, capture: CapturedPrediction) -> None:
        seconds = int(capture.captured_at)
        request = m.CaptureDataRequest(
            # Not the name where there is a handle: it may be another model's when this is sent.
            model_name="" if capture.handle else capture.model,
            model_handle=capture.handle,
            capture_id=str(uuid.uuid4()),
            inference_timestamp=m.Timestamp(seconds=seconds, nanos=int((capture.captured_at - seconds) * 1e9)),
        )
        with ExitStack() as opened:
            for tensors, sent in ((capture.inputs, request.input_tensors), (capture.outputs, request.output_tensors)):
                for tensor in tensors:
                    sent.append(_for_transport(tensor, opened))
            agent.CaptureData(request, timeout=TIMEOUT)

    def _refused(self, code: grpc.StatusCode, details: str) -> None:
        self._count("captures_failed")
        # Not for every frame, and not each time the buffer is full again: the counters show how many.
        now = time.monotonic()
        if code.name != self._logged and now - self._logged_at.get(code.name, -math.inf) >= QUIET_SECONDS:
            self._logged, self._logged_at[code.name] = code.name, now
            log.warning("stream %s: the agent refuses captures (%s): %s", self._stream, code.name, details)


def _for_transport(tensor: m.Tensor, opened: ExitStack) -> m.Tensor:
    """The tensor in shared memory if it is large; its buffer is closed with `opened`."""
    size = len(tensor.byte_data)
    if size <= MIN_SHARED_BYTES:
        return tensor
    try:
        buffer = SharedBuffer(size)
    except OSError:
        return tensor  # no shared memory available: send it in the message
    opened.callback(buffer.close)
    buffer.view[:] = tensor.byte_data
    return m.Tensor(tensor_metadata=tensor.tensor_metadata, shared_memory_handle=buffer.handle)
