"""Parts of a core device for tests: recipes, a supervisor with real processes, an MQTT listener."""

from __future__ import annotations

import queue
import uuid
from pathlib import Path
from typing import Any

from awscrt import mqtt

from emflow_emulator.broker import Broker
from emflow_emulator.core.plan import Plan
from emflow_emulator.core.recipe import TIMEOUTS, Step

LINUX = {"os": "linux", "architecture": "amd64", "runtime": "aws_nucleus_classic"}
TIMEOUT = 60


def recipe(name: str, version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """A recipe; `lifecycle`, `artifacts`, `dependencies` (HARD), `soft`, `defaults` and `platform` fill it."""
    kinds = {"HARD": more.get("dependencies", {}), "SOFT": more.get("soft", {})}
    return {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": version,
        "ComponentConfiguration": {"DefaultConfiguration": more.get("defaults", {})},
        "ComponentDependencies": {
            other: {"VersionRequirement": wanted, "DependencyType": kind}
            for kind, dependencies in kinds.items()
            for other, wanted in dependencies.items()
        },
        "Manifests": [
            {
                "Platform": more.get("platform", {"os": "linux", "runtime": "*"}),
                "Lifecycle": more.get("lifecycle", {}),
                "Artifacts": more.get("artifacts", []),
            }
        ],
    }


def publishing(*topics: str) -> dict[str, Any]:
    """Configuration that lets a component publish to these topics."""
    policy = {"operations": ["aws.greengrass#PublishToIoTCore"], "resources": list(topics)}
    return {"accessControl": {"aws.greengrass.ipc.mqttproxy": {"publish": policy}}}


def plan(name: str, version: str = "1.0.0", *, hard: tuple[str, ...] = (), **scripts: str | Step) -> Plan:
    """A component whose steps are these scripts."""
    steps = {
        step: body if isinstance(body, Step) else Step(step, f"{step}.script", body, TIMEOUTS.get(step))
        for step, body in scripts.items()
    }
    return Plan(name, version, hard=frozenset(hard), steps=steps)


class Listener:
    """Hears what comes to a broker."""

    def __init__(self, broker: Broker, topic: str = "#") -> None:
        self.heard: queue.Queue[tuple[str, bytes, mqtt.QoS]] = queue.Queue()
        user = {"username": broker.user.name, "password": broker.user.password}
        self._connection = mqtt.Connection(
            mqtt.Client(), broker.host, broker.port, uuid.uuid4().hex, clean_session=True, **user
        )
        self._connection.connect().result(TIMEOUT)
        self._connection.subscribe(topic, mqtt.QoS.AT_LEAST_ONCE, self._hear)[0].result(TIMEOUT)

    def next(self) -> tuple[str, bytes, mqtt.QoS]:
        return self.heard.get(timeout=TIMEOUT)

    def close(self) -> None:
        self._connection.disconnect().result(TIMEOUT)

    def _hear(self, topic: str, payload: bytes, qos: mqtt.QoS, **_: Any) -> None:
        self.heard.put((topic, payload, qos))


def alive(pid: int | str) -> bool:
    """Whether a process lives; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
