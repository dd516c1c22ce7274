"""A component of the user's own, as the example has it: it really runs on the device, and publishes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conftest import ROOT
from emflow.results.subscriber import ResultSubscriber
from support import broker_user, exported

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
                beats = [json.loads(watcher.next(60).payload) for _ in range(3)]
            assert json.loads(up.stdout.readline())["stream"] == "front"
        finally:
            up.terminate()
            up.communicate(timeout=60)
    assert {beat["thing"] for beat in beats} == {"iMX8MPEVK-Core-001"}
    first = beats[0]["beat"]
    assert [beat["beat"] for beat in beats] == [first, first + 1, first + 2]
