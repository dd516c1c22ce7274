from typing import Any

import pytest

from emflow_schema.configuration import from_configuration
from emflow_schema.edge_config import Log, Metrics
from emflow_schema.errors import ConfigProblem


def test_nothing_given_is_text_and_a_line_a_minute_and_no_port() -> None:
    assert from_configuration(Log, {}, "log") == Log("text", "info")
    found = from_configuration(Metrics, None, "metrics")
    assert (found.every.seconds, found.port) == (60.0, 0)


def test_what_is_given_counts_as_text_too() -> None:
    assert from_configuration(Log, {"format": "JSON", "level": "debug"}, "log") == Log("json", "debug")
    found = from_configuration(Metrics, {"every": "10s", "port": "9100"}, "metrics")
    assert (found.every.seconds, found.port) == (10.0, 9100)


@pytest.mark.parametrize(
    ("section", "given", "message"),
    [
        (Log, {"format": "xml"}, "here.format: 'xml' is none of text, json"),
        (Log, {"level": "all"}, "here.level: 'all' is none of"),
        (Metrics, {"every": "1"}, "here.every: '1' is no duration"),
        (Metrics, {"every": "0s"}, "here.every: '0s' has to lie between 1s and 366d"),
        (Metrics, {"port": "70000"}, "here.port: '70000' is no whole number from 0 to 65535"),
    ],
)
def test_what_is_wrong_is_named(section: type[Any], given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigProblem) as caught:
        from_configuration(section, given, "here")
    assert str(caught.value).startswith(message)
