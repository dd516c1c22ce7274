"""Minutes in which camera, agent, broker and nucleus are killed, frozen and restored at random; ten of them in CI.

Two components of one device watch the same camera: one publishes through the nucleus, the other to a broker. The seed
is printed, so that a bad order of events can be had again: EMFLOW_CHAOS_SEED=… EMFLOW_CHAOS_SECONDS=… pytest …
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from e2e.chaos import Agent, Camera, EmbeddedBroker, Footprint, Nucleus, Part, segments_of, settled
from emflow.results.message import Result
from emflow.results.subscriber import ResultSubscriber
from support import PATIENCE, Process, until

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

SECONDS = float(os.environ.get("EMFLOW_CHAOS_SECONDS") or (600 if os.environ.get("CI") == "true" else 60))
SEED = int(os.environ.get("EMFLOW_CHAOS_SEED") or random.SystemRandom().randrange(1 << 32))
AWAY = (0.2, 6.0)  # seconds for which something is gone; a camera's read timeout lies in between
TOPIC = "em/inference"
# An interpreter's heap and its libraries' pools settle in the first minutes; what leaks goes on growing.
GROWTH = 1.25
# gRPC's and the SDK's thread pools breathe. What is lost each time that something goes away would be dozens by the end.
BREATH = 4


@dataclass
class World:
    """All that a device's two components need, and the components."""

    camera: Camera
    agent: Agent
    broker: EmbeddedBroker
    nucleus: Nucleus
    by_nucleus: Process
    by_broker: Process

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.camera, self.agent, self.broker, self.nucleus)

    @property
    def components(self) -> tuple[Process, ...]:
        return (self.by_nucleus, self.by_broker)


@pytest.fixture
def world(tmp_path: Path, scenes_model: Path, start: Callable[..., Process]) -> Iterator[World]:
    model = tmp_path / "model"
    model.mkdir()
    shutil.copy(scenes_model, model)
    camera, broker = Camera(tmp_path), EmbeddedBroker()
    nucleus = Nucleus(tmp_path / "ipc.socket")
    agent = Agent(tmp_path / "a.sock", start)
    allowed = {"operations": ["aws.greengrass#PublishToIoTCore"], "resources": [TOPIC]}
    configuration = {
        "accessControl": {"aws.greengrass.ipc.mqttproxy": {"policy:1": allowed}},
        "modelName": "scenes",
        "agentSocket": str(agent.socket),
        "streams": [{"name": "front", "url": camera.url, "every": "100ms"}],
        "publish": {"topic": TOPIC, "qos": "1"},
    }
    nucleus.deploy(configuration)
    component = (sys.executable, "-m", "emflow_edge", "-c", f"{model}/")
    environment = {
        **os.environ,
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(nucleus.socket),
        "SVCUID": Nucleus.token,
        "AWS_IOT_THING_NAME": Nucleus.thing,
    }
    by_nucleus = start(*component, env=environment)
    direct = (
        "--publish",
        f"mqtt://127.0.0.1:{broker.port}",
        "--topic",
        TOPIC,
        "--thing",
        "another",
        "--every",
        "100ms",
    )
    user = {"EMFLOW_MQTT_USERNAME": broker.user.name, "EMFLOW_MQTT_PASSWORD": broker.user.password}
    by_broker = start(
        *(*component, "-s", camera.url, "-m", "scenes", "--agent-socket", str(agent.socket), *direct),
        env={**os.environ, **user},
    )
    yield World(camera, agent, broker, nucleus, by_nucleus, by_broker)
    camera.stop()
    broker.stop()
    nucleus.stop()


def flows(world: World, seconds: float = PATIENCE) -> None:
    """New results come from both components, on frames that are taken from now on."""
    begin = datetime.now(UTC)

    def by_broker() -> bool:
        result = watcher.next(seconds)
        return isinstance(result, Result) and result.frame_time is not None and result.frame_time >= begin

    def by_nucleus() -> bool:
        return datetime.fromisoformat(world.nucleus.published.get(timeout=seconds)["frame_time"]) >= begin

    user = world.broker.user
    with ResultSubscriber("127.0.0.1", world.broker.port, TOPIC, username=user.name, password=user.password) as watcher:
        until(by_broker, seconds, "a new result by the broker")
    until(by_nucleus, seconds, "a new result by the nucleus")


def test_whatever_is_taken_away_results_flow_when_it_is_back_and_nothing_leaks(world: World) -> None:
    print(f"EMFLOW_CHAOS_SEED={SEED} EMFLOW_CHAOS_SECONDS={SECONDS:.0f}")
    chance = random.Random(SEED)
    flows(world)
    begin = time.monotonic()
    before = [Footprint(process.popen.pid) for process in world.components]
    events, parts = 0, {part.name for part in world.parts}
    # A slow machine comes to few events: each part goes away at least once all the same, the camera for long enough.
    while (spent := time.monotonic() - begin) < SECONDS or parts or not all(map(lost_its_camera, world.components)):
        if spent < SECONDS / 4:
            # What the first quarter has made warm, with all connections there, is where growth is counted from.
            flows(world)
            warm = [Footprint(process.popen.pid) for process in world.components]
            before = [one.most(other) for one, other in zip(before, warm, strict=True)]
        gone = chance.sample(world.parts, chance.choice([1, 1, 1, 2, 3]))
        parts -= {part.name for part in gone}
        for part in gone:
            part.take_away(chance)
        time.sleep(chance.uniform(*AWAY))
        for part in gone:
            part.give_back()
        events += len(gone)
        for process in world.components:
            assert process.popen.poll() is None, (
                f"ended after {[part.name for part in gone]}:\n{process.text()[-3000:]}"
            )
        if chance.random() < 0.3:
            flows(world)
    flows(world)
    print(f"{events} times something went away")

    for process, early in zip(world.components, before, strict=True):

        def small(now: Footprint, early: Footprint = early) -> bool:
            return now.threads <= early.threads + BREATH and now.files <= early.files + BREATH

        late = settled(process.popen.pid, small, timeout=PATIENCE)
        print(f"{early}\n{late}")
        assert late.threads <= early.threads + BREATH
        assert late.files <= early.files + BREATH, "\n".join(["before:", *early.open, "after:", *late.open])
        assert late.resident <= early.resident * GROWTH
        assert late.segments <= early.segments
    for process in world.components:
        pid = process.popen.pid
        assert process.end() == 0
        assert "Traceback" not in process.text()
        assert segments_of(pid) == 0
        counters_add_up(process.text())


def lost_its_camera(component: Process) -> bool:
    return (
        re.search(r"camera \w+ .*(closed the connection|sent nothing|cannot be reached)", component.text()) is not None
    )


def counters_add_up(text: str) -> None:
    """Every frame that came has become a result, or is counted among those that have not."""
    count = {name: int(number) for number, name in re.findall(r"(\d+) ([a-z]+)", text[text.rindex("ended: ") :])}
    # A frame may be under way when it is told to end: one in the slot, one at the agent.
    left = count["captured"] - count["skipped"] - count["inferred"] - count["failed"]
    assert 0 <= left <= 3, count
    assert count["inferred"] == count["published"] + count["dropped"] + count.get("filtered", 0), count
    assert count["reconnects"] > 0, count
