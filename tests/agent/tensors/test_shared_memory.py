"""Segments of shared memory that clients hand over: looked at, read, and let go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from emflow_agent.errors import BadRequest
from emflow_agent.tensors import shared_memory
from emflow_agent.tensors.shared_memory import attached_segment
from emflow_proto import messages as m
from emflow_proto.shared_memory import SharedBuffer

SIZE = 3 * 4096 + 5


@pytest.fixture
def buffer() -> Iterator[SharedBuffer]:
    made = SharedBuffer(SIZE)
    made.view[:] = bytes(at % 251 for at in range(SIZE))
    yield made
    made.close()


def handle(buffer: SharedBuffer, offset: int = 0, size: int = SIZE) -> m.SharedMemoryHandle:
    return m.SharedMemoryHandle(size=size, offset=offset, segment_id=buffer.handle.segment_id)


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 8200, SIZE])
def test_any_part_of_a_segment_can_be_read_and_none_written(buffer: SharedBuffer, offset: int) -> None:
    with attached_segment(handle(buffer, offset, SIZE - offset)) as view:
        assert bytes(view) == bytes(at % 251 for at in range(offset, SIZE))
        assert view.readonly


def test_it_is_let_go_also_when_the_call_fails(buffer: SharedBuffer) -> None:
    def segments() -> int:
        return Path("/proc/self/maps").read_text().count("/SYSV")

    def fail() -> None:
        with attached_segment(handle(buffer)):
            assert segments() == before + 1
            raise KeyError

    before = segments()
    with pytest.raises(KeyError):
        fail()
    assert segments() == before


def test_both_ways_of_looking_at_a_segment_say_the_same(buffer: SharedBuffer) -> None:
    assert shared_memory._layout_is_known()
    segment = buffer.handle.segment_id
    assert shared_memory._by_shmctl(segment) == shared_memory._by_proc(segment) == (0o400, SIZE)
    assert shared_memory._by_shmctl(segment + 1) is None
    assert shared_memory._by_proc(segment + 1) is None


def test_a_processor_with_another_structure_is_served_by_proc(
    buffer: SharedBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "_SIZE_AT", 64)
    shared_memory._layout_is_known.cache_clear()
    try:
        assert not shared_memory._layout_is_known()
        with attached_segment(handle(buffer)) as view:
            assert len(view) == SIZE
        with pytest.raises(BadRequest, match="is outside"), attached_segment(handle(buffer, 1)):
            pytest.fail("it was attached")
    finally:
        shared_memory._layout_is_known.cache_clear()


@pytest.mark.parametrize("number", [2**31 - 1, 2**31, 2**32, 2**64 - 1])
def test_a_number_that_no_segment_has_is_none(number: int) -> None:
    with (
        pytest.raises(BadRequest, match=f"no such shared memory segment: {number}"),
        attached_segment(m.SharedMemoryHandle(size=1, segment_id=number)),
    ):
        pytest.fail("it was attached")


def test_the_number_of_a_segment_with_more_bits_is_not_that_segment(buffer: SharedBuffer) -> None:
    number = 2**32 + buffer.handle.segment_id
    with (
        pytest.raises(BadRequest, match="no such shared memory segment"),
        attached_segment(m.SharedMemoryHandle(size=1, segment_id=number)),
    ):
        pytest.fail("it was attached")
