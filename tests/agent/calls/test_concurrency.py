"""Several clients and models at once, over the socket: nobody waits for a model that is not theirs, or in vain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.models.caller import CLIENT_KEY, LocalCaller
from emflow_agent.models.store import MAX_WAITING_LOADS, ModelStore
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from support import until

QUEUE = 20
SIZE = 224 * 224 * 3


class Slow:
    """A model that takes a call when it is let, and notes the first byte of each picture that it saw."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.let = threading.Semaphore(0)
        self.began = 0
        self.seen: list[int] = []

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        self.began += 1
        assert self.let.acquire(timeout=60)
        self.seen.append(int(arrays[0].flat[0]))
        return self._model.run(arrays)


class Bench:
    """An agent with the models `slow` and `fast`, and clients of it."""

    def __init__(self, address: Path, store: ModelStore, slow: Slow) -> None:
        self.address, self.store, self.slow = address, store, slow
        self.queue = store.get("slow").queue
        self.channels: list[grpc.Channel] = []
        self.calls: list[grpc.Future] = []  # a call that nobody holds is cancelled

    def client(self) -> AgentStub:
        """With a connection of its own."""
        channel = grpc.insecure_channel(f"unix:{self.address}", options=[("grpc.use_local_subchannel_pool", 1)])
        self.channels.append(channel)
        return AgentStub(channel)

    def occupied(self) -> Any:
        """A call that has the slow model."""
        began = self.slow.began
        call = self.client().Predict.future(picture())
        self.calls.append(call)
        until(lambda: self.slow.began > began, what="a call that runs")
        return call

    def queued(self, stub: AgentStub, first: int = 0, **options: Any) -> Any:
        """A call that waits for the slow model."""
        before = self.queue.waiting
        call = stub.Predict.future(picture(first), **options)
        self.calls.append(call)
        until(lambda: self.queue.waiting > before, what="a call that waits")
        return call


def picture(first: int = 0, name: str = "slow") -> m.PredictRequest:
    return m.PredictRequest(name=name, tensors=[m.Tensor(byte_data=bytes([first]) + bytes(SIZE - 1))])


@pytest.fixture
def bench(tmp_path: Path, folder: Path) -> Iterator[Bench]:
    store, address = ModelStore(threads=1, queue_size=QUEUE), tmp_path / "a.sock"
    for name in ("slow", "fast"):
        store.load(name, str(folder))
    loaded = store.get("slow")
    slow: Any = Slow(loaded._runtime)
    loaded._runtime = slow
    made = Bench(address, store, slow)
    with serving(AgentService(store), address, clean_stale_socket=False, grace=0.0):
        yield made
        for _ in range(1000):
            slow.let.release()
        for channel in made.channels:
            channel.close()


def test_a_slow_model_with_a_full_queue_holds_up_no_other(bench: Bench) -> None:
    stub, running = bench.client(), bench.occupied()
    waiting = [bench.queued(stub) for _ in range(QUEUE)]
    for _ in range(20):
        assert stub.Predict(picture(name="fast"), timeout=20).tensors
    assert len(stub.ListModels(m.ListModelsRequest(), timeout=20).models) == 2
    for _ in range(QUEUE + 1):
        bench.slow.let.release()
    assert all(call.result(timeout=20).tensors for call in (running, *waiting))


def test_a_call_beyond_the_queue_limit_is_refused_at_once(
    bench: Bench, refused: Callable[[Callable[[], object]], tuple[grpc.StatusCode, str]]
) -> None:
    stub = bench.client()
    bench.occupied()
    for _ in range(QUEUE):
        bench.queued(stub)
    code, text = refused(lambda: stub.Predict(picture(), timeout=20))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert text == f"{QUEUE} calls already wait for model 'slow'; try again later"


def test_a_call_whose_deadline_passes_while_it_waits_is_never_run(bench: Bench) -> None:
    running = bench.occupied()
    late = bench.queued(bench.client(), 66, timeout=0.5)
    assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: bench.queue.waiting == 0, what="an empty queue")
    bench.slow.let.release()
    assert running.result(timeout=20).tensors
    assert bench.slow.seen == [0]


def test_a_client_that_hangs_up_costs_no_inference(bench: Bench) -> None:
    running, leaves, stays = bench.occupied(), bench.client(), bench.client()
    for first in (66, 67, 68):
        bench.queued(leaves, first)
    call = bench.queued(stays, 1)
    bench.channels[1].close()
    until(lambda: bench.queue.waiting == 1, what="one call that waits")
    for _ in range(2):
        bench.slow.let.release()
    assert running.result(timeout=20).tensors
    assert call.result(timeout=20).tensors
    assert bench.slow.seen == [0, 1]


def test_a_client_that_hangs_up_in_its_turn_holds_up_nobody(bench: Bench) -> None:
    bench.occupied()
    bench.channels[0].close()
    call = bench.queued(bench.client(), 1)
    for _ in range(2):
        bench.slow.let.release()
    assert call.result(timeout=20).tensors


def test_clients_that_say_who_they_are_take_turns(bench: Bench) -> None:
    running, stub = bench.occupied(), bench.client()
    calls = [bench.queued(stub, 1, metadata=[(CLIENT_KEY, "greedy")]) for _ in range(4)]
    calls += [bench.queued(stub, 2, metadata=[(CLIENT_KEY, "modest")]) for _ in range(2)]
    for _ in range(7):
        bench.slow.let.release()
    assert all(call.result(timeout=20).tensors for call in (running, *calls))
    assert bench.slow.seen == [0, 1, 2, 1, 2, 1, 1]


def test_calls_that_wait_for_a_model_that_is_unloaded_are_not_found(bench: Bench) -> None:
    stub, running = bench.client(), bench.occupied()
    call = bench.queued(stub)
    stub.UnLoadModel(m.UnLoadModelRequest(name="slow"), timeout=20)
    assert (call.code(), call.details()) == (grpc.StatusCode.NOT_FOUND, "model 'slow' was unloaded")
    bench.slow.let.release()
    assert running.result(timeout=20).tensors


def test_a_load_that_nobody_waits_for_any_more_is_not_begun(bench: Bench, folder: Path) -> None:
    stub = bench.client()
    with bench.store._loading.slot(LocalCaller()):
        call = stub.LoadModel.future(m.LoadModelRequest(url=str(folder), name="late"), timeout=0.3)
        assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: len(stub.ListModels(m.ListModelsRequest()).models) == 2, what="an agent that answers")
    load = m.LoadModelRequest(url=str(folder), name="next")
    assert stub.LoadModel(load, timeout=20).model.name == "next"
    assert {model.name for model in stub.ListModels(m.ListModelsRequest()).models} == {"slow", "fast", "next"}


def test_two_models_run_side_by_side(bench: Bench) -> None:
    bench.occupied()
    with ThreadPoolExecutor(4) as pool:
        stubs = [bench.client() for _ in range(4)]
        answers = list(pool.map(lambda stub: stub.Predict(picture(name="fast"), timeout=20), stubs * 5))
    assert len({answer.SerializeToString() for answer in answers}) == 1


def test_loads_that_wait_are_few_and_hold_up_no_prediction(
    bench: Bench, folder: Path, refused: Callable[[Callable[[], object]], tuple[grpc.StatusCode, str]]
) -> None:
    stub = bench.client()
    with bench.store._loading.slot(LocalCaller()):
        load = m.LoadModelRequest(url=str(folder), name="late")
        waiting = [stub.LoadModel.future(load, timeout=20) for _ in range(MAX_WAITING_LOADS)]
        until(lambda: bench.store._loading.waiting == MAX_WAITING_LOADS, what="loads that wait")
        code, text = refused(lambda: stub.LoadModel(load, timeout=20))
        assert (code, text) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"{MAX_WAITING_LOADS} calls already wait for a load to end; try again later",
        )
        assert stub.Predict(picture(name="fast"), timeout=20).tensors
        for call in waiting[1:]:
            call.cancel()
        until(lambda: bench.store._loading.waiting == 1, what="loads that were given up to go")
    assert waiting[0].result(timeout=20).model.name == "late"
