"""Tensors in shared memory, read by the agent's own code on the other side."""

import gc
import threading
from pathlib import Path

import pytest

from emflow_agent.tensors.shared_memory import SEGMENTS
from emflow_edge.inference import tensor_transport
from emflow_edge.inference.tensor_transport import TensorTransport
from emflow_proto import messages as m

LARGE = 150528
PICTURE = m.TensorMetadata(name=b"picture", data_type=m.DataType.UINT8, shape=[1, 224, 224, 3])


def segments() -> dict[int, int]:
    """Access bits of every segment there is."""
    lines = [line.split() for line in Path(SEGMENTS).read_text().splitlines()[1:]]
    return {int(line[1]): int(line[2], 8) & 0o777 for line in lines}


def test_a_large_tensor_goes_in_a_read_only_segment_and_a_small_one_in_the_message() -> None:
    over = TensorTransport()
    large, small_integer = over.tensor(PICTURE, b"x" * LARGE), over.tensor(PICTURE, b"x" * 48)
    assert large.shared_memory_handle.size == LARGE
    assert segments()[large.shared_memory_handle.segment_id] == 0o400
    assert small_integer.byte_data == b"x" * 48


def test_a_thread_uses_its_segment_again_and_no_other_threads() -> None:
    over, others = TensorTransport(), []
    first, second = (over.tensor(PICTURE, bytes(LARGE)).shared_memory_handle.segment_id for _ in range(2))
    assert first == second
    thread = threading.Thread(
        target=lambda: others.append(over.tensor(PICTURE, bytes(LARGE)).shared_memory_handle.segment_id)
    )
    thread.start()
    thread.join()
    assert others != [first]
    gc.collect()
    # It went with its thread.
    assert others[0] not in segments()
    assert first in segments()


def test_a_segment_whose_call_was_not_answered_is_not_written_again() -> None:
    over = TensorTransport()
    first = over.tensor(PICTURE, bytes(LARGE)).shared_memory_handle.segment_id
    over.discard_buffer()
    assert over.tensor(PICTURE, bytes(LARGE)).shared_memory_handle.segment_id != first


def test_an_agent_that_cannot_read_it_gets_messages_from_then_on() -> None:
    over = TensorTransport()
    tensor = over.tensor(PICTURE, bytes(LARGE))
    assert over.disable_shared_memory(tensor, "permission denied")
    tensor = over.tensor(PICTURE, bytes(LARGE))
    assert len(tensor.byte_data) == LARGE
    assert not over.disable_shared_memory(tensor, "the size is wrong")


def test_a_device_without_shared_memory_gets_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(size: int) -> None:
        raise OSError("System V shared memory: Function not implemented")

    monkeypatch.setattr(tensor_transport, "_Buffer", none)
    assert len(TensorTransport().tensor(PICTURE, bytes(LARGE)).byte_data) == LARGE
