import math
import threading
from types import SimpleNamespace

import pytest

from emflow_edge.latest_slot import LatestSlot, SlotClosed


def test_the_newest_item_wins_and_the_one_it_replaced_is_reported() -> None:
    slot: LatestSlot[int] = LatestSlot()
    assert slot.put(1) == 0
    assert slot.put(2) == 1
    assert slot.take() == 2
    assert slot.put(3) == 0


def test_taking_waits_for_the_next_item() -> None:
    slot: LatestSlot[str] = LatestSlot()
    taken: list[str] = []
    taker = threading.Thread(target=lambda: taken.append(slot.take(timeout=10)))
    taker.start()
    slot.put("frame")
    taker.join(10)
    assert taken == ["frame"]


def test_taking_gives_up_when_nothing_comes_in_time() -> None:
    with pytest.raises(TimeoutError):
        LatestSlot[int]().take(timeout=0.01)


def test_what_lies_in_a_closed_slot_can_still_be_taken_once() -> None:
    slot: LatestSlot[int] = LatestSlot()
    slot.put(1)
    slot.close()
    assert slot.take() == 1
    with pytest.raises(SlotClosed):
        slot.take(timeout=10)


def test_the_time_of_the_next_request_is_estimated_from_how_busy_the_taker_was(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("emflow_edge.latest_slot.time", SimpleNamespace(monotonic=lambda: now[0]))
    slot: LatestSlot[int] = LatestSlot()
    assert slot.expected_next_take() == math.inf
    for _ in range(2):
        slot.put(1)
        slot.take()
        now[0] += 0.05
    with pytest.raises(TimeoutError):
        slot.take(timeout=0)
    assert slot.expected_next_take() == 0.0
    slot.put(1)
    slot.take()
    assert slot.expected_next_take() == pytest.approx(now[0] + 0.05)
    now[0] += 1
    assert slot.expected_next_take() == now[0]


def test_what_nobody_took_can_be_taken_back() -> None:
    slot: LatestSlot[int] = LatestSlot()
    assert slot.clear() == 0
    slot.put(1)
    assert slot.clear() == 1
    with pytest.raises(TimeoutError):
        slot.take(timeout=0)
