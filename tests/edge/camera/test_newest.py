import math
import threading
import time

import pytest

from emflow_edge.latest_slot import Closed, Newest
from support import until


def test_the_newest_item_wins_and_the_one_it_replaced_is_told() -> None:
    slot: Newest[int] = Newest()
    assert slot.put(1) == 0
    assert slot.put(2) == 1
    assert slot.take() == 2
    assert slot.put(3) == 0


def test_taking_waits_for_the_next_item() -> None:
    slot: Newest[str] = Newest()
    taken: list[str] = []
    taker = threading.Thread(target=lambda: taken.append(slot.take(timeout=10)))
    taker.start()
    slot.put("frame")
    taker.join(10)
    assert taken == ["frame"]


def test_taking_gives_up_when_nothing_comes_in_time() -> None:
    with pytest.raises(TimeoutError):
        Newest[int]().take(timeout=0.01)


def test_what_lies_in_a_closed_slot_can_still_be_taken_once() -> None:
    slot: Newest[int] = Newest()
    slot.put(1)
    slot.close()
    assert slot.take() == 1
    with pytest.raises(Closed):
        slot.take(timeout=10)


def test_when_the_next_item_will_be_asked_for_is_told_from_how_busy_the_taker_was() -> None:
    slot: Newest[int] = Newest()
    assert slot.next_asked() == math.inf
    for _ in range(2):
        slot.put(1)
        slot.take()
        time.sleep(0.05)
    with pytest.raises(TimeoutError):
        slot.take(timeout=0)
    assert slot.next_asked() == 0.0
    slot.put(1)
    slot.take()
    assert 0.03 < slot.next_asked() - time.monotonic() < 1.0
    until(lambda: slot.next_asked() <= time.monotonic(), what="the time that it was busy last")


def test_what_nobody_took_can_be_taken_back() -> None:
    slot: Newest[int] = Newest()
    assert slot.clear() == 0
    slot.put(1)
    assert slot.clear() == 1
    with pytest.raises(TimeoutError):
        slot.take(timeout=0)
