"""Publish through a nucleus: the virtual core's IPC with a component's own client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.greengrass_core import COMPONENT, Core, publishing
from edge.results.scripted_sink import large, result
from edge.results.small_messages import SmallMessages
from emflow_edge.ipc import SOCKET_VARIABLE, Nucleus
from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.results.publisher import Publisher
from emflow_edge.results.sinks import GreengrassSink, Message, MessageRejected, MessageTooLarge, offline_messages
from emflow_schema.edge_config import Publish
from support import until

STATUS = Publish(status_topic="em/status")


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Core]:
    core = Core(tmp_path, lambda *_, **__: pytest.fail("no process is needed"))
    core.deploy(publishing("em/inference", "em/status"))
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "ipc.socket"))
    monkeypatch.setenv("SVCUID", COMPONENT)
    yield core
    core.close()


@pytest.fixture
def nucleus(core: Core) -> Iterator[Nucleus]:
    nucleus = Nucleus()
    yield nucleus
    nucleus.close()


def publisher(nucleus: Nucleus, counters: Counters, to: Publish, **options: Any) -> Publisher:
    out = Publisher(GreengrassSink(nucleus), to, counters, StageLatencies(), lambda _: None, **options)
    out.start()
    return out


def test_messages_arrive_in_order_with_what_they_ask_for(core: Core, nucleus: Nucleus) -> None:
    outlet = GreengrassSink(nucleus)
    outlet.open(lambda: None, None)
    sent = [outlet.send(Message("em/inference", str(number), qos=number % 2)) for number in range(20)]
    sent.append(outlet.send(Message("em/status", "{}", retain=True)))
    for answer in sent:
        answer.result(10)
    assert core.device.published == [
        *(("em/inference", str(number).encode(), number % 2, False) for number in range(20)),
        ("em/status", b"{}", 1, True),
    ]


def test_a_topic_that_access_control_does_not_allow_is_refused(core: Core, nucleus: Nucleus) -> None:
    answer = GreengrassSink(nucleus).send(Message("em/other", "{}"))
    with pytest.raises(MessageRejected, match="em/other"):
        answer.result(10)


def test_a_broker_that_refuses_is_tried_again(core: Core, nucleus: Nucleus) -> None:
    core.device.refuses = "away"
    counters, troubles = Counters(), list[str]()
    out = publisher(nucleus, counters, Publish(), failing=troubles.append)
    out.put(result(0))
    until(lambda: troubles, what="the refusal")
    core.device.refuses = ""
    until(lambda: counters.snapshot()["published"] == 1, what="the result")
    assert out.close(5)
    assert [one["sequence"] for one in core.published()] == [0]


def test_a_nucleus_that_goes_away_and_comes_back_gets_the_newest_first(core: Core, nucleus: Nucleus) -> None:
    counters, troubles = Counters(), list[str]()
    out = publisher(nucleus, counters, Publish(), failing=troubles.append, depth=3)
    out.put(result(0))
    until(lambda: counters.snapshot()["published"] == 1, what="the first result")
    core.stop()
    out.put(result(1))
    until(lambda: any(troubles), what="it to notice")
    for number in range(2, 8):
        out.put(result(number))
    core.start()
    until(lambda: counters.snapshot()["published"] == 4, what="what was kept")
    assert out.close(5)
    assert [one["sequence"] for one in core.published()] == [0, 7, 6, 5]
    assert counters.snapshot()["dropped"] == 4


def test_a_status_says_that_the_run_has_ended_though_the_nucleus_has_no_wills(core: Core, nucleus: Nucleus) -> None:
    words = offline_messages(STATUS, "a-thing", "1.0.0")
    out = publisher(nucleus, Counters(), STATUS, offline_messages=words)
    out.announce("em/status", '{"status": "running"}', retain=True)
    assert out.close(5)
    topics = [(topic, retain) for topic, _, _, retain in core.device.published]
    assert topics == [("em/status", True), ("em/status", True)]
    assert [one["status"] for one in core.published("em/status")] == ["running", "offline"]


def test_a_status_that_may_not_be_published_holds_up_no_result(
    core: Core, nucleus: Nucleus, caplog: pytest.LogCaptureFixture
) -> None:
    core.deploy(publishing("em/inference"))
    counters = Counters()
    out = publisher(nucleus, counters, STATUS, offline_messages=offline_messages(STATUS, "a-thing", "1.0.0"))
    for number in range(3):
        out.announce("em/status", json.dumps({"number": number}), retain=True)
        out.put(result(number))
    until(lambda: counters.snapshot()["published"] == 3, what="the results")
    assert out.close(5)
    said = [record.getMessage() for record in caplog.records if "em/status is rejected" in record.getMessage()]
    assert len(said) == 1


@pytest.mark.parametrize(("lite", "fits", "does_not"), [(True, 7200, 7400), (False, 130_000, 131_073)])
def test_what_is_larger_than_the_nucleus_takes_is_not_sent(
    core: Core, nucleus: Nucleus, lite: bool, fits: int, does_not: int
) -> None:
    nucleus.is_lite = lite
    outlet = GreengrassSink(nucleus)
    outlet.send(Message("em/inference", "x" * fits)).result(10)
    whose = "the lite nucleus" if lite else "AWS IoT"
    with pytest.raises(MessageTooLarge, match=f"a message of .* bytes is not sent, {whose} takes"):
        outlet.send(Message("em/inference", "x" * does_not)).result(10)
    assert [len(payload) for _, payload, _, _ in core.device.published] == [fits]


@pytest.mark.parametrize("lite", [True, False])
def test_the_lite_nucleus_is_known_by_an_operation_that_it_has_not(core: Core, nucleus: Nucleus, lite: bool) -> None:
    if lite:
        del core.device.operations._streams["SubscribeToValidateConfigurationUpdates"]
    nucleus.follow_configuration(lambda _: None, lambda _: "")
    assert nucleus.is_lite == lite


def test_a_connection_that_is_lost_is_told_and_an_attempt_that_fails_is_not(core: Core, nucleus: Nucleus) -> None:
    losses: list[int] = []
    GreengrassSink(nucleus).open(lambda: losses.append(1), None)
    core.stop()
    until(lambda: losses, what="the loss")
    core.start()
    outlet = GreengrassSink(nucleus)

    def published() -> bool:
        try:
            outlet.send(Message("em/inference", "{}")).result(10)
        except Exception:
            return False
        return True

    until(published, what="the connection")
    assert losses == [1]


def test_a_message_on_which_the_nucleus_hangs_up_twice_is_set_aside(
    core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    between = SmallMessages(tmp_path / "lite.socket", tmp_path / "ipc.socket", 10_000)
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "lite.socket"))
    nucleus = Nucleus()
    counters = Counters()
    out = publisher(nucleus, counters, Publish())
    out.put(result(0))
    out.put(large(200, 1))
    out.put(result(2))
    until(lambda: counters.snapshot()["published"] == 2, what="the results that the nucleus takes")
    until(lambda: counters.snapshot()["dropped"] == 1, what="the other to be set aside")
    assert between.hung_up == 2
    assert out.close(5)
    nucleus.close()
    between.close()
