"""`emflow up` with a camera that demands a password: from Secrets Manager to the component, and nowhere else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from e2e.test_up import DEMO, GONE, nothing_left, scratch, start_up, told
from support import LONG_START, until

__all__ = ["scratch"]

pytestmark = pytest.mark.e2e

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf"


def test_a_camera_with_a_password_is_seen_by_the_component_that_may_read_its_secret(
    scratch: Path, tmp_path: Path, scenes_model: Path
) -> None:
    open_ = "every: 1s"
    shutil.copytree(scenes_model.parent, tmp_path / "models")
    text = DEMO.read_text()
    assert open_ in text
    workflow = tmp_path / "demo.yaml"
    workflow.write_text(text.replace(open_, f'every: 1s\n      credentials: {{secret: "{ARN}"}}', 1))
    up = start_up(scratch, str(workflow), "--json", "--results", "3")
    output, _ = up.communicate(timeout=LONG_START)
    assert up.returncode == 0, told(scratch)
    assert len([json.loads(line)["label"] for line in output.splitlines()]) == 3
    assert "username" not in output + told(scratch)
    until(lambda: nothing_left(scratch), what=GONE)
