import json
import queue
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from awscrt import io, mqtt
from awscrt.exceptions import AwsCrtError

from emflow.local.broker import Broker

if TYPE_CHECKING:
    from conftest import Edge
from emflow_edge.problems import EdgeProblem
from emflow_edge.results.outlets import Destination, MqttOutlet


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@contextmanager
def subscribed(port: int, topic: str) -> Iterator["queue.Queue[bytes]"]:
    """What arrives on a topic while the block runs."""
    client = mqtt.Client(io.ClientBootstrap.get_or_create_static_default())
    connection = mqtt.Connection(client, "127.0.0.1", port, str(uuid.uuid4()), clean_session=True)
    connection.connect().result(10)
    arrived: queue.Queue[bytes] = queue.Queue()
    done, _ = connection.subscribe(topic, mqtt.QoS.AT_LEAST_ONCE, lambda topic, payload, **_: arrived.put(payload))
    done.result(10)
    yield arrived
    connection.disconnect().result(10)


@pytest.mark.parametrize("qos", [0, 1])
def test_results_reach_whoever_listens_on_the_topic(broker: Broker, qos: int) -> None:
    outlet = MqttOutlet(Destination("mqtt", "127.0.0.1", broker.port), "thing", "em/inference", qos)
    with subscribed(broker.port, "em/inference") as arrived:
        for number in range(3):
            outlet.send(json.dumps({"sequence": number, "label": "Zürich"}))
        got = [json.loads(arrived.get(timeout=10)) for _ in range(3)]
    outlet.close()
    assert got == [{"sequence": number, "label": "Zürich"} for number in range(3)]


def test_a_broker_that_is_not_there_is_an_error_and_its_return_is_not(absent_port: int) -> None:
    outlet = MqttOutlet(Destination("mqtt", "127.0.0.1", absent_port), "thing", "em/inference", 1)
    with pytest.raises(AwsCrtError, match="CONNECTION_REFUSED"):
        outlet.send("{}")
    with Broker(port=absent_port), subscribed(absent_port, "em/inference") as arrived:
        outlet.send('{"sequence": 1}')
        assert arrived.get(timeout=10) == b'{"sequence": 1}'
        outlet.close()


def test_a_broker_that_went_away_and_came_back_gets_the_next_result(broker: Broker) -> None:
    outlet = MqttOutlet(Destination("mqtt", "127.0.0.1", broker.port), "thing", "em/inference", 1)
    outlet.send("{}")
    broker.stop()
    with pytest.raises((AwsCrtError, TimeoutError)):
        outlet.send("{}")
    with Broker(port=broker.port), subscribed(broker.port, "em/inference") as arrived:
        outlet.send('{"sequence": 1}')
        assert arrived.get(timeout=10) == b'{"sequence": 1}'
        outlet.close()


@pytest.mark.parametrize("file", ["cert", "ca"])
def test_a_certificate_that_is_none_is_told(tmp_path: Path, absent_port: int, file: str) -> None:
    pem = tmp_path / "a.pem"
    pem.write_text("no certificate")
    files = {"cert": pem, "key": pem} if file == "cert" else {"ca": pem}
    outlet = MqttOutlet(Destination("mqtt", "127.0.0.1", absent_port, tls=True, **files), "thing", "em/inference", 1)
    with pytest.raises(EdgeProblem, match="no certificate or key that TLS can use"):
        outlet.send("{}")


@pytest.mark.e2e
def test_the_component_publishes_to_a_broker_without_greengrass(broker: Broker, edge: "Edge") -> None:
    edge.agent()
    _, url = edge.camera()
    with subscribed(broker.port, "my/results") as arrived:
        component = edge.run(url, "--publish", f"mqtt://127.0.0.1:{broker.port}", "--topic", "my/results")
        assert json.loads(arrived.get(timeout=20))["sequence"] == 0
        assert component.end() == 0
    assert "Traceback" not in component.text()
