from __future__ import annotations

import math
from random import Random

import pytest

from emflow_edge.camera.frame_selection import LiveFrameDetector


def live(*arrivals: tuple[float | None, float]) -> list[bool]:
    lateness = LiveFrameDetector()
    return [lateness.is_live(stamp, at) for stamp, at in arrivals]


def test_buffered_frames_are_distinguished_from_live_ones() -> None:
    # Four frames of a camera with 25 a second that all come at once, then three that come as they are made.
    waited = [(0.00, 10.000), (0.04, 10.002), (0.08, 10.004), (0.12, 10.006)]
    now = [(0.16, 10.010), (0.20, 10.049), (0.24, 10.091)]
    assert live(*waited, *now) == [False] * 5 + [True] * 2


def test_live_frames_are_taken_from_the_second_on_however_they_jitter() -> None:
    jittering = [(0.00, 5.000), (0.04, 5.045), (0.08, 5.080), (0.12, 5.095), (0.16, 5.170)]
    assert live(*jittering) == [False, True, True, True, True]


def test_a_stream_whose_time_stamps_stand_still_counts_as_live() -> None:
    assert live((0.0, 1.0), (0.0, 1.04), (0.0, 1.08)) == [False, True, True]


def test_a_source_without_time_stamps_is_live_at_once() -> None:
    assert live((None, 1.0), (None, 9.0)) == [True, True]


def test_after_a_silence_frames_from_before_it_are_reported_again() -> None:
    before = [(0.04 * number, 10 + 0.04 * number) for number in range(50)]
    # A camera that was stopped for two seconds and sends first what it still had.
    had = [(2.00, 14.00), (2.04, 14.001), (2.08, 14.002)]
    after = [(4.00, 14.01), (4.04, 14.05)]
    assert live(*before, *had, *after)[50:] == [False, False, False, False, True]


def test_a_camera_of_one_frame_in_two_seconds_is_not_silent() -> None:
    assert live(*[(2.0 * number, 50 + 2.0 * number) for number in range(8)])[3:] == [True] * 5


def test_a_backlog_that_grows_shows_and_a_clock_that_jumps_does_not() -> None:
    lateness = LiveFrameDetector()
    for number in range(100):
        lateness.is_live(0.04 * number, 10 + 0.06 * number)  # decoding takes 60 ms, frames come every 40
    assert lateness.is_behind
    lateness = LiveFrameDetector()
    lateness.is_live(90000.0, 10.0)
    lateness.is_live(90000.04, 10.04)
    lateness.is_live(3.0, 10.08)  # the camera restarted its clock
    assert not lateness.is_behind
    lateness.is_live(3.04, 10.12)
    assert not lateness.is_behind


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.7, 0.9, 1.0, 1.02, 1.1, 1.17, 2.0, 10.0, -1.0])
@pytest.mark.parametrize("fps", [1, 5, 10, 15, 30])
def test_a_clock_that_does_not_keep_pace_costs_seconds_and_no_more(fps: int, rate: float) -> None:
    lateness = LiveFrameDetector()
    taken = []
    for number in range(60 * fps):
        is_live = lateness.is_live(number / fps * rate, 1000 + number / fps)
        taken.append(is_live and not lateness.is_behind)
    assert all(taken[fps * 20 :])
    assert taken.count(False) <= 8 * fps
    assert not lateness.clock_is_wrong or rate != 1.0


@pytest.mark.parametrize("rate", [0.7, 1.0, 1.17])
@pytest.mark.parametrize("spread", [0.001, 0.002, 0.005])
@pytest.mark.parametrize("pause", [1.2, 2.0, 4.0])
@pytest.mark.parametrize("fps", [5, 10, 15, 25, 30])
def test_of_a_camera_that_sends_in_bursts_the_newest_frames_are_live(
    fps: int, pause: float, spread: float, rate: float
) -> None:
    size = round(pause * fps)
    lateness = LiveFrameDetector()
    taken = []
    for number in range(30 * size):
        at = 1000 + number // size * pause + number % size * spread
        taken.append(lateness.is_live(number / fps * rate, at) and not lateness.is_behind)
    # Two pauses and 3 s show it, and five pauses more that the clock is wrong.
    begun = (max(2, math.floor(3.0 / pause) + 1) + (0 if rate == 1.0 else 5)) * size
    assert all(taken[begun + size - 1 :: size])
    assert lateness.sends_bursts
    if rate == 1.0:
        assert not lateness.clock_is_wrong
        assert taken.count(True) <= 2 * 30


def test_bursts_that_jitter_are_taken_and_their_time_stamps_are_kept() -> None:
    lateness, random = LiveFrameDetector(), Random(2)
    newest = []
    for burst in range(100):
        late = 1000 + 2 * burst + random.random() * 0.1
        live = [lateness.is_live((50 * burst + one) / 25, late + 0.002 * one) for one in range(50)]
        newest.append(live[-1])
    assert newest[3:].count(False) <= 10
    assert not lateness.clock_is_wrong


def test_a_camera_that_stops_sending_in_bursts_is_live_again() -> None:
    lateness = LiveFrameDetector()
    for number in range(500):
        lateness.is_live(number / 25, 1000 + number // 50 * 2 + number % 50 * 0.002)
    assert lateness.sends_bursts
    after = [lateness.is_live(20 + number / 25, 1020.2 + number / 25) for number in range(200)]
    assert all(after[5:])
    assert not lateness.sends_bursts


def test_one_long_silence_is_no_burst() -> None:
    before = [(0.04 * number, 10 + 0.04 * number) for number in range(50)]
    had = [(2 + 0.04 * number, 42 + 0.001 * number) for number in range(700)]
    assert not any(live(*before, *had)[50:])


def test_a_clock_that_jumps_again_and_again_costs_next_to_nothing() -> None:
    for jump in (-100.0, -3.0, 0.7, 3.0, 100.0):
        lateness = LiveFrameDetector()
        taken = []
        for number in range(1500):
            is_live = lateness.is_live(number / 25 + number // 100 * jump, 1000 + number / 25)
            taken.append(is_live and not lateness.is_behind)
        assert taken.count(False) < 25 * 6, jump


def test_a_clock_that_keeps_pace_again_is_used_again() -> None:
    lateness, stamp = LiveFrameDetector(), 0.0
    wrong = []
    for number in range(25 * 120):
        stamp += 0.08 if number < 25 * 30 else 0.04
        lateness.is_live(stamp, 1000 + number / 25)
        wrong.append(lateness.clock_is_wrong)
    assert wrong[25 * 20]
    assert not wrong[-1]
    # And a silence shows as before.
    had = [lateness.is_live(stamp + 0.04 * number, 1124 + 0.001 * number) for number in range(1, 4)]
    assert had == [False, False, False]


def test_with_a_wrong_clock_what_comes_at_once_after_a_silence_is_not_live() -> None:
    lateness = LiveFrameDetector()
    for number in range(25 * 10):
        lateness.is_live(0.08 * number, 1000 + number / 25)
    assert lateness.clock_is_wrong
    had = [lateness.is_live(20 + 0.08 * number, 1014 + 0.001 * number) for number in range(5)]
    assert had == [False] * 5
    assert [lateness.is_live(21 + 0.08 * number, 1014.1 + 0.04 * number) for number in range(3)] == [True] * 3
