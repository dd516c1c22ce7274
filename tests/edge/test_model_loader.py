"""A model kept loaded on an agent that does what the test says, over real gRPC."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from edge.scripted_agent import ScriptedAgent, served
from emflow_edge.inference.agent_client import AgentClient
from emflow_edge.model_adapter import ModelAdapter
from emflow_edge.model_loader import ModelLoader
from emflow_edge.settings.config import Settings
from emflow_proto import messages as m
from emflow_schema.edge_config import ModelIO, Stream
from emflow_schema.errors import ConfigProblem, EdgeProblem
from support import until


class Kept:
    """A model that is kept loaded, and what was told of it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.ready: list[ModelAdapter] = []
        self.refused: list[EdgeProblem] = []
        first = self.settings(**settings)
        self.loading = ModelLoader(first, self._is_ready, lambda problem, _: self.refused.append(problem))
        self.loading.start()

    def settings(self, **settings: Any) -> Settings:
        streams = (Stream("front", "rtsp://camera/1"),)
        whole: dict[str, Any] = {
            "model_name": "net",
            "model_folder": self.folder,
            "agent_socket": str(self.folder / "a.sock"),
        }
        return Settings(**{**whole, "streams": streams, **settings})

    def _is_ready(self, agent: AgentClient, fitting: ModelAdapter, settings: Settings) -> None:
        assert agent.loaded_model == fitting.model
        self.ready.append(fitting)


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path)
    yield kept
    kept.loading.close()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "loading"])


def test_it_is_loaded_when_the_agent_is_there_and_again_when_it_was_lost(
    kept: Kept, agent: ScriptedAgent, tmp_path: Path
) -> None:
    with served(agent, tmp_path / "a.sock"):
        until(lambda: len(kept.ready) == 1)
        kept.loading.reload()
        until(lambda: len(kept.ready) == 2)
        # It was not lost: the same as before, and not asked for.
        assert kept.ready[1] is kept.ready[0]
        assert agent.calls == ["load net"]


def test_an_agent_without_memory_is_waited_for(
    kept: Kept, agent: ScriptedAgent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent.refuses["net"] = grpc.StatusCode.RESOURCE_EXHAUSTED
    with served(agent, tmp_path / "a.sock"):
        until(lambda: len(agent.calls) >= 2)
        assert caplog.text.count("has no memory for model net") == 1
        agent.refuses.clear()
        until(lambda: kept.ready)
    assert not kept.refused


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION])
def test_a_model_that_the_agent_refuses_is_reported(
    kept: Kept, agent: ScriptedAgent, tmp_path: Path, code: grpc.StatusCode
) -> None:
    agent.refuses["net"] = code
    with served(agent, tmp_path / "a.sock"):
        until(lambda: kept.refused)
    assert "model net: the agent " in str(kept.refused[0])


@pytest.mark.parametrize(("before", "after"), [(set(), set()), ({"net"}, {"net"})])
def test_what_was_loaded_already_stays_loaded_and_what_was_not_goes(
    kept: Kept, agent: ScriptedAgent, tmp_path: Path, before: set[str], after: set[str]
) -> None:
    agent.loaded = set(before)
    with served(agent, tmp_path / "a.sock"):
        until(lambda: kept.ready)
        kept.loading.close()
        assert agent.loaded == after


def test_settings_that_do_not_fit_the_model_are_known_before_they_are_used(
    kept: Kept, agent: ScriptedAgent, tmp_path: Path
) -> None:
    (tmp_path / "few.txt").write_text("one\n")
    (tmp_path / "right.txt").write_text("one\ntwo\nthree\n")
    with served(agent, tmp_path / "a.sock"):
        until(lambda: kept.ready)
        with pytest.raises(ConfigProblem, match=r"modelIO\.labels: .*few\.txt"):
            kept.loading.check(kept.settings(model_io=ModelIO(labels=str(tmp_path / "few.txt"))))
        right = kept.settings(model_io=ModelIO(labels=str(tmp_path / "right.txt")))
        kept.loading.check(right)
        kept.loading.use_settings(right)
        until(lambda: len(kept.ready) == 2)
        assert agent.calls == ["load net"]


def test_a_model_that_somebody_unloads_between_two_questions_is_loaded_again(
    kept: Kept, agent: ScriptedAgent, tmp_path: Path
) -> None:
    agent.loaded.add("net")
    describe, asked = agent.DescribeModel, []

    def gone_once(request: m.DescribeModelRequest, context: grpc.ServicerContext) -> m.DescribeModelResponse:
        asked.append(request.name)
        if len(asked) == 1:
            agent.loaded.clear()
            context.abort(grpc.StatusCode.NOT_FOUND, "unloaded")
        return describe(request, context)

    agent.DescribeModel = gone_once  # type: ignore[method-assign]
    with served(agent, tmp_path / "a.sock"):
        until(lambda: kept.ready)
    assert (asked, agent.calls) == (["net"], ["load net", "load net"])
    assert not kept.refused


def test_a_tensor_of_an_unknown_type_is_reported(kept: Kept, agent: ScriptedAgent, tmp_path: Path) -> None:
    strange = m.TensorMetadata(name=b"picture", data_type=99, shape=[1, 4, 4, 3])
    agent._model = lambda name: m.Model(name=name, input_tensor_metadatas=[strange])  # type: ignore[method-assign]
    with served(agent, tmp_path / "a.sock"):
        until(lambda: kept.refused)
    assert str(kept.refused[0]) == "the agent reports a tensor of unknown type 99"


def test_an_unexpected_error_while_a_model_is_loaded_is_a_refusal(
    kept: Kept, agent: ScriptedAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise TypeError("data type 'x' not understood")

    monkeypatch.setattr("emflow_edge.inference.agent_client.AgentClient._checked_input", fail)
    with served(agent, tmp_path / "a.sock"):
        until(lambda: kept.refused)
    assert str(kept.refused[0]) == "model net: unexpected error: TypeError: data type 'x' not understood"
    assert kept.loading._thread.is_alive()


@pytest.mark.parametrize("late", [False, True])
def test_a_model_that_is_loading_at_the_end_is_unloaded_afterwards(
    kept: Kept, agent: ScriptedAgent, tmp_path: Path, late: bool
) -> None:
    load, go_on = agent.LoadModel, threading.Event()

    def slow(request: m.LoadModelRequest, context: grpc.ServicerContext) -> m.LoadModelResponse:
        answer = load(request, context)
        assert go_on.wait(60)
        return answer

    agent.LoadModel = slow  # type: ignore[method-assign]
    with served(agent, tmp_path / "a.sock"):
        until(lambda: agent.loaded)
        if late:
            kept.loading.close()
            assert agent.loaded == {"net"}
            go_on.set()
        else:
            threading.Timer(0.05, go_on.set).start()
            kept.loading.close()
        assert kept.loading.join(10)
        assert agent.loaded == set()
    assert not kept.ready
    assert not kept.refused
