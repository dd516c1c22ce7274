"""The agent as the component sees it: found wherever its socket is, and brought back whatever it answers."""

from __future__ import annotations

import ctypes
import os
import tempfile
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
from emflow_edge.inference import agent_client
from emflow_edge.inference.agent_client import AgentClient, AgentGone
from emflow_proto import messages as m
from support import until

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


def test_a_socket_that_others_may_replace_is_not_used(
    edge: Edge, client: Callable[[AgentService, Path], AgentClient], caplog: pytest.LogCaptureFixture
) -> None:
    folder = edge.folder / "shared"
    folder.mkdir()
    service = Counting()
    agent = client(service, folder / "a.sock")
    folder.chmod(0o777)
    loading = threading.Thread(target=agent.ensure_loaded, daemon=True)
    loading.start()
    until(lambda: "is not used: everybody may replace the socket" in caplog.text)
    assert "agentUsers (edge.agent.users in a workflow) names users that may" in caplog.text
    assert service.calls == 0
    folder.chmod(0o700)
    loading.join(20)
    assert agent.loaded_model is not None


def test_a_socket_without_permission_is_reported_once_with_the_mend(
    edge: Edge, client: Callable[[AgentService, Path], AgentClient], caplog: pytest.LogCaptureFixture
) -> None:
    # Reached by every user, unlike the folders of pytest: the permissions are those of the folder and the socket alone.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder, socket = Path(name), Path(name) / "a.sock"
        agent = client(AgentService(ModelStore(threads=1)), socket)
        socket.chmod(0)
        folder.chmod(0)

        def load_as_another_user() -> None:
            if os.geteuid() == 0:  # root passes all permissions; this is for the files of this thread alone
                ctypes.CDLL(None).setfsuid(65534)
            agent.ensure_loaded()

        loading = threading.Thread(target=load_as_another_user, daemon=True)
        loading.start()
        until(lambda: f"{folder}/a.sock: Permission denied" in caplog.text)
        folder.chmod(0o711)
        checks = 0
        check_socket = agent_client.check_socket

        def counted(path: Path, users: frozenset[int]) -> tuple[int, int, int]:
            nonlocal checks
            checks += 1
            return check_socket(path, users)

        with pytest.MonkeyPatch.context() as counting:
            counting.setattr(agent_client, "check_socket", counted)
            until(lambda: checks > 3, what="further attempts")
        (said,) = [each.getMessage() for each in caplog.records if "Permission denied" in each.getMessage()]
        assert "run this component and the agent as the same user, or give both a socket outside" in said
        assert "edge.agent.socket" in said
        assert "edge.agent.users" in said
        socket.chmod(0o666)
        loading.join(20)
        assert agent.loaded_model is not None


def test_a_socket_that_everybody_may_open_is_used_with_a_warning(
    edge: Edge, client: Callable[[AgentService, Path], AgentClient], caplog: pytest.LogCaptureFixture
) -> None:
    agent = client(AgentService(ModelStore(threads=1)), edge.socket)
    edge.socket.chmod(0o666)
    agent.ensure_loaded()
    assert (
        f"agent: every user of this device who reaches {edge.socket} may replace its models: mode 0666" in caplog.text
    )


class Counting(AgentService):
    """An agent that counts its calls."""

    def __init__(self) -> None:
        super().__init__(ModelStore(threads=1))
        self.calls = 0

    def LoadModel(self, request: m.LoadModelRequest, context: grpc.ServicerContext) -> m.LoadModelResponse:  # noqa: N802
        self.calls += 1
        answer: m.LoadModelResponse = super().LoadModel(request, context)
        return answer

    def Predict(self, request: m.PredictRequest, context: grpc.ServicerContext) -> m.PredictResponse:  # noqa: N802
        self.calls += 1
        answer: m.PredictResponse = super().Predict(request, context)
        return answer


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
def test_no_picture_goes_to_a_socket_that_another_user_put_in_its_place(
    edge: Edge, client: Callable[[AgentService, Path], AgentClient], caplog: pytest.LogCaptureFixture
) -> None:
    agent = client(AgentService(ModelStore(threads=1)), edge.socket)
    model, picture = agent.ensure_loaded(), bytes(150528)
    agent.predict(model, picture)
    impostor, theirs = Counting(), edge.folder / "theirs.sock"
    with serving(impostor, theirs, clean_stale_socket=False, grace=5.0):
        os.chown(theirs, 12345, -1)
        theirs.replace(edge.socket)
        with pytest.raises(AgentGone):
            agent.predict(model, picture)
        loading = threading.Thread(target=agent.ensure_loaded, daemon=True)
        loading.start()
        until(lambda: "is not used: the socket belongs to user 12345" in caplog.text)
        assert impostor.calls == 0
        os.chown(edge.socket, 0, -1)
        loading.join(20)
        assert agent.predict(agent.ensure_loaded(), picture).outputs
