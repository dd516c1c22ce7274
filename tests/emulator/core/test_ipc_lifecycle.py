"""Components' say in when a deployment may touch them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from awsiot.greengrasscoreipc import model

from emulator.core.ipc_device import Events, IpcTestServer, refused


@pytest.fixture
def ipc(tmp_path: Path) -> Iterator[IpcTestServer]:
    ipc = IpcTestServer(tmp_path, {"app": {}, "other": {}})
    yield ipc
    ipc.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def asked(ipc: IpcTestServer, pool: ThreadPoolExecutor, timeout: float = 600) -> Future[None]:
    """A deployment asks; done when nobody wants it to wait."""
    wait = ipc.device.operations.lifecycle.wait_until_safe
    return pool.submit(wait, "deployment-1", timeout, threading.Event())


def test_all_that_listen_are_asked_and_asked_again_after_the_time_that_one_wanted(
    ipc: IpcTestServer, pool: ThreadPoolExecutor
) -> None:
    clients, events = [ipc.client("app"), ipc.client("other")], [Events(), Events()]
    for client, each in zip(clients, events, strict=True):
        client.subscribe_to_component_updates(on_stream_event=each)
    outcome = asked(ipc, pool)
    for wait in (50, 0):
        for client, each in zip(clients, events, strict=True):
            event = each.next().pre_update_event
            assert (event.deployment_id, event.is_ggc_restarting) == ("deployment-1", False)
            assert not outcome.done()
            client.defer_component_update(
                deployment_id="deployment-1", message="busy", recheck_after_ms=wait if client is clients[0] else 0
            )
    outcome.result(10)

    ipc.device.operations.lifecycle.updated("deployment-1")
    for each in events:
        assert each.next().post_update_event.deployment_id == "deployment-1"


def test_nobody_is_waited_for_who_does_not_listen_does_not_answer_or_leaves(
    ipc: IpcTestServer, pool: ThreadPoolExecutor
) -> None:
    asked(ipc, pool).result(10)
    client, events = ipc.client("app"), Events()
    client.subscribe_to_component_updates(on_stream_event=events)
    asked(ipc, pool, 0.2).result(10)
    with refused(model.ServiceError, "Time limit"):
        client.defer_component_update(deployment_id="deployment-1", recheck_after_ms=0)
    outcome = asked(ipc, pool)
    events.next()
    events.next()
    ipc.leave(client)
    outcome.result(10)


def always_deferring(ipc: IpcTestServer) -> Events:
    """A component that wants to be asked again in an hour, each time that it is asked; its events."""
    client, events = ipc.client("app"), Events()

    def defer(event: Any) -> None:
        events(event)
        client.defer_component_update_async(
            deployment_id=event.pre_update_event.deployment_id, recheck_after_ms=3_600_000
        )

    client.subscribe_to_component_updates(on_stream_event=defer)
    return events


def test_a_component_that_always_defers_delays_a_deployment_for_its_limit_only(
    ipc: IpcTestServer, pool: ThreadPoolExecutor
) -> None:
    events = always_deferring(ipc)
    outcome = asked(ipc, pool, 1.0)
    events.next()
    outcome.result(30)
    assert events.none


def test_a_deferral_ends_with_its_deployment(ipc: IpcTestServer, pool: ThreadPoolExecutor) -> None:
    events, given_up = always_deferring(ipc), threading.Event()
    outcome = pool.submit(ipc.device.operations.lifecycle.wait_until_safe, "deployment-1", 3600, given_up)
    events.next()
    given_up.set()
    outcome.result(30)


@pytest.mark.parametrize(
    ("subscribed", "request_", "reason"),
    [
        (False, {"deployment_id": "x"}, "not subscribed"),
        (True, {}, "deployment ID provided was null"),
        (True, {"deployment_id": "x", "recheck_after_ms": -1}, "milliseconds"),
    ],
)
def test_deferrals_that_make_no_sense(
    ipc: IpcTestServer, subscribed: bool, request_: dict[str, Any], reason: str
) -> None:
    client = ipc.client("app")
    if subscribed:
        client.subscribe_to_component_updates(on_stream_event=Events())
    with refused(model.InvalidArgumentsError, reason):
        client.defer_component_update(**request_)
