from edge.results.scripted_sink import detected, result
from emflow_edge.results.filters import ResultFilter
from emflow_edge.results.message import Result
from emflow_schema.edge_config import Publish
from emflow_schema.units import DeviceDuration


def passed(to: Publish, *results: Result) -> list[bool]:
    one = ResultFilter()
    return [one.passes(each, to) for each in results]


def test_a_result_that_is_not_sure_enough_does_not_pass() -> None:
    to = Publish(threshold=0.5)
    assert passed(to, result(confidence=0.49), result(confidence=0.5), detected(), detected(3)) == [
        *(False, True, False, True)
    ]


def test_without_a_threshold_nothing_found_is_an_answer_too() -> None:
    assert passed(Publish(), detected()) == [True]


def test_only_a_change_of_the_best_class_passes() -> None:
    to = Publish(on_change=True)
    assert passed(to, result(0, 1), result(1, 1), result(2, 2), result(3, 2), result(4, 1)) == [
        *(True, False, True, False, True)
    ]


def test_only_a_change_of_the_set_of_detected_classes_passes() -> None:
    to = Publish(on_change=True)
    looks = [(1, 2), (2, 1), (2, 2, 1), (1,), (), (), (1,)]
    assert passed(to, *(detected(*each, sequence=n) for n, each in enumerate(looks))) == [
        *(True, False, False, True, True, False, True)
    ]


def test_each_stream_has_its_own_changes() -> None:
    to = Publish(on_change=True)
    looks = [result(0, 1, stream="a"), result(0, 1, stream="b"), result(1, 1, stream="a"), result(1, 2, stream="b")]
    assert passed(to, *looks) == [True, True, False, True]


def test_a_scene_that_stays_is_reported_every_so_often() -> None:
    now = [0.0]
    one, to = ResultFilter(lambda: now[0]), Publish(on_change=True, every=DeviceDuration("60s"))
    told = []
    for second in range(0, 200, 20):
        now[0] = second
        if one.passes(result(second), to):
            told.append(second)
    assert told == [0, 60, 120, 180]


def test_without_a_period_a_scene_that_stays_is_reported_once() -> None:
    now = [0.0]
    one, to = ResultFilter(lambda: now[0]), Publish(on_change=True, every=DeviceDuration("0s"))
    assert one.passes(result(0), to)
    now[0] = 1e6
    assert not one.passes(result(1), to)


def test_a_change_that_never_arrived_is_reported_with_the_next_result() -> None:
    one, to = ResultFilter(), Publish(on_change=True)
    first, second = result(0, 1), result(1, 2)
    assert one.passes(first, to)
    assert one.passes(second, to)
    one.lost(first)
    assert not one.passes(result(2, 2), to)
    one.lost(second)
    assert one.passes(result(3, 2), to)


def test_when_changes_are_asked_for_while_it_runs_the_next_result_is_one() -> None:
    one = ResultFilter()
    assert one.passes(result(0), Publish(on_change=True))
    assert one.passes(result(1), Publish())
    assert one.passes(result(2), Publish(on_change=True))
