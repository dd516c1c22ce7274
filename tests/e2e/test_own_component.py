"""A component of the user's own, as the example has it: it really runs on the device, and publishes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conftest import ROOT
from emflow.results.subscriber import ResultSubscriber
from support import LONG_START, PATIENCE, broker_user, exported

pytestmark = pytest.mark.e2e


def test_the_examples_heartbeat_beats_beside_the_results(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "emflow", "up", str(ROOT / "workflows" / "own-component.yaml"), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        assert up.stderr is not None
        told: list[str] = []
        try:
            found: dict[str, str] = {}
            while len(found) < 2:
                told.append(up.stderr.readline())
                assert told[-1], "".join(told)
                line = re.match(r" +(MQTT broker|credentials) +(\S+)", told[-1])
                found |= {line[1]: line[2]} if line else {}
            port = int(found["MQTT broker"].rpartition(":")[2])
            user = broker_user(exported(Path(found["credentials"]).read_text()))
            rest = threading.Thread(target=lambda: told.extend(up.stderr or ()), daemon=True)
            rest.start()
            with ResultSubscriber("127.0.0.1", port, "em/heartbeat", **user) as watcher:
                beats = [json.loads(watcher.next(PATIENCE).payload) for _ in range(3)]
            assert json.loads(up.stdout.readline())["stream"] == "front"
        finally:
            up.terminate()
            up.communicate(timeout=PATIENCE)
    assert {beat["thing"] for beat in beats} == {"iMX8MPEVK-Core-001"}
    first = beats[0]["beat"]
    assert [beat["beat"] for beat in beats] == [first, first + 1, first + 2]


def test_when_a_component_fails_up_gives_the_reason_once_and_names_no_removed_log(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows")
    program = tmp_path / "workflows" / "components" / "heartbeat" / "artifacts" / "heartbeat.py"
    program.write_text('raise SystemExit("no beat without a sensor")\n')
    command = [sys.executable, "-m", "emflow", "up", str(tmp_path / "workflows" / "own-component.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONG_START)

    assert ended.returncode == 1
    assert "✗ deployment/rollout  failed" in ended.stdout
    # The lines of the device are shown while it runs; the reason that ends the run has them once more.
    assert "no beat without a sensor" in ended.stderr
    assert (ended.stdout + ended.stderr).count("the deployment FAILED") == 1
    assert "Correct the workflow and run it again." in ended.stderr
    assert "on the device" not in ended.stderr
