"""Topics over IPC: what comes from the broker, and messages between components."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from awsiot.greengrasscoreipc import model

from emulator.core.ipc_device import Events, IpcTestServer, access, refused
from support import until

MQTT = access("aws.greengrass.ipc.mqttproxy", ["SubscribeToIoTCore"], ["cmd/#", "exact/topic", "one/+"])
LOCAL = access("aws.greengrass.ipc.pubsub", ["PublishToTopic", "SubscribeToTopic"], ["local/*"])


@pytest.fixture
def ipc(tmp_path: Path) -> Iterator[IpcTestServer]:
    both = {"accessControl": MQTT["accessControl"] | LOCAL["accessControl"]}
    ipc = IpcTestServer(tmp_path, {"app": both, "other": both, "nobody": {}})
    yield ipc
    ipc.close()


@pytest.fixture
def app(ipc: IpcTestServer) -> Any:
    return ipc.client("app")


def test_messages_of_the_broker_reach_those_whose_filter_fits(ipc: IpcTestServer, app: Any) -> None:
    all_, one = Events(), Events()
    app.subscribe_to_iot_core(topic_name="cmd/#", qos="1", on_stream_event=all_)
    app.subscribe_to_iot_core(topic_name="cmd/+/go", qos="0", on_stream_event=one)
    ipc.device.arrives("cmd/x", b"first")
    ipc.device.arrives("cmd/x/go", bytes(range(256)))

    heard = [all_.next().message for _ in range(2)]
    assert [(each.topic_name, each.payload) for each in heard] == [
        ("cmd/x", b"first"),
        ("cmd/x/go", bytes(range(256))),
    ]
    assert one.next().message.topic_name == "cmd/x/go"
    assert one.none


def test_who_leaves_is_subscribed_to_nothing(ipc: IpcTestServer, app: Any) -> None:
    _, operation = app.subscribe_to_iot_core(topic_name="cmd/a", qos="1", on_stream_event=Events())
    other = ipc.client("other")
    other.subscribe_to_iot_core(topic_name="cmd/b", qos="1", on_stream_event=Events())
    assert sorted(ipc.device.listens) == ["cmd/a", "cmd/b"]
    operation.close().result(10)
    until(lambda: ipc.device.listens == ["cmd/b"])
    ipc.leave(other)
    until(lambda: ipc.device.listens == [])


@pytest.mark.parametrize("topic", ["#", "other", "exact/#", "exact/+", "one/#", "one/a/b"])
def test_a_filter_that_is_wider_than_access_control_is_refused(ipc: IpcTestServer, app: Any, topic: str) -> None:
    with refused(model.UnauthorizedError, "app is not authorized"):
        app.subscribe_to_iot_core(topic_name=topic, qos="1", on_stream_event=Events())
    assert ipc.device.listens == []


def test_a_subscription_that_the_broker_refuses_is_a_service_error(ipc: IpcTestServer, app: Any) -> None:
    with refused(model.ServiceError, "cmd/x#"):
        app.subscribe_to_iot_core(topic_name="cmd/x#", qos="1", on_stream_event=Events())
    ipc.device.refuses = "the broker does not answer"
    with refused(model.ServiceError, "the broker does not answer"):
        app.subscribe_to_iot_core(topic_name="cmd/x", qos="1", on_stream_event=Events())


def test_components_talk_to_each_other_on_the_device(ipc: IpcTestServer, app: Any) -> None:
    other, everything, others_only = ipc.client("other"), Events(), Events()
    app.subscribe_to_topic(topic="local/+", on_stream_event=everything)
    app.subscribe_to_topic(topic="local/#", receive_mode="RECEIVE_MESSAGES_FROM_OTHERS", on_stream_event=others_only)
    app.publish_to_topic(
        topic="local/a", publish_message=model.PublishMessage(json_message=model.JsonMessage(message={"n": 1}))
    )
    other.publish_to_topic(
        topic="local/b", publish_message=model.PublishMessage(binary_message=model.BinaryMessage(message=b"\0\xff"))
    )

    first, second = everything.next(), everything.next()
    assert (first.json_message.message, first.json_message.context.topic) == ({"n": 1}, "local/a")
    assert (second.binary_message.message, second.binary_message.context.topic) == (b"\0\xff", "local/b")
    assert others_only.next().binary_message.context.topic == "local/b"
    assert others_only.none
    assert ipc.device.published == []


def test_local_topics_need_access_as_well(ipc: IpcTestServer) -> None:
    nobody, message = ipc.client("nobody"), model.PublishMessage(json_message=model.JsonMessage(message={}))
    with pytest.raises(model.UnauthorizedError):
        nobody.publish_to_topic(topic="local/a", publish_message=message)
    with pytest.raises(model.UnauthorizedError):
        nobody.subscribe_to_topic(topic="local/a", on_stream_event=Events())


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("local/+", model.PublishMessage(json_message=model.JsonMessage(message={}))),
        ("local/a", None),
        ("local/a", model.PublishMessage()),
    ],
)
def test_local_messages_that_make_no_sense(app: Any, topic: str, message: Any) -> None:
    with pytest.raises(model.InvalidArgumentsError):
        app.publish_to_topic(topic=topic, publish_message=message)
