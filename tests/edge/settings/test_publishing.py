from collections.abc import Sequence
from typing import Any

import pytest

from emflow_edge.settings.config import settings
from emflow_schema.edge_config import Publish
from emflow_schema.errors import ConfigProblem
from emflow_schema.topics import fill
from emflow_schema.units import DeviceDuration


def read(publish: dict[str, Any], thing: str = "board", streams: Sequence[str] = ("front", "side")) -> Publish:
    cameras = [{"name": name, "url": "rtsp://camera/1"} for name in streams]
    config = {"modelName": "net", "modelComponentName": "net", "streams": cameras, "publish": publish}
    return settings(config, thing=thing).publish


def test_what_is_not_given_is_the_workshops() -> None:
    assert read({}) == Publish("em/inference", 1)


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
    assert read(given) == Publish(
        topic="em/{thing}/{stream}/{model}",
        qos=0,
        status_topic="em/board/status",
        metrics_topic="em/board/net/metrics",
        on_change=True,
        every=DeviceDuration("5m"),
        threshold=0.25,
        mqtt="5",
        expiry=DeviceDuration("1h"),
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"topic": "em/{camera}"}, "publish.topic: 'em/{camera}': {camera} is no place for a name"),
        ({"topic": "em/{}"}, "publish.topic: 'em/{}': {} is no place for a name"),
        ({"topic": "em/{stream"}, "publish.topic: 'em/{stream': '{' cannot stand in a topic"),
        ({"topic": "em/stream}"}, "'}' cannot stand in a topic"),
        ({"topic": "em/{{stream}}"}, "'{' cannot stand in a topic"),
        ({"topic": "em/+/x"}, "publish.topic: 'em/+/x': '+' cannot stand in a topic to publish to"),
        ({"topic": "em/\u0007"}, "cannot stand in a topic to publish to"),
        ({"topic": "x" * 257}, "it has 257 bytes, AWS IoT takes 256"),
        ({"topic": "{stream}" + "x" * 252}, "it has 257 bytes with the longest names, AWS IoT takes 256"),
        ({"statusTopic": "em/{stream}"}, "publish.statusTopic: 'em/{stream}': {stream} is no place for a name"),
        ({"metricsTopic": "em/#"}, "publish.metricsTopic: 'em/#': '#' cannot stand in a topic"),
        ({"statusTopic": "em/{thing}", "metricsTopic": "em/board"}, "the status has the topic of something else"),
        ({"statusTopic": "em/side", "topic": "em/{stream}"}, "the status has the topic of something else"),
        ({"onChange": "sometimes"}, "publish.onChange: 'sometimes' is neither true nor false"),
        ({"threshold": "1.5"}, "publish.threshold: '1.5' is not from 0 to 1"),
        ({"every": "often"}, "publish.every: 'often' is no duration"),
        ({"qos": "2"}, "publish.qos: '2' is no whole number from 0 to 1"),
        ({"mqtt": "4"}, "publish.mqtt: '4' is none of 3.1.1, 5"),
        ({"expiry": "1h"}, "publish.expiry: messages expire in MQTT 5 only, the component speaks 3.1.1; write mqtt"),
        ({"expiry": "1500ms", "mqtt": "5"}, "publish.expiry: '1500ms' has to be whole seconds"),
    ],
)
def test_a_mistake_is_reported_with_its_key(given: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigProblem) as caught:
        read(given)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["a/b", "+", "#", "a\nb"])
def test_a_name_that_would_make_another_topic_cannot_be_filled_in(name: str) -> None:
    assert read({"topic": "em/{thing}"}, streams=(name,)).topic == "em/{thing}"
    with pytest.raises(ConfigProblem, match=r"publish\.topic: 'em/\{stream\}': \{stream\} cannot be filled with"):
        read({"topic": "em/{stream}"}, streams=("front", name))


def test_a_name_is_filled_in_as_it_is() -> None:
    assert fill("{thing}/{stream}", {"thing": "{stream}", "stream": "{thing}"}) == "{stream}/{thing}"
