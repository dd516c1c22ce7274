"""What the settings of publishing make of results, what is said beside them, and what their change leaves as it is."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge.results.scripted_sink import Make, ScriptedSink, counted, result
from emflow_edge.metrics.counters import Counters
from emflow_edge.results.message import Result
from emflow_edge.results.publisher import Publisher
from emflow_edge.results.sinks import Message, MessageRejected, offline_messages
from emflow_edge.settings.config import Settings
from emflow_schema.edge_config import Publish
from support import until


def test_results_that_are_not_wanted_are_counted_as_filtered(
    other: ScriptedSink, publisher: Make, counters: Counters
) -> None:
    out = publisher(Publish(threshold=0.5))
    for number in range(6):
        out.put(result(number, confidence=0.4 if number % 3 else 0.6))
    assert out.close(grace=10)
    assert other.sequences() == [0, 3]
    assert counted(counters) == (2, 0, 4)


def test_topics_are_filled_with_what_a_result_knows(other: ScriptedSink, publisher: Make) -> None:
    out = publisher(Publish("em/{thing}/{stream}/{model}"))
    out.put(result(0))
    out.put(result(1, stream="{thing}"))
    assert out.close(grace=10)
    assert [message.topic for message in other.taken] == ["em/thing/front/net", "em/thing/{thing}/net"]


def test_topic_and_filter_change_without_reconnect_but_not_the_status_topic(
    other: ScriptedSink, publisher: Make
) -> None:
    out = publisher()
    assert out.use_settings(Publish("other", threshold=0.5))
    out.put(result(0))
    assert not out.use_settings(Publish("other", status_topic="status"))
    assert out.close(grace=10)
    assert (other.opened, other.sequences("other")) == (1, [0])


def test_what_is_retained_is_sent_again_over_a_new_connection_and_the_rest_is_not(
    other: ScriptedSink, publisher: Make
) -> None:
    to = Publish(status_topic="status", metrics_topic="metrics")
    words = offline_messages(to, "thing", "1.0.0")
    assert words
    out = publisher(to, offline_messages=words)
    out.announce("metrics", "{}")
    out.announce("status", '"one"', retain=True)
    out.announce("status", '"two"', retain=True)
    until(lambda: any(message.payload == '"two"' for message in other.taken), what="the status")
    other.taken.clear()
    other.hang_up()
    until(lambda: other.taken, what="the status again")
    assert other.taken == [Message("status", '"two"', 1, retain=True, lasting=True)]
    assert out.close(grace=10)
    assert other.wills == [words.will, words.will]
    assert '"offline"' in other.taken[-1].payload
    assert other.taken[-1].retain


def made_under(to: Publish, sequence: int) -> Result:
    return replace(result(sequence), settings=Settings("net", Path("model"), (), publish=to))


def changed(out: Publisher, to: Publish, version: str = "2.0.0") -> ScriptedSink:
    """The sink that the publisher uses after a change."""
    sink = ScriptedSink()
    assert out.use_settings(to, offline_messages(to, "thing", version), sink)
    return sink


def test_what_is_under_way_is_answered_before_another_connection_is_used(
    other: ScriptedSink, publisher: Make, counters: Counters
) -> None:
    other.answers = False
    old, new = Publish("em/old"), Publish("em/new", mqtt="5")
    out = publisher(old)
    for number in range(3):
        out.put(made_under(old, number))
    until(lambda: len(other.asked) == 3, what="three under way")
    later = changed(out, new)
    out.put(made_under(new, 3))
    other.answer()
    until(lambda: counted(counters)[0] == 4, what="all of them")
    assert out.close(grace=10)
    assert (other.sequences("em/old"), later.sequences("em/new")) == ([0, 1, 2], [3])
    assert (other.closed, later.sequences("em/old")) == (True, [])


def test_what_is_never_answered_is_sent_over_the_other_connection_to_its_own_topic(
    other: ScriptedSink, publisher: Make, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emflow_edge.results.publisher._ANSWER_SECONDS", 0.1)
    other.answers = False
    old, new = Publish("em/old", qos=1), Publish("em/new", qos=0)
    out = publisher(old)
    for number in range(3):
        out.put(made_under(old, number))
    until(lambda: len(other.asked) == 3, what="three under way")
    later = changed(out, new)
    until(lambda: counted(counters)[0] == 3, what="all of them")
    # The old connection's answers come too late to count.
    other.answer()
    assert out.close(grace=10)
    assert sorted(later.sequences("em/old")) == [0, 1, 2]
    assert {message.qos for message in later.taken} == {1}
    assert counted(counters) == (3, 0, 0)


def test_what_waits_is_bounded_over_a_change_too(other: ScriptedSink, publisher: Make, counters: Counters) -> None:
    other.absent = ConnectionError("broker away")
    old, new = Publish("em/old"), Publish("em/new", mqtt="5")
    out = publisher(old, depth=4)
    for number in range(6):
        out.put(made_under(old, number))
    until(lambda: other.tries, what="a try")
    later = changed(out, new)
    until(lambda: later.opened, what="another connection")
    until(lambda: counted(counters)[0] == 4, what="what was kept")
    assert out.close(grace=10)
    assert sorted(later.sequences("em/old")) == [2, 3, 4, 5]
    assert counted(counters) == (4, 2, 0)


def test_the_last_of_several_changes_counts_and_each_status_topic_before_is_cleared(
    other: ScriptedSink, publisher: Make
) -> None:
    other.absent = ConnectionError("broker away")
    first = Publish(status_topic="em/first")
    out = publisher(first, offline_messages=offline_messages(first, "thing", "1.0.0"))
    out.announce("em/first", '"first"', retain=True)
    until(lambda: other.tries, what="a try")
    for name in ("em/second", "em/third"):
        to = Publish(status_topic=name)
        sink = ScriptedSink(absent=ConnectionError("broker away"))
        assert out.use_settings(to, offline_messages(to, "thing", name), sink)
        # A message that was about to be sent with the settings before.
        out.announce("em/first", '"late"', retain=True)
        out.announce(name, f'"{name}"', retain=True)
        until(lambda sink=sink: sink.tries, what="a try")
    sink.absent = None
    until(lambda: len(sink.taken) == 3, what="the status and two removals")
    assert {message.topic: message.payload for message in sink.taken} == {
        "em/first": "",
        "em/second": "",
        "em/third": '"em/third"',
    }
    assert all(message.retain for message in sink.taken)
    will = sink.wills[-1]
    assert will is not None
    assert (will.topic, '"em/third"' in will.payload) == ("em/third", True)
    # Once they are gone, they are not sent again over the next connection.
    sink.taken.clear()
    sink.hang_up()
    until(lambda: sink.taken, what="the status again")
    assert out.close(grace=10)
    assert {message.topic for message in sink.taken} == {"em/third"}


def test_a_version_needs_another_connection_only_for_its_last_will(other: ScriptedSink, publisher: Make) -> None:
    silent, telling = Publish(), Publish(status_topic="status")
    out = publisher(silent)
    assert out.use_settings(silent, offline_messages(silent, "thing", "2.0.0"))
    assert not out.use_settings(telling, offline_messages(telling, "thing", "2.0.0"))
    sink = changed(out, telling, "2.0.0")
    assert out.use_settings(replace(telling, threshold=0.5), offline_messages(telling, "thing", "2.0.0"))
    assert not out.use_settings(telling, offline_messages(telling, "thing", "3.0.0"))
    assert out.close(grace=10)
    assert '"2.0.0"' in sink.taken[-1].payload


def test_a_topic_that_was_rejected_says_nothing_about_the_next_one(other: ScriptedSink, publisher: Make) -> None:
    other.refuses["em/old"] = MessageRejected("not authorized")
    troubles: list[str] = []
    old, new = Publish("em/old"), Publish("em/new")
    out = publisher(old, failing=troubles.append)
    out.put(made_under(old, 0))
    until(lambda: troubles == ["not authorized"])
    assert out.use_settings(new)
    until(lambda: troubles == ["not authorized", ""])
    # One that was made before is rejected later.
    out.put(made_under(old, 1))
    out.put(made_under(new, 2))
    assert out.close(grace=10)
    assert (troubles, other.sequences("em/new")) == (["not authorized", ""], [2])
