"""A device in any state: an agent and two components as processes, through random steps.

After every step: each result is what the model that it names, in the version that it names, gives for its frame; the
numbers of a stream's results grow; exactly the models are loaded that somebody wants; the counters add up.

`EMFLOW_STEPS` is how many steps are made, `EMFLOW_SEED` which ones: a failure says both.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from edge.telling_models import BRIGHTNESS, FACTORS, model_of, varied_film, write_model
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from support import Process, until

STEPS = int(os.environ.get("EMFLOW_STEPS", "12"))
SEED = int(os.environ.get("EMFLOW_SEED", "5"))

STREAMS_MAY_LEAVE = True
"""Whether steps take a stream away and bring it back."""

# With a deadline for Predict that a step can wait for.
COMPONENT = """
import sys
from emflow_edge.__main__ import main
from emflow_edge.inference import agent_client
agent_client._PREDICT_TIMEOUT = 0.5
sys.exit(main())
"""
PATIENCE = 120.0
"""Seconds for what has to come."""

MODELS, OF_ANOTHER_CLIENT = ("one", "two"), "three"
# By default, gRPC would wait longer and longer for an agent that comes back.
RECONNECTS = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))


class Running:
    """A component: its configuration, its process while there is one, and what came of it so far."""

    def __init__(self, name: str, device: Device) -> None:
        self.name, self._device = name, device
        self.file = device.folder / f"{name}.json"
        self.model, self.every = MODELS[0], "50ms"
        self.streams = ["front"]
        self.version = ""
        self.process: Process | None = None
        self._read, self._numbers, self._published = 0, dict[str, int](), 0

    def configure(self) -> None:
        """Another configuration, with a version of its own; the running process reads it."""
        self.version = self._device.new_version(self.model)
        streams = [{"name": name, "url": self._device.url, "every": self.every} for name in self.streams]
        config = {
            "modelName": self.model,
            "modelComponentName": f"{self._device.folder / self.model}/",
            "agentSocket": str(self._device.socket),
            "streams": streams,
            "modelIO": {"activation": "none"},
            "version": self.version,
        }
        self.file.write_text(json.dumps(config))
        if self.process is not None:
            self.process.popen.send_signal(signal.SIGHUP)

    def start(self) -> None:
        self.process = self._device.start(sys.executable, "-c", COMPONENT, "--config", str(self.file))
        self._read, self._numbers, self._published = 0, {}, 0

    def refuse(self) -> None:
        """Give the running process a configuration that it refuses at once."""
        assert self.process is not None
        process, refusals = self.process, self.process.text().count("is refused: streams")
        self.file.write_text(json.dumps({**json.loads(self.file.read_text()), "streams": []}))
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: process.text().count("is refused: streams") > refusals, PATIENCE, "the refusal")

    def ends_because_its_model_is_gone(self) -> None:
        assert self.process is not None
        assert self.process.popen.wait(PATIENCE) == 1, self.process.text()
        self.new_results()
        text, self.process = self.process.text(), None
        assert f"has another one now than version {self.version} ran with" in text, text

    def kill(self) -> None:
        assert self.process is not None
        self.process.end(signal.SIGKILL)
        self.new_results()
        self.process = None

    def end(self) -> None:
        """End as a deployment does it; its counters have to add up."""
        assert self.process is not None
        code = self.process.end(timeout=PATIENCE)
        self.new_results()
        text, self.process = self.process.text(), None
        assert code == 0, text
        assert "Traceback" not in text, text
        counts = {name: int(count) for count, name in re.findall(r"(\d+) ([a-z ]+)", text.rpartition("ended: ")[2])}
        assert counts["captured"] == counts["skipped"] + counts["inferred"] + counts["failed"], counts
        assert counts["inferred"] == counts["published"] + counts["dropped"] + counts["filtered"], counts
        assert counts["published"] == self._published, counts

    def new_results(self) -> list[dict[str, Any]]:
        """The results since the last call, each of them checked."""
        assert self.process is not None
        with self.process.output.open("rb") as output:
            output.seek(self._read)
            content = output.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        results = [json.loads(line) for line in whole.decode().splitlines() if line.startswith("{")]
        for result in results:
            self._published += 1
            self._check(result)
        return results

    def _check(self, result: dict[str, Any]) -> None:
        named = self._device.versions[result["version"]]
        assert (result["model_name"], model_of(result)) == named, f"{self.name}: {result}"
        brightness = 2 * 255 * next(one["confidence"] for one in result["top"] if one["index"] == 0)
        assert min(abs(brightness - frame) for frame in BRIGHTNESS) < 2.5, f"{self.name}: {result}"
        before = self._numbers.get(result["stream"], -1)
        assert result["sequence"] > before, f"{self.name}: {result} after {before}"
        self._numbers[result["stream"]] = result["sequence"]

    def settle(self) -> None:
        """Wait for a result of each stream with the current configuration."""
        if self.process is None:
            return
        process, missing = self.process, set(self.streams)

        def came() -> bool:
            missing.difference_update(one["stream"] for one in self.new_results() if one["version"] == self.version)
            return not missing or process.popen.poll() is not None

        until(came, PATIENCE, f"results of {self.name}, version {self.version}, streams {missing}")
        assert not missing, process.text()


class Device:
    """The agent, the folders of two models, two components, and a random walk through what may happen to them."""

    def __init__(self, folder: Path, start: Callable[..., Process]) -> None:
        self.folder, self.start, self.random = folder, start, random.Random(SEED)
        self.socket, self.url = folder / "a.sock", varied_film(folder)
        self.versions: dict[str, tuple[str, int]] = {}
        self.numbers = {name: number for number, name in enumerate(MODELS)}
        for name, number in self.numbers.items():
            write_model(folder / name, number)
        self.components = [Running("a", self), Running("b", self)]
        self.others: set[str] = set()
        """Models of clients of AWS's interface."""
        self.agent = self.start_agent()
        self.channel = grpc.insecure_channel(f"unix:{self.socket}", options=RECONNECTS)
        self.stub = AgentStub(self.channel)
        for component in self.components:
            component.configure()

    def new_version(self, model: str) -> str:
        version = f"{len(self.versions) + 1}.0.0"
        self.versions[version] = (model, self.numbers[model])
        return version

    def start_agent(self) -> Process:
        flags = ("--socket", str(self.socket), "--clean-stale-socket", "--no-trial", "--threads", "1")
        agent = self.start(sys.executable, "-m", "emflow_agent", *flags)
        agent.says("Server listening on", PATIENCE)
        return agent

    def running(self) -> list[Running]:
        return [component for component in self.components if component.process is not None]

    def one(self) -> Running:
        return self.random.choice(self.components)

    # Each step returns whether it could be made.

    def step_start_a_component(self) -> bool:
        component = self.one()
        if component.process is not None:
            return False
        component.start()
        return True

    def step_kill_a_component(self) -> bool:
        component = self.one()
        if component.process is None:
            return False
        component.kill()
        return True

    def step_kill_a_component_while_it_starts(self) -> bool:
        component = self.one()
        if component.process is not None:
            return False
        component.start()
        time.sleep(self.random.uniform(0.2, 1.2))
        component.kill()
        return True

    def step_end_a_component(self) -> bool:
        component = self.one()
        if component.process is None:
            return False
        component.end()
        return True

    def step_kill_the_agent(self) -> bool:
        self.agent.end(signal.SIGKILL)
        self.agent, self.others = self.start_agent(), set()
        return True

    def step_end_the_agent(self) -> bool:
        assert self.agent.end(timeout=PATIENCE) == 0
        assert "Traceback" not in self.agent.text()
        self.agent, self.others = self.start_agent(), set()
        return True

    def step_let_predictions_run_into_their_deadline(self) -> bool:
        if not self.running():
            return False
        self.agent.popen.send_signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(0.3, 1.2))
        self.agent.popen.send_signal(signal.SIGCONT)
        return True

    def step_put_another_version_into_a_folder(self) -> bool:
        self.update(self.random.choice(MODELS))
        return True

    def step_kill_a_component_and_update_its_model(self) -> bool:
        component = self.one()
        if component.process is None:
            return False
        component.kill()
        self.update(component.model)
        component.start()
        return True

    def step_a_new_model_with_a_refused_configuration_and_an_agent_that_restarts(self) -> bool:
        component = self.one()
        if component.process is None:
            return False
        ending = [each for each in self.running() if each.model == component.model]
        self.put_another(component.model)
        for each in ending:
            each.refuse()
        self.step_kill_the_agent()
        for each in ending:
            each.ends_because_its_model_is_gone()
        self.configure_users_of(component.model)
        for each in ending:
            each.start()
        return True

    def step_choose_the_other_model(self) -> bool:
        component = self.one()
        component.model = MODELS[1 - MODELS.index(component.model)]
        component.configure()
        return True

    def step_change_the_rate(self) -> bool:
        component = self.one()
        component.every = self.random.choice(["0s", "40ms", "100ms", "200ms"])
        component.configure()
        return True

    def step_change_the_streams(self) -> bool:
        component = self.one()
        if "side" in component.streams and not STREAMS_MAY_LEAVE:
            return False
        component.streams = ["front"] if "side" in component.streams else ["front", "side"]
        component.configure()
        return True

    def step_another_client_unloads_a_model_that_is_used(self) -> bool:
        if not self.running():
            return False
        # A component that has just lost it may be about to load it.
        with contextlib.suppress(grpc.RpcError):
            self.stub.UnLoadModel(m.UnLoadModelRequest(name=self.running()[0].model), timeout=PATIENCE)
        return True

    def step_another_client_loads_or_unloads_a_model_of_its_own(self) -> bool:
        if self.others:
            self.stub.UnLoadModel(m.UnLoadModelRequest(name=self.others.pop()), timeout=PATIENCE)
        else:
            url = str(self.folder / MODELS[0])
            self.stub.LoadModel(m.LoadModelRequest(name=OF_ANOTHER_CLIENT, url=url), timeout=PATIENCE)
            self.others = {OF_ANOTHER_CLIENT}
        return True

    def update(self, name: str) -> None:
        """Another version of a model in its folder, with the configuration of those who use it: a deployment."""
        self.put_another(name)
        self.configure_users_of(name)

    def put_another(self, name: str) -> None:
        self.numbers[name] = self.random.choice([one for one in range(len(FACTORS)) if one != self.numbers[name]])
        write_model(self.folder / name, self.numbers[name])

    def configure_users_of(self, name: str) -> None:
        for component in self.components:
            if component.model == name:
                component.configure()

    def loaded(self) -> list[str]:
        answer = self.stub.ListModels(m.ListModelsRequest(), timeout=PATIENCE, wait_for_ready=True)
        return sorted(model.name for model in answer.models)

    def settle(self) -> None:
        for component in self.components:
            component.settle()
        wanted = sorted({component.model for component in self.running()} | self.others)
        until(lambda: self.loaded() == wanted, PATIENCE, f"{wanted} loaded, and nothing else")

    def end(self) -> None:
        for component in self.running():
            component.end()
        self.settle()
        assert self.agent.end(timeout=PATIENCE) == 0


@pytest.fixture
def device(tmp_path: Path, start: Callable[..., Process]) -> Iterator[Device]:
    device = Device(tmp_path, start)
    yield device
    device.channel.close()
    # What is stopped cannot end.
    if device.agent.popen.poll() is None:
        device.agent.popen.send_signal(signal.SIGCONT)


@pytest.mark.timeout(60 + 30 * STEPS)
def test_each_result_is_of_the_model_and_version_that_it_names_whatever_happens(device: Device) -> None:
    steps = sorted(name for name in dir(device) if name.startswith("step_"))
    made: list[str] = []
    try:
        for component in device.components:
            component.start()
        device.settle()
        while len(made) < STEPS:
            made.append(device.random.choice(steps))
            if getattr(device, made[-1])():
                device.settle()
            else:
                made.pop()
        device.end()
    except BaseException:
        sys.stderr.write(f"EMFLOW_SEED={SEED} EMFLOW_STEPS={STEPS}, steps until then: {', '.join(made)}\n")
        raise
