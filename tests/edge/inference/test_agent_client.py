"""The agent as the component sees it: found wherever its socket is, and brought back whatever it answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.models.store import ModelStore
from emflow_edge.inference.agent_client import AgentClient, AgentGone
from emflow_proto import messages as m

if TYPE_CHECKING:
    from edge.conftest import Edge


class Refusing(AgentService):
    """An agent that answers so many predictions with a status of the test's choice."""

    def __init__(self, code: grpc.StatusCode, times: int) -> None:
        super().__init__(ModelStore(threads=1))
        self._code, self._times = code, times

    def Predict(self, request: m.PredictRequest, context: grpc.ServicerContext) -> m.PredictResponse:  # noqa: N802
        if self._times:
            self._times -= 1
            context.abort(self._code, "on its way out")
        answer: m.PredictResponse = super().Predict(request, context)
        return answer


@pytest.fixture
def client(edge: Edge) -> Iterator[Callable[[AgentService, Path], AgentClient]]:
    """A client of an agent on a socket. It gives up after a while, so that a test fails and does not hang."""
    with ExitStack() as opened:

        def make(service: AgentService, socket: Path) -> AgentClient:
            opened.enter_context(serving(service, socket, clean_stale_socket=False, grace=5.0))
            stop = threading.Event()
            timer = threading.Timer(15, stop.set)
            timer.start()
            opened.callback(timer.cancel)
            agent = AgentClient(str(socket), "scenes", edge.model, stop)
            opened.callback(agent.close)
            return agent

        yield make


@pytest.mark.parametrize("name", ["a b", "100%", "%41", "a#b", "a?b=c", "ä", "a:b", "\udcff"])
def test_a_socket_may_be_called_anything(
    edge: Edge, client: Callable[[AgentService, Path], AgentClient], name: str
) -> None:
    folder = edge.folder / name
    folder.mkdir()
    assert client(AgentService(ModelStore(threads=1)), folder / f"{name}.sock").ensure_loaded().name == "scenes"


@pytest.mark.parametrize("code", [grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND])
def test_an_agent_that_is_ending_is_gone_and_comes_back(
    edge: Edge, client: Callable[[AgentService, Path], AgentClient], code: grpc.StatusCode
) -> None:
    # CANCELLED is what a call gets that was sent, but not begun, when the agent was told to end.
    agent = client(Refusing(code, times=1), edge.socket)
    model, picture = agent.ensure_loaded(), bytes(150528)
    with pytest.raises(AgentGone):
        agent.predict(model, picture)
    assert agent.predict(agent.ensure_loaded(), picture).outputs[0].byte_data
