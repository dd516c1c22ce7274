import time

import pytest

from emflow_edge.observability.status import CameraStatusListener, Status
from emflow_edge.timestamps import utc_now
from support import until


@pytest.fixture
def changes() -> list[int]:
    return []


@pytest.fixture
def status(changes: list[int]) -> Status:
    status = Status(lambda: changes.append(1))
    status.set_streams(("front", "back"))
    return status


def of(status: Status) -> dict[str, str]:
    told = status.snapshot()
    return {"": told["status"], **{name: one["status"] for name, one in told["streams"].items()}}


def states(status: Status) -> dict[str, dict[str, str]]:
    """The streams without their times."""
    streams = status.snapshot()["streams"]
    return {name: {key: one[key] for key in ("status", "reason") if key in one} for name, one in streams.items()}


def test_all_has_to_be_well_for_a_run_to_be_running(status: Status) -> None:
    assert of(status) == {"": "starting", "front": "starting", "back": "starting"}
    front, back = CameraStatusListener(status, "front"), CameraStatusListener(status, "back")
    front.present(640, 480, 25)
    assert of(status) == {"": "starting", "front": "starting", "back": "starting"}
    status.set_agent(True)
    assert of(status) == {"": "starting", "front": "running", "back": "starting"}
    back.present(640, 480, 25)
    assert of(status) == {"": "running", "front": "running", "back": "running"}
    front.frozen()
    assert of(status) == {"": "degraded", "front": "frozen", "back": "running"}
    front.clear()
    back.absent("cannot be reached")
    assert states(status) == {
        "front": {"status": "running"},
        "back": {"status": "absent", "reason": "cannot be reached"},
    }
    # What clears the picture of a camera that has gone does not bring it back.
    back.clear()
    assert of(status)["back"] == "absent"
    back.present(640, 480, 0)
    back.black()
    assert of(status) == {"": "degraded", "front": "running", "back": "black"}


def test_what_holds_up_a_stream_first_is_reported(status: Status) -> None:
    for name in ("front", "back"):
        CameraStatusListener(status, name).present(640, 480, 25)
    status.set_agent(False, "it has gone")
    status.set_publisher(False, "no route")
    assert states(status)["front"] == {"status": "no agent", "reason": "it has gone"}
    status.set_agent(True)
    assert states(status)["front"] == {"status": "unpublished", "reason": "no route"}
    status.set_publisher(True)
    assert of(status)[""] == "running"


def test_changes_are_reported_and_nothing_else_is(status: Status, changes: list[int]) -> None:
    front = CameraStatusListener(status, "front")
    before = len(changes)
    front.absent("cannot be reached")
    front.absent("cannot be reached")
    assert len(changes) == before + 1
    since = status.snapshot()["since"]
    assert status.snapshot()["since"] == since
    status.set_streams(("back",))
    assert len(changes) == before + 2
    # A camera that is not there any more says something still.
    front.absent("stopped sending")
    assert list(status.snapshot()["streams"]) == ["back"]


def test_a_configuration_that_was_refused_is_reported_until_one_is_taken(status: Status) -> None:
    status.set_configuration_refused("publish.topic: 'em/#' is no topic")
    assert status.snapshot()["configuration_refused"] == "publish.topic: 'em/#' is no topic"
    status.set_configuration_refused("")
    assert "configuration_refused" not in status.snapshot()


def test_a_change_is_reported_though_somebody_asked_in_between(
    changes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    status = Status(lambda: changes.append(1))
    status.set_streams(("front",))
    changes.clear()
    tell = status._notify

    def asked_before() -> None:
        status.snapshot()
        tell()

    monkeypatch.setattr(status, "_notify", asked_before)
    status.set_camera("front", "absent", "no answer")
    assert changes == [1]


def test_each_stream_and_the_agent_have_their_own_since(status: Status) -> None:
    before = status.snapshot()
    CameraStatusListener(status, "front").absent("cannot be reached")
    until(lambda: utc_now() > status.snapshot()["streams"]["front"]["since"])
    status.set_agent(False, "it has gone")
    status.set_camera("front", "absent", "stopped sending")
    after = status.snapshot()
    assert after["agent"]["status"] == "no agent"
    assert after["agent"]["reason"] == "it has gone"
    assert before["agent"]["since"] < after["agent"]["since"]
    assert before["streams"]["front"]["since"] <= after["streams"]["front"]["since"] < after["agent"]["since"]
    assert after["streams"]["back"]["since"] == before["streams"]["back"]["since"]


def test_the_last_result_of_a_stream_is_known_by_the_clock_and_by_seconds(
    status: Status, changes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    front = status.snapshot()["streams"]["front"]
    assert "last_result" not in front
    changes.clear()
    status.result("front")
    assert changes == []
    first = status.snapshot()["streams"]["front"]
    until(lambda: status.snapshot()["streams"]["front"]["seconds_without_result"] >= 0.2)
    # The clock is set forward by two days: what is counted in seconds stays right.
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 172_800)
    assert status.snapshot()["streams"]["front"]["last_result"] == first["last_result"]
    assert status.snapshot()["streams"]["front"]["seconds_without_result"] < 100
    begin = time.monotonic()
    status.result("front")
    status.result("unknown")
    assert status.snapshot()["streams"]["front"]["seconds_without_result"] <= time.monotonic() - begin + 0.001
    assert status.snapshot()["streams"]["front"]["last_result"] > first["last_result"]


def test_a_result_that_cannot_be_published_is_none(status: Status) -> None:
    status.set_publisher(False, "no route")
    status.result("front")
    assert "last_result" not in status.snapshot()["streams"]["front"]
    status.set_publisher(True)
    status.result("front")
    assert "last_result" in status.snapshot()["streams"]["front"]
