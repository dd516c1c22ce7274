"""Configuration over IPC while components run: updates, subscriptions, and a say in what is deployed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from awsiot.greengrasscoreipc import model

from emulator.core.ipc_device import Events, IpcTestServer, refused
from emulator.core.pieces import publishing
from support import until

APP = {"rate": "1", "model": {"name": "a", "top": "3"}, "labels": ["x"]}


@pytest.fixture
def ipc(tmp_path: Path) -> Iterator[IpcTestServer]:
    ipc = IpcTestServer(tmp_path, {"app": APP, "other": {"key": "value"}})
    yield ipc
    ipc.close()


@pytest.fixture
def app(ipc: IpcTestServer) -> Any:
    return ipc.client("app")


def deploy(ipc: IpcTestServer, app: Mapping[str, Any]) -> None:
    ipc.device.deploy({"app": dict(app), "other": {"key": "value"}})


def heard(events: Events, times: int) -> list[tuple[str, list[str]]]:
    told = [events.next().configuration_update_event for _ in range(times)]
    return sorted((each.component_name, each.key_path) for each in told)


def test_every_value_that_a_deployment_changes_is_reported_with_its_key_path(ipc: IpcTestServer, app: Any) -> None:
    events = Events()
    app.subscribe_to_configuration_update(on_stream_event=events)
    deploy(ipc, {"rate": "2", "model": {"name": "b", "top": "3"}, "labels": ["x"], "new": {"deep": "y"}})

    assert heard(events, 3) == [("app", ["model", "name"]), ("app", ["new", "deep"]), ("app", ["rate"])]
    assert app.get_configuration(key_path=["model", "name"]).value == {"name": "b"}
    assert events.none


def test_what_is_removed_is_reported_once_at_its_top(ipc: IpcTestServer, app: Any) -> None:
    events = Events()
    app.subscribe_to_configuration_update(on_stream_event=events)
    deploy(ipc, {"rate": "1", "labels": ["x", "y"]})

    assert heard(events, 2) == [("app", ["labels"]), ("app", ["model"])]
    assert events.none


def test_a_deployment_that_changes_nothing_tells_nothing(ipc: IpcTestServer, app: Any) -> None:
    events = Events()
    app.subscribe_to_configuration_update(on_stream_event=events)
    deploy(ipc, APP)
    deploy(ipc, APP | {"rate": True})
    deploy(ipc, APP | {"rate": 1.0})

    assert heard(events, 2) == [("app", ["rate"])] * 2
    assert events.none


def test_one_hears_of_the_part_that_one_asked_for_only(ipc: IpcTestServer, app: Any) -> None:
    part, outside = Events(), Events()
    app.subscribe_to_configuration_update(key_path=["model"], on_stream_event=part)
    ipc.client("other").subscribe_to_configuration_update(component_name="app", on_stream_event=outside)
    deploy(ipc, APP | {"rate": "2", "model": {"name": "b", "top": "3"}})

    assert heard(part, 1) == [("app", ["model", "name"])]
    assert heard(outside, 2) == [("app", ["model", "name"]), ("app", ["rate"])]
    assert part.none


@pytest.mark.parametrize("request_", [{"key_path": ["nothing"]}, {"component_name": "unknown"}])
def test_what_is_not_there_cannot_be_subscribed_to(app: Any, request_: dict[str, Any]) -> None:
    with pytest.raises(model.ResourceNotFoundError) as caught:
        app.subscribe_to_configuration_update(**request_, on_stream_event=Events())
    assert caught.value.message == "Key not found"


def test_who_closes_the_stream_hears_no_more_and_the_connection_goes_on(ipc: IpcTestServer, app: Any) -> None:
    closed, open_ = Events(), Events()
    _, operation = app.subscribe_to_configuration_update(on_stream_event=closed)
    app.subscribe_to_configuration_update(on_stream_event=open_)
    operation.close().result(10)
    app.get_configuration()
    deploy(ipc, APP | {"rate": "2"})

    assert heard(open_, 1) == [("app", ["rate"])]
    assert closed.none
    assert app.get_configuration(key_path=["rate"]).value == {"rate": "2"}


def test_a_component_changes_its_own_configuration(ipc: IpcTestServer, app: Any) -> None:
    events, now = Events(), datetime.now(UTC)
    app.subscribe_to_configuration_update(on_stream_event=events)
    app.update_configuration(key_path=["model"], value_to_merge={"name": "mine", "more": 1}, timestamp=now)

    assert heard(events, 2) == [("app", ["model", "more"]), ("app", ["model", "name"])]
    assert app.get_configuration(key_path=["model"]).value == {"name": "mine", "top": "3", "more": 1.0}


def test_an_update_that_is_older_than_what_is_there_changes_nothing(ipc: IpcTestServer, app: Any) -> None:
    now = datetime.now(UTC)
    app.update_configuration(value_to_merge={"rate": "5"}, timestamp=now)
    with pytest.raises(model.FailedUpdateConditionCheckError):
        app.update_configuration(value_to_merge={"rate": "4", "new": "x"}, timestamp=now - timedelta(seconds=1))
    deploy(ipc, APP | {"rate": "7"})
    with pytest.raises(model.FailedUpdateConditionCheckError):
        app.update_configuration(value_to_merge={"rate": "6"}, timestamp=now)
    app.update_configuration(value_to_merge={"labels": ["y"]}, timestamp=datetime.now(UTC))

    assert ipc.device.configuration("app") == APP | {"rate": "7", "labels": ["y"]}


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"value_to_merge": {"a": "b"}}, "Timestamp is required"),
        ({"timestamp": datetime.now(UTC)}, "ValueToMerge is required"),
        ({"timestamp": datetime.now(UTC), "value_to_merge": publishing("x")}, "accessControl"),
        ({"timestamp": datetime.now(UTC), "key_path": ["accessControl"], "value_to_merge": {"a": "b"}}, "accessCo"),
        ({"timestamp": datetime.now(UTC), "key_path": ["rate"], "value_to_merge": {"a": "b"}}, "rate is not a cont"),
        ({"timestamp": datetime.now(UTC), "key_path": ["labels", "0"], "value_to_merge": {"a": "b"}}, "labels is not"),
    ],
)
def test_updates_that_are_refused(ipc: IpcTestServer, app: Any, request_: dict[str, Any], reason: str) -> None:
    with refused(model.InvalidArgumentsError, reason):
        app.update_configuration(**request_)
    assert ipc.device.configuration("app") == APP


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def proposed(
    ipc: IpcTestServer, pool: ThreadPoolExecutor, timeout: float = 10, others: tuple[str, ...] = (), **app: str
) -> Future[dict[str, str]]:
    """A deployment asks; what is wrong, by component. `others`: components whose configuration changes too."""
    validate = ipc.device.operations.settings.validate
    configurations = {"app": app, **{name: {} for name in others}}
    return pool.submit(validate, "deployment-1", configurations, timeout, threading.Event())


@pytest.mark.parametrize(("status", "wrong"), [("ACCEPTED", {}), ("REJECTED", {"app": "rate is no number"})])
def test_a_component_judges_what_is_about_to_be_deployed(
    ipc: IpcTestServer, app: Any, pool: ThreadPoolExecutor, status: str, wrong: dict[str, str]
) -> None:
    events = Events()
    app.subscribe_to_validate_configuration_updates(on_stream_event=events)
    outcome = proposed(ipc, pool, rate="x")
    asked = events.next().validate_configuration_update_event
    assert (asked.deployment_id, asked.configuration) == ("deployment-1", {"rate": "x"})
    report = model.ConfigurationValidityReport(status=status, deployment_id="deployment-1", message="rate is no number")
    app.send_configuration_validity_report(configuration_validity_report=report)

    assert outcome.result(10) == wrong
    with refused(model.InvalidArgumentsError, "either timed out or was never made"):
        app.send_configuration_validity_report(configuration_validity_report=report)


def test_nobody_is_asked_who_did_not_subscribe(ipc: IpcTestServer, app: Any, pool: ThreadPoolExecutor) -> None:
    assert proposed(ipc, pool, 600, ("other",), rate="x").result(10) == {}


@pytest.mark.parametrize("answers", [True, False])
def test_a_deployment_waits_for_all_components_that_change_as_soon_as_one_subscribed(
    ipc: IpcTestServer, app: Any, pool: ThreadPoolExecutor, answers: bool
) -> None:
    other = ipc.client("other")

    def accept(client: Any) -> None:
        report = model.ConfigurationValidityReport(status="ACCEPTED", deployment_id="deployment-1")
        client.send_configuration_validity_report(configuration_validity_report=report)

    app.subscribe_to_validate_configuration_updates(on_stream_event=lambda _: accept(app))
    if answers:
        other.subscribe_to_validate_configuration_updates(on_stream_event=lambda _: accept(other))
    wrong = proposed(ipc, pool, 20 if answers else 0.5, ("other",), rate="x").result(15)

    assert wrong.keys() == (set() if answers else {"other"})
    assert answers or "it did not subscribe to validate its configuration" in wrong["other"]


def test_one_that_does_not_answer_in_time_is_not_content(
    ipc: IpcTestServer, app: Any, pool: ThreadPoolExecutor
) -> None:
    app.subscribe_to_validate_configuration_updates(on_stream_event=Events())
    assert proposed(ipc, pool, 0.2, rate="x").result(10) == {"app": "no validity report within 0.2 s"}


def test_one_that_leaves_is_not_waited_for(ipc: IpcTestServer, app: Any, pool: ThreadPoolExecutor) -> None:
    events = Events()
    app.subscribe_to_validate_configuration_updates(on_stream_event=events)
    outcome = proposed(ipc, pool, 600, rate="x")
    events.next()
    ipc.leave(app)

    assert outcome.result(10).keys() == {"app"}
    until(lambda: proposed(ipc, pool, 600, rate="x").result(10) == {})


@pytest.mark.parametrize("status", ["MAYBE", None])
def test_a_report_that_says_neither_is_refused(app: Any, status: str | None) -> None:
    report = model.ConfigurationValidityReport(status=status, deployment_id="deployment-1")
    with refused(model.InvalidArgumentsError, "neither ACCEPTED nor REJECTED"):
        app.send_configuration_validity_report(configuration_validity_report=report)
