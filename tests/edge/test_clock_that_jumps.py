"""The component as a process on a device whose clock is set while it runs, back and forth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from edge.conftest import Edge

pytestmark = pytest.mark.e2e

# Read by Python before anything else, so that every module of the component has this clock.
JUMPING = """
import time
real = time.time
time.time = lambda: real() + 48 * 3600 * (int(time.monotonic() * 40) % 2)
"""


def test_a_clock_that_is_set_by_two_days_does_not_show_as_the_age_of_a_frame(edge: Edge, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(JUMPING)
    edge.agent()
    _, url = edge.camera()
    component = edge.run(url, "--every", "50ms", "--results", "40", env={**os.environ, "PYTHONPATH": str(site)})
    messages = edge.results(component, 40)
    assert component.ended() == 0
    days = {message["frame_time"][:10] for message in messages}
    assert len(days) > 1
    assert all(0 <= message["frame_age_ms"] < 60_000 for message in messages)
