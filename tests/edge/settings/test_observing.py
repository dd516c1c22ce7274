import pytest

from emflow_schema.edge_config import Observing, read_observing
from emflow_schema.errors import ConfigProblem


def test_nothing_given_is_text_and_a_line_a_minute_and_no_port() -> None:
    assert read_observing({}, {}) == Observing("text", "info", 60.0, 0)


def test_what_is_given_counts_as_text_too() -> None:
    given = read_observing({"format": "JSON", "level": "debug"}, {"every": "10s", "port": "9100"})
    assert given == Observing("json", "debug", 10.0, 9100)


@pytest.mark.parametrize(
    ("log", "metrics", "message"),
    [
        ({"format": "xml"}, {}, "log.format: 'xml' is none of text, json"),
        ({"level": "all"}, {}, "log.level: 'all' is none of"),
        ({}, {"every": "1"}, "metrics.every: '1' is no duration"),
        ({}, {"every": "0s"}, "metrics.every: is shorter than a second"),
        ({}, {"port": "70000"}, "metrics.port: '70000' is no whole number from 0 to 65535"),
    ],
)
def test_what_is_wrong_is_named(log: dict[str, str], metrics: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigProblem) as caught:
        read_observing(log, metrics)
    assert str(caught.value).startswith(message)
