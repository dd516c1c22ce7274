from emflow_edge.cadence import Cadence


def taken_at(cadence: Cadence, moments: list[float]) -> list[float]:
    """Those of the moments at which a frame is taken; the frames are numbered from 1."""
    found = []
    for number, at in enumerate(moments, 1):
        if cadence.is_due(at, number):
            cadence.mark_taken(at, number)
            found.append(at)
    return found


def test_a_frame_a_second_keeps_its_rate_although_frames_come_beside_the_grid() -> None:
    moments = [100 + 0.04 * number + (0.003 if number % 2 else 0) for number in range(2510)]
    assert 99 <= len(taken_at(Cadence(1.0), moments)) <= 101


def test_what_was_missed_is_not_caught_up_on() -> None:
    assert taken_at(Cadence(1.0), [10.0, 11.0, 15.0, 15.1, 15.9, 16.0]) == [10.0, 11.0, 15.0, 16.0]


def test_every_frame_is_wanted_when_it_may_go_as_fast_as_it_goes() -> None:
    assert taken_at(Cadence(0.0), [1.0, 1.01, 1.02]) == [1.0, 1.01, 1.02]


def test_exactly_every_fifth_frame_is_taken_however_they_come() -> None:
    moments = [float(number * number) for number in range(1, 31)]
    assert [moments.index(at) + 1 for at in taken_at(Cadence(0.0, 5), moments)] == [1, 6, 11, 16, 21, 26]


def test_after_a_gap_frames_are_counted_from_the_one_that_was_taken() -> None:
    cadence = Cadence(0.0, 5)
    cadence.mark_taken(1.0, 1)
    assert not cadence.is_due(2.0, 5)
    cadence.mark_taken(9.0, 13)
    assert [number for number in range(14, 20) if cadence.is_due(10.0, number)] == [18, 19]


def test_a_changed_cadence_wants_the_next_frame_at_once() -> None:
    cadence = Cadence(60.0)
    cadence.mark_taken(100.0)
    assert not cadence.is_due(101.0)
    cadence.change(0.5)
    assert cadence.is_due(101.0)
    cadence.mark_taken(101.0)
    assert not cadence.is_due(101.4)
    assert cadence.is_due(101.5)
