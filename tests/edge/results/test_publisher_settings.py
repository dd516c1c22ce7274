"""What the settings of publishing make of results, and what is said beside them."""

from edge.results.scripted_sink import Make, ScriptedSink, counted, result
from emflow_edge.metrics.counters import Counters
from emflow_edge.results.sinks import Message, offline_messages
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
