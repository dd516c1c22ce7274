"""A result belongs to the model that it names: over kills, versions in the same folder, time-outs and other clients."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from edge.conftest import written
from edge.signed_models import CLASSES, write_signed_model
from edge.telling_models import model_of, varied_film, write_model
from emflow_agent.calls.models_service import ModelsService
from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.models import store as store_module
from emflow_agent.models.store import ModelStore
from emflow_edge.inference import agent_client
from emflow_edge.inference.agent_client import AgentClient, AgentGone
from emflow_edge.model_adapter import adapt_model
from emflow_edge.settings.config import Settings
from emflow_proto import messages as m
from emflow_proto.models import CompareRequest, DescribeRequest, ModelsStub, ReleaseRequest, UseRequest
from emflow_proto.service import AgentStub
from emflow_schema.edge_config import ModelIO, Stream
from emflow_schema.errors import EdgeProblem
from support import Process, until

PICTURE = bytes(range(192))

# The component with a deadline for Predict that a test can wait for.
IMPATIENT = """
import sys
from emflow_edge.__main__ import main
from emflow_edge.inference import agent_client
agent_client._PREDICT_TIMEOUT = 1.0
sys.exit(main())
"""


class Device:
    """A device with an agent and components, all of them processes."""

    def __init__(self, folder: Path, start: Callable[..., Process]) -> None:
        self.folder, self._start = folder, start
        self.socket, self.config, self.model = folder / "a.sock", folder / "config.json", folder / "model"
        self.url = varied_film(folder)
        self.opened = ExitStack()

    def agent(self) -> Process:
        flags = ("--socket", str(self.socket), "--clean-stale-socket", "--no-trial", "--fleet", "test")
        agent = self._start(sys.executable, "-m", "emflow_agent", *flags)
        agent.says("Server listening on")
        return agent

    def deploy(self, number: int, version: str) -> None:
        """Another version of the model in the same folder, and of the component."""
        write_model(self.model, number)
        self.configure(version)

    def configure(self, version: str, **more: Any) -> None:
        config = {
            "modelName": "net",
            "modelComponentName": f"{self.model}/",
            "agentSocket": str(self.socket),
            "streams": [{"name": "front", "url": self.url, "every": "50ms"}],
            "modelIO": {"activation": "none"},
            "version": version,
            **more,
        }
        self.config.write_text(json.dumps(config))

    def component(self) -> Process:
        return self._start(sys.executable, "-c", IMPATIENT, "--config", str(self.config))

    def stub(self) -> AgentStub:
        return AgentStub(self.opened.enter_context(grpc.insecure_channel(f"unix:{self.socket}")))


def results(component: Process, version: str, number: int = 3) -> list[dict[str, Any]]:
    """Wait for so many results that name a version; all of these."""

    def found() -> list[dict[str, Any]]:
        return [one for one in written(component) if one["version"] == version]

    until(lambda: len(found()) >= number or component.popen.poll() is not None, 60, f"results of version {version}")
    assert len(found()) >= number, component.text()
    return found()


def loaded(stub: AgentStub) -> list[str]:
    return [model.name for model in stub.ListModels(m.ListModelsRequest(), timeout=20).models]


@pytest.fixture
def device(tmp_path: Path, start: Callable[..., Process]) -> Iterator[Device]:
    device = Device(tmp_path, start)
    yield device
    device.opened.close()


def test_after_a_kill_the_new_version_in_the_folder_answers_and_not_the_old_one(device: Device) -> None:
    device.deploy(1, "1.0.0")
    device.agent()
    component = device.component()
    assert {model_of(one) for one in results(component, "1.0.0")} == {1}
    component.end(signal.SIGKILL)
    device.deploy(2, "2.0.0")
    component = device.component()
    assert {model_of(one) for one in results(component, "2.0.0")} == {2}
    assert component.end() == 0
    assert loaded(device.stub()) == []


def test_a_killed_component_leaves_no_model_behind_though_no_other_one_starts(device: Device) -> None:
    device.deploy(1, "1.0.0")
    device.agent()
    component = device.component()
    results(component, "1.0.0", 1)
    stub = device.stub()
    assert loaded(stub) == ["net"]
    component.end(signal.SIGKILL)
    until(lambda: loaded(stub) == [])


def test_a_new_version_in_the_same_folder_is_loaded_with_its_configuration(device: Device) -> None:
    device.deploy(1, "1.0.0")
    device.agent()
    component = device.component()
    results(component, "1.0.0")
    write_model(device.model, 2)
    device.configure("2.0.0")
    component.popen.send_signal(signal.SIGHUP)
    assert {model_of(one) for one in results(component, "2.0.0")} == {2}
    assert {model_of(one) for one in results(component, "1.0.0")} == {1}
    # A configuration that leaves the folder as it is leaves the model too.
    device.configure("2.0.1")
    component.popen.send_signal(signal.SIGHUP)
    results(component, "2.0.1")
    assert component.text().count("model net loaded") == 2
    assert component.end() == 0


def test_a_folder_without_a_model_is_refused_and_the_loaded_one_stays(device: Device) -> None:
    device.deploy(1, "1.0.0")
    device.agent()
    component = device.component()
    results(component, "1.0.0")
    (device.model / "net.onnx").unlink()
    device.configure("2.0.0")
    component.popen.send_signal(signal.SIGHUP)
    component.says("the new configuration does not work: model net: the agent cannot load what is in", 60)
    before = len(written(component))
    until(lambda: len(written(component)) >= before + 3, 60)
    assert {(one["version"], model_of(one)) for one in written(component)} == {("1.0.0", 1)}
    assert component.end() == 0


def test_a_new_version_that_cannot_be_run_ends_the_run_and_no_result_names_it(device: Device) -> None:
    # The old one is unloaded by then, because both may not fit into memory, and its file is gone.
    device.deploy(1, "1.0.0")
    device.agent()
    component = device.component()
    results(component, "1.0.0")
    (device.model / "net.onnx").write_bytes(b"no model")
    device.configure("2.0.0")
    component.popen.send_signal(signal.SIGHUP)
    assert component.popen.wait(60) == 1
    assert "model net: the agent cannot load what is in" in component.text()
    assert {(one["version"], model_of(one)) for one in written(component)} == {("1.0.0", 1)}
    assert loaded(device.stub()) == []


def test_a_model_is_unloaded_at_the_end_also_after_a_prediction_ran_into_its_deadline(device: Device) -> None:
    device.deploy(1, "1.0.0")
    agent = device.agent()
    component = device.component()
    results(component, "1.0.0")
    agent.popen.send_signal(signal.SIGSTOP)
    component.says("cannot be reached", 60)
    agent.popen.send_signal(signal.SIGCONT)
    before = len(written(component))
    until(lambda: len(written(component)) >= before + 3, 60)
    assert component.end() == 0
    assert loaded(device.stub()) == []


def test_a_model_that_two_components_use_stays_until_both_have_ended(device: Device) -> None:
    device.deploy(1, "1.0.0")
    device.agent()
    first, second = device.component(), device.component()
    results(first, "1.0.0")
    results(second, "1.0.0")
    stub = device.stub()
    assert first.end() == 0
    assert loaded(stub) == ["net"]
    before = len(written(second))
    until(lambda: len(written(second)) >= before + 3)
    assert (first.text() + second.text()).count("model net loaded") == 1
    assert (first.text() + second.text()).count("model net was already loaded") == 1
    assert first.text().count("released; others use it") == 1
    second.end(signal.SIGKILL)
    until(lambda: loaded(stub) == [])


class Slow(AgentService):
    """An agent that predicts only while `answers` is set."""

    def __init__(self, store: ModelStore) -> None:
        super().__init__(store)
        self.answers = threading.Event()
        self.answers.set()

    def Predict(self, request: m.PredictRequest, context: grpc.ServicerContext) -> m.PredictResponse:  # noqa: N802
        self.answers.wait(60)
        answer: m.PredictResponse = super().Predict(request, context)
        return answer


class Agent:
    """An agent in this process, with or without the service that AWS's own does not have."""

    def __init__(self, folder: Path, *, service: bool, grace: float = 5.0) -> None:
        self.folder, self.socket, self._opened, self._serving = folder, folder / "a.sock", ExitStack(), ExitStack()
        self.model = folder / "model"
        store = ModelStore(threads=1)
        agent, models = Slow(store), ModelsService(store) if service else None
        self.answers = agent.answers
        self._serving.enter_context(serving(agent, self.socket, False, grace=grace, models_service=models))
        channel = self._opened.enter_context(grpc.insecure_channel(f"unix:{self.socket}"))
        self.aws, self.own = AgentStub(channel), ModelsStub(channel)

    def client(self, name: str = "net", folder: Path | None = None) -> AgentClient:
        """It gives up after a while, so that a test fails and does not hang."""
        stop = threading.Event()
        timer = threading.Timer(60, stop.set)
        timer.daemon = True
        timer.start()
        self._opened.callback(timer.cancel)
        client = AgentClient(str(self.socket), name, folder or self.model, stop)
        self._opened.callback(client.close)
        return client

    def load(self, name: str = "net", folder: Path | None = None) -> None:
        self.aws.LoadModel(m.LoadModelRequest(name=name, url=str(folder or self.model)))

    def loaded(self) -> list[str]:
        return loaded(self.aws)

    def stop(self) -> None:
        self.answers.set()
        self._serving.close()

    def close(self) -> None:
        self._opened.close()
        self.stop()


@pytest.fixture
def agent(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Agent]:
    agent = Agent(tmp_path, service=getattr(request, "param", True))
    yield agent
    agent.close()


ANY_AGENT = pytest.mark.parametrize("agent", [True, False], indirect=True, ids=["emflow's agent", "AWS's interface"])
AWS_ONLY = pytest.mark.parametrize("agent", [False], indirect=True, ids=["AWS's interface"])


def answered_by(client: AgentClient) -> int:
    """Which model answers a client."""
    prediction = client.predict(client.ensure_loaded(), PICTURE)
    values = [float(one) for one in memoryview(prediction.outputs[0].byte_data).cast("f")]
    return model_of({"top": [{"index": place, "confidence": value} for place, value in enumerate(values)]})


@ANY_AGENT
def test_what_an_earlier_process_left_loaded_is_not_taken_for_what_the_folder_holds(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a component of a version before that of this test leaves it.
    monkeypatch.setattr(store_module, "FORGOTTEN_SECONDS", 0.5)
    write_model(agent.model, 1)
    agent.load()
    write_model(agent.model, 2)
    assert answered_by(agent.client()) == 2


@ANY_AGENT
def test_a_prediction_without_an_answer_does_not_make_the_model_somebody_elses(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(agent.model, 1)
    client = agent.client()
    model = client.ensure_loaded()
    with monkeypatch.context() as impatient:
        impatient.setattr(agent_client, "_PREDICT_TIMEOUT", 0.2)
        agent.answers.clear()
        with pytest.raises(AgentGone):
            client.predict(model, PICTURE)
    agent.answers.set()
    assert answered_by(client) == 1
    assert client.loads == 1
    client.close()
    assert agent.loaded() == []


@ANY_AGENT
def test_another_version_in_the_folder_is_loaded_when_the_settings_change(agent: Agent) -> None:
    write_model(agent.model, 1)
    client = agent.client()
    assert answered_by(client) == 1
    before = client.ensure_loaded(check_folder=True)
    assert client.loads == 1
    write_model(agent.model, 2)
    assert client.ensure_loaded() is before
    assert client.ensure_loaded(check_folder=True) is not before
    assert answered_by(client) == 2
    client.close()
    assert agent.loaded() == []


@ANY_AGENT
def test_another_model_of_the_name_that_others_use_is_refused_loudly(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(agent_client, "_TAKEN_SECONDS", 1.0)
    write_model(agent.model, 1)
    write_model(tmp_path / "other", 2)
    agent.load(folder=tmp_path / "other")
    with pytest.raises(EdgeProblem, match=r"has another model under this name.*other.* a name of its own"):
        agent.client().ensure_loaded()
    assert agent.loaded() == ["net"]
    tensor = m.Tensor(byte_data=PICTURE)
    (answer,) = agent.aws.Predict(m.PredictRequest(name="net", tensors=[tensor])).tensors
    values = [float(one) for one in memoryview(answer.byte_data).cast("f")]
    assert model_of({"top": [{"index": at, "confidence": value} for at, value in enumerate(values)]}) == 2


def test_a_model_that_goes_while_it_is_waited_for_makes_way(agent: Agent, tmp_path: Path) -> None:
    write_model(agent.model, 1)
    write_model(tmp_path / "other", 2)
    other = agent.client(folder=tmp_path / "other")
    assert answered_by(other) == 2
    threading.Timer(0.5, other.close).start()
    assert answered_by(agent.client()) == 1


def test_a_model_that_another_client_calls_is_not_replaced_by_a_newer_one(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FORGOTTEN_SECONDS", 0.8)
    monkeypatch.setattr(agent_client, "_TAKEN_SECONDS", 2.0)
    write_model(agent.model, 1)
    agent.load()
    write_model(agent.model, 2)
    ended, answers = threading.Event(), list[bytes]()

    def call_again_and_again() -> None:
        request = m.PredictRequest(name="net", tensors=[m.Tensor(byte_data=PICTURE)])
        while not ended.wait(0.02):
            answers.append(agent.aws.Predict(request).tensors[0].byte_data)

    calling = threading.Thread(target=call_again_and_again)
    calling.start()
    try:
        with pytest.raises(EdgeProblem, match="has another model under this name"):
            agent.client().ensure_loaded()
    finally:
        ended.set()
        calling.join()
    assert len(set(answers)) == 1


def test_a_prediction_never_comes_from_a_model_that_got_the_name_afterwards(agent: Agent, tmp_path: Path) -> None:
    write_model(agent.model, 1)
    write_model(tmp_path / "other", 2)
    client = agent.client()
    model = client.ensure_loaded()
    agent.aws.UnLoadModel(m.UnLoadModelRequest(name="net"))
    agent.load(folder=tmp_path / "other")
    with pytest.raises(AgentGone):
        client.predict(model, PICTURE)


def test_the_client_of_an_agent_before_does_not_meet_another_model_by_its_handle(tmp_path: Path) -> None:
    write_model(tmp_path / "model", 1)
    handles = set()
    for _ in range(4):
        agent = Agent(tmp_path, service=True)
        agent.load()
        handles.add(agent.aws.DescribeModel(m.DescribeModelRequest(name="net")).model.handle)
        agent.close()
    assert len(handles) == 4


@AWS_ONLY
def test_what_another_client_loaded_from_the_same_folder_since_is_used_as_it_is(agent: Agent) -> None:
    write_model(agent.model, 1)
    first, second = agent.client(), agent.client()
    model = first.ensure_loaded()
    agent.aws.UnLoadModel(m.UnLoadModelRequest(name="net"))
    agent.load()
    first._forget(model, "has lost the model")
    assert answered_by(first) == 1
    assert first.loads == 1
    # Nothing tells this one what the model was loaded from.
    assert answered_by(second) == 1
    assert second.loads == 1


def test_the_agent_says_what_is_loaded_with_digests_types_and_users(agent: Agent) -> None:
    write_model(agent.model, 1)
    client = agent.client()
    client.ensure_loaded()
    model = agent.own.Describe(DescribeRequest(name="net")).model
    digest = hashlib.sha256((agent.model / "net.onnx").read_bytes()).hexdigest()
    assert [(file.name, file.sha256) for file in model.files] == [("net.onnx", digest)]
    assert (model.url, model.uses, model.loaded_by_load_model) == (str(agent.model), 1, False)
    assert [(bytes(one.name), one.type, list(one.shape)) for one in (*model.inputs, *model.outputs)] == [
        (b"x", "uint8", [1, 8, 8, 3]),
        (b"y", "float32", [1, 3]),
    ]
    assert agent.own.Compare(CompareRequest(handle=model.handle, url=str(agent.model))).same
    write_model(agent.model, 2)
    assert not agent.own.Compare(CompareRequest(handle=model.handle, url=str(agent.model))).same


def test_a_use_ends_with_its_release_and_with_unloading(agent: Agent) -> None:
    write_model(agent.model, 1)
    one, other = (agent.own.Use(UseRequest(name="net", url=str(agent.model))) for _ in range(2))
    begun = next(one)
    assert next(other).model.handle == begun.model.handle
    agent.own.Release(ReleaseRequest(use=begun.use))
    assert agent.loaded() == ["net"]
    for call in (lambda: next(one), lambda: agent.own.Release(ReleaseRequest(use=begun.use))):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    agent.aws.UnLoadModel(m.UnLoadModelRequest(name="net"))
    with pytest.raises(grpc.RpcError) as caught:
        next(other)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert agent.loaded() == []


def test_a_model_that_load_model_loaded_stays_when_its_last_use_ends(agent: Agent) -> None:
    write_model(agent.model, 1)
    agent.load()
    client = agent.client()
    assert answered_by(client) == 1
    client.close()
    assert agent.loaded() == ["net"]


def test_load_model_says_that_the_folder_of_a_loaded_model_holds_another_one_now(agent: Agent) -> None:
    write_model(agent.model, 1)
    agent.load()
    write_model(agent.model, 2)
    with pytest.raises(grpc.RpcError) as caught:
        agent.load()
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert "which holds another model now: unload it, then load it again" in str(caught.value.details())


def test_an_agent_that_ends_does_not_wait_for_uses(tmp_path: Path) -> None:
    write_model(tmp_path / "model", 1)
    agent = Agent(tmp_path, service=True, grace=600.0)
    use = agent.own.Use(UseRequest(name="net", url=str(agent.model)))
    next(use)
    agent.stop()
    with pytest.raises(grpc.RpcError) as caught:
        next(use)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_facts_of_a_newer_file_in_the_folder_are_not_those_of_the_loaded_model(agent: Agent) -> None:
    write_signed_model(agent.model, scale=0.02)
    model = agent.client().ensure_loaded()
    settings = Settings("net", agent.model, (Stream("front", "rtsp://camera/1"),), ModelIO(activation="none"))
    picture, output = np.zeros((4, 4, 3), np.uint8), [bytes(range(CLASSES))]
    before = adapt_model(model, settings).outcome(output, picture)
    write_signed_model(agent.model, scale=0.5)
    assert adapt_model(model, settings).outcome(output, picture) == before
