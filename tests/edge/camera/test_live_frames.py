from __future__ import annotations

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
