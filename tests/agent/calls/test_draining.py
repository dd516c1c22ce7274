"""Ending: what the agent has begun it finishes, for as long as it was given."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.models.caller import LocalCaller
from emflow_agent.models.store import ModelStore
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from support import until


@pytest.mark.parametrize("in_time", [True, False])
def test_calls_under_way_get_their_answer_within_the_grace(tmp_path: Path, folder: Path, in_time: bool) -> None:
    store = ModelStore(threads=1)
    left, leave = threading.Event(), threading.Event()
    address = tmp_path / "a.sock"

    def serve() -> None:
        with serving(AgentService(store), address, clean_stale_socket=False, grace=20.0 if in_time else 0.1):
            leave.wait()
        left.set()

    server = threading.Thread(target=serve)
    server.start()
    with grpc.insecure_channel(f"unix:{address}") as channel:
        stub = AgentStub(channel)
        stub.LoadModel(m.LoadModelRequest(url=str(folder), name="scenes"), wait_for_ready=True, timeout=20)
        request = m.PredictRequest(name="scenes", tensors=[m.Tensor(byte_data=bytes(150528))])
        # As long as somebody else has the model's turn, a prediction waits.
        with store.get("scenes").queue.slot(LocalCaller()):
            calls = [stub.Predict.future(request) for _ in range(3)]
            until(lambda: store.get("scenes").queue.waiting == 3, what="three calls under way")
            leave.set()
            if in_time:
                until(lambda: not address.exists(), what="a closed door")
                assert not left.is_set()
            else:
                assert {call.code() for call in calls} <= {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
        if in_time:
            assert [call.code() for call in calls] == [grpc.StatusCode.OK] * 3
    server.join(20)
    assert left.is_set()
    assert not address.exists()


@pytest.mark.parametrize("gone", [Path.unlink, lambda address: address.rename(address.with_name("elsewhere"))])
def test_an_agent_that_ends_leaves_the_socket_of_the_one_that_came_after_it(
    tmp_path: Path, gone: Callable[[Path], object]
) -> None:
    address = tmp_path / "a.sock"
    with ExitStack() as before, ExitStack() as after:
        before.enter_context(serving(AgentService(ModelStore()), address, clean_stale_socket=False, grace=5.0))
        gone(address)
        after.enter_context(serving(AgentService(ModelStore()), address, clean_stale_socket=False, grace=5.0))
        before.close()
        with grpc.insecure_channel(f"unix:{address}") as channel:
            AgentStub(channel).ListModels(m.ListModelsRequest(), timeout=10)
    assert not address.exists()


def test_a_socket_is_the_only_file_that_an_agent_makes_beside_it(tmp_path: Path) -> None:
    with serving(AgentService(ModelStore()), tmp_path / "a.sock", clean_stale_socket=False, grace=5.0):
        assert [each.name for each in tmp_path.iterdir()] == ["a.sock"]
    assert not list(tmp_path.iterdir())
