"""IPC, proved against the client that components use: awsiotsdk's GreengrassCoreIPCClientV2."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from awsiot.eventstreamrpc import AccessDeniedError
from awsiot.greengrasscoreipc import connect, model
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

from emflow.problems import Problem
from emflow_emulator.core.ipc.frames import Decoder, Flags, Kind, Message, encode
from emflow_emulator.core.ipc.server import IpcServer
from emflow_emulator.core.logs import DeviceLog
from emulator.core.ipc_device import Device
from emulator.core.pieces import lines, publishing

CONFIGURATIONS = {
    "app": publishing("em/inference", "free/*") | {"topic": "em/inference", "deep": {"list": ["x"]}},
    "other": {"key": "value"},
}


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path, CONFIGURATIONS)


@pytest.fixture
def path(tmp_path: Path, device: Device) -> Iterator[Path]:
    path = tmp_path / "ipc.socket"
    server = IpcServer(path, {"app's": "app"}.get, device.operations, DeviceLog(tmp_path / "greengrass.log"))
    server.start()
    yield path
    server.stop()
    assert not path.exists()


@pytest.fixture
def client(path: Path) -> Iterator[GreengrassCoreIPCClientV2]:
    client = GreengrassCoreIPCClientV2(client=connect(ipc_socket=str(path), authtoken="app's"))
    yield client
    client.close().result(10)


def test_a_publish_arrives_whole(client: Any, device: Device) -> None:
    payload = bytes(range(256)) * 400
    client.publish_to_iot_core(topic_name="em/inference", qos="1", payload=payload)
    client.publish_to_iot_core(topic_name="free/topic", qos="0", payload="text", retain=True)

    assert device.published == [("em/inference", payload, 1, False), ("free/topic", b"text", 0, True)]


def test_a_topic_that_access_control_does_not_name_is_refused(client: Any, device: Device, tmp_path: Path) -> None:
    with pytest.raises(model.UnauthorizedError) as caught:
        client.publish_to_iot_core(topic_name="em/other", qos="1", payload=b"x")

    assert "app is not authorized" in caught.value.message
    assert "em/other" in caught.value.message
    assert not device.published
    assert any("UnauthorizedError" in line for line in lines(tmp_path / "greengrass.log"))


def test_what_the_bridge_refuses_is_a_service_error(client: Any, device: Device) -> None:
    device.refuses = "Message spool is full."
    with pytest.raises(model.ServiceError) as caught:
        client.publish_to_iot_core(topic_name="em/inference", qos="1", payload=b"x")

    assert caught.value.message == "Publish to topic em/inference failed with error Message spool is full."


def test_configuration_whole_in_part_and_of_another_component(client: Any) -> None:
    whole = client.get_configuration()
    assert (whole.component_name, whole.value) == ("app", CONFIGURATIONS["app"])
    assert client.get_configuration(key_path=["deep"]).value == {"list": ["x"]}
    assert client.get_configuration(key_path=["topic"]).value == {"topic": "em/inference"}
    assert client.get_configuration(key_path=["deep", "list"]).value == {"list": ["x"]}
    assert client.get_configuration(component_name="other").value == {"key": "value"}


@pytest.mark.parametrize("request_", [{"key_path": ["nothing"]}, {"component_name": "unknown"}])
def test_configuration_that_is_not_there(client: Any, request_: dict[str, Any]) -> None:
    with pytest.raises(model.ResourceNotFoundError) as caught:
        client.get_configuration(**request_)
    assert caught.value.message == "Key not found"


def test_a_component_says_what_state_it_is_in(client: Any, device: Device) -> None:
    client.update_state(state="RUNNING")
    client.update_state(state="ERRORED")

    assert device.states == [("app", "RUNNING"), ("app", "ERRORED")]


def test_an_operation_that_is_not_answered_here_says_so_and_the_connection_goes_on(client: Any) -> None:
    with pytest.raises(model.ServiceError) as caught:
        client.get_thing_shadow(thing_name="x", shadow_name="y")
    assert "GetThingShadow is not supported" in caught.value.message
    assert client.get_configuration(key_path=["topic"]).value


@pytest.mark.parametrize("token", ["somebody else's", "app"])
def test_a_wrong_token_is_refused(path: Path, token: str) -> None:
    with pytest.raises(AccessDeniedError):
        connect(ipc_socket=str(path), authtoken=token)


def test_several_components_and_many_calls_at_once(path: Path, client: Any, device: Device) -> None:
    others = [GreengrassCoreIPCClientV2(client=connect(ipc_socket=str(path), authtoken="app's")) for _ in range(3)]
    calls = [
        each.publish_to_iot_core_async(topic_name="free/n", qos="1", payload=b"%d" % number)
        for each in (client, *others)
        for number in range(50)
    ]
    for call in calls:
        call.result(10)
    for each in others:
        each.close().result(10)

    assert len(device.published) == 200


@pytest.fixture
def raw(path: Path) -> Iterator[Callable[[bytes], list[Message]]]:
    """Sends bytes on one connection; gives the messages that come back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        decoder = Decoder()

        def exchange(data: bytes) -> list[Message]:
            connection.sendall(data)
            return list(decoder.feed(connection.recv(65536)))

        yield exchange


CONNECT = encode(Message(Kind.CONNECT, payload=b'{"authToken": "app\'s"}', headers={":version": "0.1.0"}))


def test_an_operation_of_another_service_is_unsupported(raw: Callable[[bytes], list[Message]]) -> None:
    assert raw(CONNECT) == [Message(Kind.CONNECT_ACK, flags=Flags.ACCEPTED)]
    (answer,) = raw(encode(Message(Kind.MESSAGE, 1, payload=b"{}", headers={"operation": "aws.other#Thing"})))

    assert (answer.kind, answer.stream, answer.flags) == (Kind.ERROR, 1, Flags.TERMINATE)
    assert answer.headers["service-model-type"] == "aws#UnsupportedOperation"


def test_a_ping_is_answered(raw: Callable[[bytes], list[Message]]) -> None:
    raw(CONNECT)
    assert raw(encode(Message(Kind.PING, payload=b"x"))) == [Message(Kind.PING_RESPONSE, payload=b"x")]


def test_nothing_works_before_connect(raw: Callable[[bytes], list[Message]]) -> None:
    request = Message(Kind.MESSAGE, 1, payload=b"{}", headers={"operation": "aws.greengrass#GetConfiguration"})
    (answer,) = raw(encode(request))
    assert answer.kind is Kind.PROTOCOL_ERROR
    assert raw(CONNECT) == []  # the connection is closed


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", CONNECT[:-1] + b"\x00"])
def test_bytes_that_are_no_frame_end_the_connection(raw: Callable[[bytes], list[Message]], garbage: bytes) -> None:
    (answer,) = raw(garbage)
    assert answer.kind is Kind.PROTOCOL_ERROR


@pytest.mark.parametrize("version", [{}, {":version": "0.2.0"}])
def test_another_version_of_the_protocol_is_refused(
    raw: Callable[[bytes], list[Message]], version: dict[str, str]
) -> None:
    message = Message(Kind.CONNECT, payload=b'{"authToken": "app\'s"}', headers=version)
    assert raw(encode(message)) == [Message(Kind.CONNECT_ACK)]


def test_a_request_that_is_no_json_object_is_an_invalid_argument(raw: Callable[[bytes], list[Message]]) -> None:
    raw(CONNECT)
    request = Message(Kind.MESSAGE, 1, payload=b"[1]", headers={"operation": "aws.greengrass#GetConfiguration"})
    (answer,) = raw(encode(request))
    assert answer.headers["service-model-type"] == "aws.greengrass#InvalidArgumentsError"


def test_a_socket_left_by_one_that_died_is_no_obstacle(tmp_path: Path, device: Device) -> None:
    path = tmp_path / "ipc.socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = IpcServer(path, {"app's": "app"}.get, device.operations, DeviceLog(tmp_path / "log"))
    server.start()
    connect(ipc_socket=str(path), authtoken="app's").close().result(10)
    server.stop()


def test_a_folder_that_is_not_there_is_a_problem(tmp_path: Path, device: Device) -> None:
    server = IpcServer(tmp_path / "no" / "s", lambda _: None, device.operations, DeviceLog(tmp_path / "log"))
    with pytest.raises(Problem, match="cannot listen"):
        server.start()


def ask(raw: Callable[[bytes], list[Message]], operation: str, payload: bytes) -> Message:
    """What an operation on a connection of its own is answered."""
    assert raw(CONNECT) == [Message(Kind.CONNECT_ACK, flags=Flags.ACCEPTED)]
    request = Message(Kind.MESSAGE, 1, payload=payload, headers={"operation": f"aws.greengrass#{operation}"})
    (answer,) = raw(encode(request))
    (whole,) = raw(encode(Message(Kind.PING, payload=b"still there")))
    assert whole.kind is Kind.PING_RESPONSE
    return answer


@pytest.mark.parametrize(
    ("operation", "request_", "reason"),
    [
        ("GetConfiguration", b'{"keyPath": 5}', "keyPath"),
        ("GetConfiguration", b'{"keyPath": [["deep"]]}', "keyPath"),
        ("GetConfiguration", b'{"componentName": ["x"]}', "componentName"),
        ("GetConfiguration", b"[" * 100_000, "JSON object"),
        ("GetConfiguration", b"\xff", "JSON object"),
        ("PublishToIoTCore", '{"topicName": "free/x", "payload": "é"}'.encode(), "payload is not base64"),
        ("PublishToIoTCore", b'{"topicName": "free/x", "payload": 5}', "payload is not base64"),
        ("PublishToIoTCore", b'{"topicName": ["free/x"]}', "topicName"),
        ("UpdateState", b'{"state": ["RUNNING"]}', "state"),
    ],
)
def test_a_request_of_a_wrong_shape_is_refused_and_the_connection_goes_on(
    raw: Callable[[bytes], list[Message]], operation: str, request_: bytes, reason: str
) -> None:
    answer = ask(raw, operation, request_)

    assert answer.headers["service-model-type"] == "aws.greengrass#InvalidArgumentsError"
    assert reason in json.loads(answer.payload)["message"]


def test_an_unexpected_error_is_a_service_error_and_the_connection_stays(
    raw: Callable[[bytes], list[Message]], device: Device, tmp_path: Path
) -> None:
    device.states = None  # type: ignore[assignment]
    answer = ask(raw, "UpdateState", b'{"state": "RUNNING"}')

    assert answer.headers["service-model-type"] == "aws.greengrass#ServiceError"
    assert any("AttributeError" in line for line in lines(tmp_path / "greengrass.log"))


@pytest.mark.parametrize(
    "payload", [b"[" * 100_000, b"[]", b"\xff", b'{"authToken": 5}', '{"authToken": "é"}'.encode()]
)
def test_a_greeting_of_a_wrong_shape_is_refused(raw: Callable[[bytes], list[Message]], payload: bytes) -> None:
    message = Message(Kind.CONNECT, payload=payload, headers={":version": "0.1.0"})
    assert raw(encode(message)) == [Message(Kind.CONNECT_ACK)]
