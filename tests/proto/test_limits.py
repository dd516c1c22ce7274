"""Counting the parts of a message reads each byte about once, whatever the bytes are."""

from __future__ import annotations

from typing import Any

import pytest

from emflow_proto import messages as m
from emflow_proto.limits import MAX_PARTS, _left_after

LENGTH = 100_000


class Counted:
    """Bytes that count how often one of them is read."""

    def __init__(self, content: bytes, reads: list[int]) -> None:
        self._content, self._reads = content, reads

    def __len__(self) -> int:
        return len(self._content)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return Counted(self._content[at], self._reads)
        self._reads[0] += 1
        return self._content[at]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * LENGTH,
        b"\x0a" + b"\xff" * LENGTH,
        b"\x08" + b"\x80" * LENGTH,
        b"\x12\x80\x80\x04" + b"\xff" * LENGTH,
    ],
    ids=["a tag without an end", "a length without an end", "a value without an end", "inside of a part"],
)
def test_a_number_without_an_end_is_read_for_ten_bytes_only(content: bytes) -> None:
    reads = [0]
    _left_after(Counted(content, reads), m.PredictRequest.DESCRIPTOR, MAX_PARTS)  # type: ignore[arg-type]
    assert reads[0] <= 30
    with pytest.raises(Exception, match=r".*"):
        m.PredictRequest.FromString(content)
