"""Outlets against the embedded broker (MQTT 3.1.1), and what they say in TLS."""

import json
import queue
import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from awscrt import io, mqtt
from awscrt.exceptions import AwsCrtError

from certificates import Certificates
from emflow_emulator.access import BrokerUser
from emflow_emulator.broker import Broker

if TYPE_CHECKING:
    from edge.conftest import Edge
from emflow_edge.results.mqtt import Mqtt5Sink, Mqtt311Sink
from emflow_edge.results.sinks import Destination, Message, StdoutSink, destination
from emflow_schema.errors import EdgeProblem
from support import PATIENCE


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@contextmanager
def subscribed(broker: Broker, topic: str) -> Iterator["queue.Queue[bytes]"]:
    """What arrives on a topic while the block runs."""
    client = mqtt.Client(io.ClientBootstrap.get_or_create_static_default())
    user = {"username": broker.user.name, "password": broker.user.password}
    connection = mqtt.Connection(client, "127.0.0.1", broker.port, str(uuid.uuid4()), clean_session=True, **user)
    connection.connect().result(PATIENCE)
    arrived: queue.Queue[bytes] = queue.Queue()
    done, _ = connection.subscribe(topic, mqtt.QoS.AT_LEAST_ONCE, lambda topic, payload, **_: arrived.put(payload))
    done.result(PATIENCE)
    yield arrived
    connection.disconnect().result(PATIENCE)


def outlet_to(port: int, user: BrokerUser) -> Mqtt311Sink:
    to = Destination("mqtt", "127.0.0.1", port, username=user.name, password=user.password)
    return Mqtt311Sink(to, "thing")


@pytest.mark.parametrize("qos", [0, 1])
def test_messages_reach_whoever_listens_on_the_topic_in_order(broker: Broker, qos: int) -> None:
    outlet = outlet_to(broker.port, broker.user)
    outlet.open(lambda: None, None)
    with subscribed(broker, "em/inference") as arrived:
        sent = [
            outlet.send(Message("em/inference", json.dumps({"sequence": number, "label": "Zürich"}), qos))
            for number in range(20)
        ]
        for answer in sent:
            answer.result(PATIENCE)
        got = [json.loads(arrived.get(timeout=PATIENCE)) for _ in range(20)]
    outlet.close()
    assert got == [{"sequence": number, "label": "Zürich"} for number in range(20)]


def test_a_broker_that_is_not_there_is_an_error_and_its_return_is_not(absent_port: int) -> None:
    user = BrokerUser.new()
    outlet = outlet_to(absent_port, user)
    with pytest.raises(AwsCrtError, match="CONNECTION_REFUSED"):
        outlet.open(lambda: None, None)
    outlet.close()
    with Broker(port=absent_port, user=user):
        outlet.open(lambda: None, None)
        outlet.send(Message("em/inference", "{}")).result(PATIENCE)
        outlet.close()


def test_a_broker_that_goes_away_is_reported_and_it_can_be_opened_again(broker: Broker) -> None:
    lost = threading.Event()
    outlet = outlet_to(broker.port, broker.user)
    outlet.open(lost.set, None)
    broker.stop()
    assert lost.wait(PATIENCE)
    outlet.close()
    with Broker(port=broker.port, user=broker.user), subscribed(broker, "em/inference") as arrived:
        outlet.open(lambda: None, None)
        outlet.send(Message("em/inference", "again")).result(PATIENCE)
        assert arrived.get(timeout=PATIENCE) == b"again"
        outlet.close()


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_broker_that_refuses_the_user_is_an_error(broker: Broker, password: str | None) -> None:
    to = Destination("mqtt", "127.0.0.1", broker.port, username=broker.user.name, password=password)
    outlet = Mqtt311Sink(to, "thing")
    with pytest.raises((AwsCrtError, ConnectionError, TimeoutError, FutureTimeoutError)):
        outlet.open(lambda: None, None)
    outlet.close()


def test_a_broker_that_does_not_know_mqtt_5_is_an_error(broker: Broker) -> None:
    outlet = Mqtt5Sink(Destination("mqtt", "127.0.0.1", broker.port), "thing", 0)
    with pytest.raises((AwsCrtError, ConnectionError, TimeoutError, FutureTimeoutError)):
        outlet.open(lambda: None, None)
    outlet.close()


@pytest.mark.parametrize("file", ["cert", "ca"])
def test_a_certificate_that_is_none_is_reported(tmp_path: Path, absent_port: int, file: str) -> None:
    pem = tmp_path / "a.pem"
    pem.write_text("no certificate")
    files: dict[str, Any] = {"cert": pem, "key": pem} if file == "cert" else {"ca": pem}
    to = Destination("mqtt", "127.0.0.1", absent_port, tls=True, **files)
    for outlet in (Mqtt311Sink(to, "thing"), Mqtt5Sink(to, "thing", 0)):
        with pytest.raises(EdgeProblem, match="no certificate or key that TLS can use"):
            outlet.open(lambda: None, None)


@pytest.mark.parametrize(
    ("url", "alpn"), [("mqtts://a:443", "x-amzn-mqtt-ca"), ("mqtts://a", ""), ("mqtt://a:443", "")]
)
def test_the_port_of_https_names_the_protocol_that_aws_iot_knows(url: str, alpn: str) -> None:
    assert destination(url).alpn == alpn


@pytest.mark.parametrize("kind", [Mqtt311Sink, lambda to, name: Mqtt5Sink(to, name, 0)])
def test_the_protocol_is_named_while_tls_is_negotiated(certificates: Certificates, kind: type[Mqtt311Sink]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server.cert, certificates.server.key)
    context.set_alpn_protocols(["http/1.1", "x-amzn-mqtt-ca"])
    named: list[str | None] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)

        def serve() -> None:
            taken, _ = listener.accept()
            with context.wrap_socket(taken, server_side=True) as secured:
                named.append(secured.selected_alpn_protocol())

        server = threading.Thread(target=serve)
        server.start()
        port = listener.getsockname()[1]
        to = Destination("mqtt", "127.0.0.1", port, tls=True, ca=certificates.ca, alpn="x-amzn-mqtt-ca")
        outlet = kind(to, "thing")
        with pytest.raises((AwsCrtError, ConnectionError, TimeoutError, FutureTimeoutError)):
            outlet.open(lambda: None, None)
        server.join(PATIENCE)
        outlet.close()
    assert named == ["x-amzn-mqtt-ca"]


def test_standard_output_has_results_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    outlet = StdoutSink()
    outlet.open(lambda: None, None)
    for message in (Message("a", "one"), Message("status", "{}", lasting=True), Message("b", "two")):
        outlet.send(message).result(0)
    assert capsys.readouterr().out == "one\ntwo\n"


@pytest.mark.e2e
def test_the_component_publishes_to_a_broker_without_greengrass(
    broker: Broker, edge: "Edge", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMFLOW_MQTT_USERNAME", broker.user.name)
    monkeypatch.setenv("EMFLOW_MQTT_PASSWORD", broker.user.password)
    edge.agent()
    _, url = edge.camera()
    with subscribed(broker, "my/results") as arrived:
        component = edge.run(url, "--publish", f"mqtt://127.0.0.1:{broker.port}", "--topic", "my/results")
        assert json.loads(arrived.get(timeout=PATIENCE))["sequence"] == 0
        assert component.end() == 0
    assert "Traceback" not in component.text()
