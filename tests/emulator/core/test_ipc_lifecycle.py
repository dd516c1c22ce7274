"""Components' say in when a deployment may touch them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from awsiot.greengrasscoreipc import model

from emulator.core.ipc_device import Events, Rig, refused


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, {"app": {}, "other": {}})
    yield rig
    rig.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def asked(rig: Rig, pool: ThreadPoolExecutor, timeout: float = 600) -> Future[None]:
    """A deployment asks; done when nobody wants it to wait."""
    wait = rig.device.operations.lifecycle.wait_until_safe
    return pool.submit(wait, "deployment-1", timeout, threading.Event())


def test_all_that_listen_are_asked_and_asked_again_after_the_time_that_one_wanted(
    rig: Rig, pool: ThreadPoolExecutor
) -> None:
    clients, events = [rig.client("app"), rig.client("other")], [Events(), Events()]
    for client, each in zip(clients, events, strict=True):
        client.subscribe_to_component_updates(on_stream_event=each)
    outcome = asked(rig, pool)
    for wait in (50, 0):
        for client, each in zip(clients, events, strict=True):
            event = each.next().pre_update_event
            assert (event.deployment_id, event.is_ggc_restarting) == ("deployment-1", False)
            assert not outcome.done()
            client.defer_component_update(
                deployment_id="deployment-1", message="busy", recheck_after_ms=wait if client is clients[0] else 0
            )
    outcome.result(10)

    rig.device.operations.lifecycle.updated("deployment-1")
    for each in events:
        assert each.next().post_update_event.deployment_id == "deployment-1"


def test_nobody_is_waited_for_who_does_not_listen_does_not_answer_or_leaves(rig: Rig, pool: ThreadPoolExecutor) -> None:
    asked(rig, pool).result(10)
    client, events = rig.client("app"), Events()
    client.subscribe_to_component_updates(on_stream_event=events)
    asked(rig, pool, 0.2).result(10)
    with refused(model.ServiceError, "Time limit"):
        client.defer_component_update(deployment_id="deployment-1", recheck_after_ms=0)
    outcome = asked(rig, pool)
    events.next()
    events.next()
    rig.leave(client)
    outcome.result(10)


@pytest.mark.parametrize(
    ("subscribed", "request_", "reason"),
    [
        (False, {"deployment_id": "x"}, "not subscribed"),
        (True, {}, "deployment ID provided was null"),
        (True, {"deployment_id": "x", "recheck_after_ms": -1}, "milliseconds"),
    ],
)
def test_deferrals_that_make_no_sense(rig: Rig, subscribed: bool, request_: dict[str, Any], reason: str) -> None:
    client = rig.client("app")
    if subscribed:
        client.subscribe_to_component_updates(on_stream_event=Events())
    with refused(model.InvalidArgumentsError, reason):
        client.defer_component_update(**request_)
