"""The section `capture`, and the workshop's word for it."""

from __future__ import annotations

from typing import Any

import pytest

from emflow_schema.edge_config import Capture, read_edge_configuration
from emflow_schema.errors import ConfigProblem
from emflow_schema.units import Interval


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({}, Capture(False, Interval("10s"))),
        ({"captureData": "True"}, Capture(True, Interval("10s"))),
        ({"captureData": "", "capture": {"enabled": "true"}}, Capture(True, Interval("10s"))),
        ({"captureData": "False", "capture": {"enabled": "false", "every": "1s"}}, Capture(False, Interval("1s"))),
        ({"capture": {"enabled": True, "every": "50 frames"}}, Capture(True, Interval("50 frames"))),
        ({"capture": {"every": "250ms"}, "captureData": "true"}, Capture(True, Interval("250ms"))),
        ({"capture": {"enabled": "true", "every": "0s"}}, Capture(True, Interval("0s"))),
    ],
)
def test_what_is_captured(config: dict[str, Any], found: Capture) -> None:
    assert read_capture(config) == found


def read_capture(config: dict[str, Any]) -> Capture:
    given = {"modelName": "net", "modelComponentName": "net", "rtspStreamURL": "rtsp://camera/1"}
    return read_edge_configuration({**given, **config}).capture


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"capture": "on"}, "capture: "),
        ({"capture": {"enabled": "yes"}}, "capture.enabled: 'yes'"),
        ({"captureData": "on"}, "captureData: 'on'"),
        ({"capture": {"every": "ten"}}, "capture.every: 'ten'"),
        ({"capture": {"every": "0 frames"}}, "capture.every: '0 frames'"),
        ({"capture": {"evry": "1s"}}, "capture: has to hold enabled, every and nothing else"),
        ({"capture": {"enabled": "true"}, "captureData": "False"}, "contradict"),
    ],
)
def test_a_wrong_value_is_reported_with_its_key(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigProblem, match=said):
        read_capture(config)
