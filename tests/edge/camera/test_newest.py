import threading

import pytest

from emflow_edge.camera.newest import Closed, Newest


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
