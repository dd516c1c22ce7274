from typing import Any

import pytest

from emflow_schema.edge_config import Publishing, read_publishing
from emflow_schema.errors import ConfigProblem
from emflow_schema.topics import fill

NAMES: dict[str, Any] = {"thing": "board", "model": "net", "streams": ("front", "side")}


def test_what_is_not_given_is_the_workshops() -> None:
    assert read_publishing({}) == Publishing("em/inference", 1)


def test_all_of_it() -> None:
    given = {
        "topic": "em/{thing}/{stream}/{model}",
        "qos": "0",
        "onChange": "true",
        "every": "5m",
        "threshold": "0.25",
        "statusTopic": "em/{thing}/status",
        "metricsTopic": "em/{thing}/{model}/metrics",
        "mqtt": "5",
        "expiry": "1h",
    }
    assert read_publishing(given, **NAMES) == Publishing(
        topic="em/{thing}/{stream}/{model}",
        qos=0,
        status_topic="em/board/status",
        metrics_topic="em/board/net/metrics",
        on_change=True,
        every=300,
        threshold=0.25,
        mqtt="5",
        expiry=3600,
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"topic": "em/{camera}"}, "publish.topic: {camera} is unknown; it takes {thing} and {model} and {stream}"),
        ({"topic": "em/{}"}, "publish.topic: {} is unknown"),
        ({"topic": "em/{stream"}, "publish.topic: 'em/{stream' has a brace"),
        ({"topic": "em/stream}"}, "has a brace"),
        ({"topic": "em/{{stream}}"}, "has a brace"),
        ({"topic": "em/+/x"}, "publish.topic: 'em/+/x' is no topic to publish to"),
        ({"topic": "em/\u0007"}, "is no topic to publish to"),
        ({"topic": "x" * 257}, "the topic gets 257 bytes long"),
        ({"topic": "{stream}" + "x" * 252}, "the topic gets 257 bytes long"),
        ({"statusTopic": "em/{stream}"}, "publish.statusTopic: {stream} is unknown; it takes {thing} and {model}"),
        ({"metricsTopic": "em/#"}, "publish.metricsTopic: 'em/#' is no topic"),
        ({"statusTopic": "em/{thing}", "metricsTopic": "em/board"}, "publish.statusTopic: results or metrics go"),
        ({"statusTopic": "em/side", "topic": "em/{stream}"}, "publish.statusTopic: results or metrics go"),
        ({"onChange": "sometimes"}, "publish.onChange: 'sometimes' is neither True nor False"),
        ({"threshold": "1.5"}, "publish.threshold: '1.5' is not from 0 to 1"),
        ({"every": "often"}, "publish.every: 'often' is no duration"),
        ({"qos": "2"}, "publish.qos: '2' is no whole number from 0 to 1"),
        ({"mqtt": "4"}, "publish.mqtt: '4' is none of 3.1.1, 5"),
        ({"expiry": "1h"}, "publish.expiry: is for MQTT 5"),
        ({"expiry": "1500ms", "mqtt": "5"}, "publish.expiry: has to be whole seconds"),
    ],
)
def test_a_mistake_is_told_with_its_key(given: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigProblem) as caught:
        read_publishing(given, **NAMES)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["a/b", "+", "#", "a\nb"])
def test_a_name_that_would_make_another_topic_cannot_be_filled_in(name: str) -> None:
    assert read_publishing({"topic": "em/{thing}"}, "board", "net", (name,)).topic == "em/{thing}"
    with pytest.raises(ConfigProblem, match=r"publish\.topic: \{stream\} cannot be filled with"):
        read_publishing({"topic": "em/{stream}"}, "board", "net", ("front", name))


def test_a_name_is_filled_in_as_it_is() -> None:
    assert fill("{thing}/{stream}", {"thing": "{stream}", "stream": "{thing}"}) == "{stream}/{thing}"
