"""The data endpoint of IoT: the broker's retained messages, and messages to its subscribers."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from awscrt import mqtt
from botocore.exceptions import ClientError

from emflow_emulator.aws import REGION, EmbeddedAws
from emflow_emulator.broker import Broker
from emflow_emulator.mqtt.packets import LARGEST_PAYLOAD
from support import until

TIMEOUT = 30


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture(scope="module")
def data(broker: Broker) -> Iterator[Any]:
    """A boto3 client of the data endpoint of an AWS that has this broker."""
    with EmbeddedAws(port=0, broker=broker) as aws:
        session = boto3.Session(aws.credentials.id, aws.credentials.secret, region_name=REGION)
        yield session.client("iot-data", endpoint_url=aws.endpoint_url)


@pytest.fixture
def device(broker: Broker) -> Iterator[mqtt.Connection]:
    user = {"username": broker.user.name, "password": broker.user.password}
    connection = mqtt.Connection(
        mqtt.Client(), broker.host, broker.port, client_id=uuid.uuid4().hex, clean_session=True, **user
    )
    connection.connect().result(TIMEOUT)
    yield connection
    connection.disconnect().result(TIMEOUT)


@pytest.mark.parametrize("topic", ["em/status/board-1", "em/stätus/%2F", "plain"])
def test_what_a_device_has_retained_can_be_read(data: Any, device: mqtt.Connection, topic: str) -> None:
    before = int(time.time() * 1000)
    payload = b'{"status": "running"}\xff\x00'
    device.publish(topic, payload, mqtt.QoS.AT_LEAST_ONCE, retain=True)[0].result(TIMEOUT)
    found = data.get_retained_message(topic=topic)
    assert (found["topic"], found["payload"], found["qos"]) == (topic, payload, 1)
    assert before <= found["lastModifiedTime"] <= int(time.time() * 1000)
    (listed,) = [each for each in data.list_retained_messages()["retainedTopics"] if each["topic"] == topic]
    assert (listed["payloadSize"], listed["qos"]) == (len(payload), 1)
    device.publish(topic, b"", mqtt.QoS.AT_LEAST_ONCE, retain=True)[0].result(TIMEOUT)
    with pytest.raises(data.exceptions.ResourceNotFoundException):
        data.get_retained_message(topic=topic)


def test_what_is_published_over_http_reaches_subscribers(data: Any, device: mqtt.Connection) -> None:
    arrived: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
    device.subscribe("em/#", mqtt.QoS.AT_LEAST_ONCE, lambda topic, payload, **_: arrived.put((topic, payload)))[
        0
    ].result(TIMEOUT)
    data.publish(topic="em/orders", qos=1, payload=b"not JSON: \xff")
    assert arrived.get(timeout=TIMEOUT) == ("em/orders", b"not JSON: \xff")
    data.publish(topic="em/kept", qos=1, retain=True, payload=b"x")
    until(lambda: arrived.get(timeout=TIMEOUT) == ("em/kept", b"x"))
    assert data.get_retained_message(topic="em/kept")["payload"] == b"x"


@pytest.mark.parametrize(("topic", "size"), [("em/#", 1), ("em/x", LARGEST_PAYLOAD + 1), ("1/2/3/4/5/6/7/8/9", 1)])
def test_what_the_broker_would_not_take_is_refused(data: Any, topic: str, size: int) -> None:
    with pytest.raises(ClientError) as refused:
        data.publish(topic=topic, payload=bytes(size))
    assert refused.value.response["Error"]["Code"] == "InvalidRequestException"


def test_an_aws_without_a_broker_has_no_retained_messages(client: Any) -> None:
    data = client("iot-data")
    assert data.list_retained_messages()["retainedTopics"] == []
    with pytest.raises(data.exceptions.ResourceNotFoundException):
        data.get_retained_message(topic="em/status")
