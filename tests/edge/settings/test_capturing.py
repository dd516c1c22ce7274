"""The section `capture`, and the workshop's word for it."""

from __future__ import annotations

from typing import Any

import pytest

from emflow_schema.edge_config import CaptureSettings, read_capture
from emflow_schema.errors import ConfigProblem


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({}, CaptureSettings(False, 10.0, 0)),
        ({"captureData": "True"}, CaptureSettings(True, 10.0, 0)),
        ({"captureData": "", "capture": {"enabled": "true"}}, CaptureSettings(True, 10.0, 0)),
        ({"captureData": "False", "capture": {"enabled": "false", "every": "1s"}}, CaptureSettings(False, 1.0, 0)),
        ({"capture": {"enabled": True, "every": "50 frames"}}, CaptureSettings(True, 0.0, 50)),
        ({"capture": {"every": "250ms"}, "captureData": "true"}, CaptureSettings(True, 0.25, 0)),
        ({"capture": {"enabled": "true", "every": "0s"}}, CaptureSettings(True, 0.0, 0)),
    ],
)
def test_what_is_captured(config: dict[str, Any], found: CaptureSettings) -> None:
    assert read_capture(config) == found


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"capture": "on"}, "capture: "),
        ({"capture": {"enabled": "yes"}}, "capture.enabled: 'yes'"),
        ({"captureData": "on"}, "captureData: 'on'"),
        ({"capture": {"every": "ten"}}, "capture.every: 'ten'"),
        ({"capture": {"every": "0 frames"}}, "capture.every: '0 frames'"),
        ({"capture": {"evry": "1s"}}, "capture.evry: "),
        ({"capture": {"enabled": "true"}, "captureData": "False"}, "contradict"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigProblem, match=said):
        read_capture(config)
