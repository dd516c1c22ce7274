"""Which frames are decoded, for cameras of 10 frames a second with key frames at regular distances."""

from __future__ import annotations

import math

import pytest

from emflow_edge.cadence import Cadence
from emflow_edge.camera.frame_selection import DecodeDecision, FrameSelector
from emflow_edge.camera.open_camera import ArrivedFrame
from support import pairwise

RATE = 10


class Played:
    """What became of each frame, with a taker that takes what is due and is busy for a while then."""

    def __init__(self, cadence: Cadence, gop: int, seconds: float, busy: float = 0.0) -> None:
        selection = FrameSelector(cadence)
        self.fates: list[DecodeDecision] = []
        self.taken: list[int] = []
        asked = 0.0
        for number in range(1, int(seconds * RATE) + 1):
            at = 100 + number / RATE
            arrival = ArrivedFrame(at, at, camera_clock=number / RATE, key=(number - 1) % gop == 0, disposable=False)
            expected_next_take = asked if asked > at else 0.0
            fate = selection.decide(arrival, number, expected_next_take)
            self.fates.append(fate)
            if fate is not DecodeDecision.SKIP and at >= asked and cadence.is_due(at, number):
                cadence.mark_taken(at, number)
                self.taken.append(number)
                asked = at + busy

    def decoded(self, last: float) -> int:
        """How many of the frames of the last seconds were decoded."""
        return sum(fate is not DecodeDecision.SKIP for fate in self.fates[-int(last * RATE) :])


def test_only_key_frames_are_decoded_when_they_come_as_often_as_frames_are_wanted() -> None:
    played = Played(Cadence(1.0), gop=10, seconds=30)
    assert played.decoded(20) == 20
    assert set(played.fates[100:]) == {DecodeDecision.SKIP, DecodeDecision.DECODE_ALONE}
    assert [number for number in played.taken if number > 100] == list(range(101, 301, 10))


def test_after_a_slow_inference_the_newest_frame_is_there() -> None:
    # Busy for 1.35 s at a frame a second: it asks in the middle of a stretch.
    played = Played(Cadence(1.0), gop=10, seconds=60, busy=1.35)
    gaps = [after - before for before, after in pairwise(played.taken[2:])]
    assert set(gaps) == {14}


def test_before_anybody_asks_all_frames_are_decoded_so_that_the_first_one_is_fresh() -> None:
    selection = FrameSelector(Cadence(1.0))
    fates = [
        selection.decide(
            ArrivedFrame(0.0, 100 + number / RATE, key=number % 10 == 0, disposable=False), number + 1, math.inf
        )
        for number in range(50)
    ]
    assert set(fates) == {DecodeDecision.DECODE}


def test_the_rate_is_kept_when_key_frames_come_at_odd_times() -> None:
    played = Played(Cadence(1.0), gop=7, seconds=70)
    assert 48 <= len([number for number in played.taken if number > 200]) <= 52


def test_all_frames_are_decoded_when_key_frames_are_too_far_apart() -> None:
    played = Played(Cadence(1.0), gop=40, seconds=30)
    assert played.decoded(20) == 200


def test_all_frames_are_decoded_for_a_model_that_is_quick() -> None:
    assert Played(Cadence(0.0), gop=10, seconds=30, busy=0.05).decoded(20) == 200


def test_a_model_slower_than_key_frames_gets_a_fresh_frame_each_time() -> None:
    played = Played(Cadence(0.0), gop=10, seconds=120, busy=4.55)
    gaps = [(after - before) / RATE for before, after in pairwise(played.taken[1:])]
    # As soon as it asks, or at the next frame after that.
    assert max(gaps) <= 4.7
    assert played.decoded(100) < 500


def test_every_twentieth_frame_is_exact_with_and_without_key_frames() -> None:
    played = Played(Cadence(0.0, 20), gop=10, seconds=60)
    assert played.taken == list(range(1, 600, 20))
    assert played.decoded(40) < 60
    played = Played(Cadence(0.0, 15), gop=10, seconds=60)
    assert played.taken == list(range(1, 600, 15))


def test_after_a_loss_nothing_is_decoded_up_to_the_next_key_frame() -> None:
    selection = FrameSelector(Cadence(0.0))
    fates = []
    for number, (key, sound) in enumerate(
        [(True, True), (False, True), (False, False), (False, True), (True, True), (False, True)], 1
    ):
        arrival = ArrivedFrame(0.0, number / RATE, camera_clock=number / RATE, key=key, disposable=False, intact=sound)
        fates.append(selection.decide(arrival, number, 0.0) is not DecodeDecision.SKIP)
    assert fates == [True, True, False, False, True, True]


def test_frames_that_no_other_needs_are_left_while_none_is_wanted() -> None:
    cadence = Cadence(60.0)
    cadence.mark_taken(1.0)
    selection = FrameSelector(cadence)
    fates = [
        selection.decide(ArrivedFrame(0.0, at, camera_clock=at, key=at == 1.1, disposable=spare), 1, 0.0)
        for at, spare in [(1.1, False), (1.2, True), (1.3, False)]
    ]
    assert fates == [DecodeDecision.DECODE, DecodeDecision.SKIP, DecodeDecision.DECODE]


def test_a_stream_without_any_key_frame_is_decoded_after_a_while() -> None:
    played = Played(Cadence(0.0), gop=10**9, seconds=1)
    selection = FrameSelector(Cadence(0.0))
    fates = [
        selection.decide(
            ArrivedFrame(0.0, 100 + number / RATE, camera_clock=None, key=False, disposable=False), number, 0.0
        )
        for number in range(100)
    ]
    assert DecodeDecision.DECODE not in fates[:45]
    assert set(fates[60:]) == {DecodeDecision.DECODE}
    assert played.fates[0] is DecodeDecision.DECODE


@pytest.mark.parametrize("changed", [40, 5])
def test_another_distance_of_key_frames_is_noticed(changed: int) -> None:
    cadence = Cadence(1.0)
    selection = FrameSelector(cadence)
    taken = []
    number = 0
    for gop, count in ((10, 10), (changed, 12)):
        for frame in range(gop * count):
            number += 1
            at = 100 + number / RATE
            arrival = ArrivedFrame(at, at, camera_clock=at, key=frame % gop == 0, disposable=False)
            if selection.decide(arrival, number, 0.0) is not DecodeDecision.SKIP and cadence.is_due(at, number):
                cadence.mark_taken(at, number)
                taken.append(at)
    gaps = [after - before for before, after in pairwise(taken[-4:])]
    assert max(gaps) < 1.6


@pytest.mark.parametrize("every", [0.0, 1.0, 5.0])
def test_in_bursts_all_frames_are_decoded_up_to_the_newest(every: float) -> None:
    selection = FrameSelector(Cadence(every))
    selection.sends_bursts = True
    for number in range(200):
        at = 100 + number // 20 * 2
        arrival = ArrivedFrame(at, at, camera_clock=number / RATE, key=number % 20 == 0, disposable=False)
        assert selection.decide(arrival, number + 1, at + 0.5) is DecodeDecision.DECODE
