"""Publish to Mosquitto in MQTT 3.1.1 and 5: restarted, slow, over TLS; last will and retained status."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from certificates import Certificates
from edge.results.scripted_sink import result
from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.results.mqtt import mqtt_sink
from emflow_edge.results.publisher import Publisher
from emflow_edge.results.sinks import Destination, offline_messages
from emflow_schema.edge_config import Publish
from emflow_schema.units import DeviceDuration
from peers.mosquitto import LateAnswers, Listener, Mosquitto, listening, program
from support import PATIENCE, Process, free_port, until

pytestmark = pytest.mark.peer

Start = Callable[..., Process]
Version = Literal["3.1.1", "5"]
BOTH = pytest.mark.parametrize("version", ["3.1.1", "5"])
STATUS = "em/status/a-thing"


@pytest.fixture(autouse=True)
def installed() -> None:
    if program() is None:
        reason = "mosquitto is not installed (Debian: apt-get install mosquitto)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def absent_port() -> int:
    return free_port()


class Out:
    """A publisher to a broker, and what it counted and said."""

    def __init__(self, to: Destination, publishing: Publish, **options: Any) -> None:
        self.counters, self.troubles = Counters(), list[str]()
        told = lambda what: self.troubles.append(str(what)) if what else None  # noqa: E731
        self.publisher = Publisher(
            mqtt_sink(to, "a-thing", publishing),
            publishing,
            self.counters,
            StageLatencies(),
            told,
            told,
            **options,
        )
        self._made = 0
        self.publisher.start()

    def put(self, number: int = 1, **values: Any) -> None:
        for _ in range(number):
            self.publisher.put(result(self._made, **values))
            self._made += 1
            self.counters.add("inferred")

    def published(self, number: int) -> None:
        until(lambda: self.counters.snapshot()["published"] >= number, what=f"{number} published")

    def adds_up(self) -> dict[str, int]:
        now = self.counters.snapshot()
        assert now["published"] + now["dropped"] + now["filtered"] == now["inferred"], now
        return now


def plain(port: int) -> Destination:
    return Destination("mqtt", "127.0.0.1", port)


def sequences(listener: Listener, number: int) -> list[int]:
    return [json.loads(listener.next().payload)["sequence"] for _ in range(number)]


@BOTH
def test_a_broker_that_is_killed_and_comes_back_gets_the_newest_first(
    start: Start, tmp_path: Path, version: Version
) -> None:
    broker = Mosquitto(start, tmp_path)
    out = Out(plain(broker.port), Publish(mqtt=version), depth=3)
    with listening(broker.port, "em/#") as before:
        for number in range(5):
            out.put(1)
            out.published(number + 1)
        assert sequences(before, 5) == [0, 1, 2, 3, 4]
    broker.kill()
    out.put(1)
    until(lambda: out.troubles, what="it to notice")
    out.put(9)
    broker.run()
    with listening(broker.port, "em/#"):
        out.published(8)
    out.put(1)
    assert out.publisher.close(PATIENCE)
    now = out.adds_up()
    assert (now["published"], now["dropped"]) == (9, 7)


@BOTH
def test_another_status_topic_leaves_nothing_on_the_one_before(start: Start, tmp_path: Path, version: Version) -> None:
    broker = Mosquitto(start, tmp_path)
    first, later = (Publish(mqtt=version, status_topic=f"em/status/{name}") for name in ("first", "later"))
    out = Out(plain(broker.port), first, offline_messages=offline_messages(first, "a-thing", "1.0.0"))
    out.publisher.announce("em/status/first", '"first"', retain=True)
    with listening(broker.port, "em/status/#") as told:
        message = told.next()
        assert (message.topic, message.payload) == ("em/status/first", b'"first"')
        out.put(1)
        sink = mqtt_sink(plain(broker.port), "a-thing", later)
        assert out.publisher.use_settings(later, offline_messages(later, "a-thing", "2.0.0"), sink)
        out.publisher.announce("em/status/later", '"later"', retain=True)
        came = {message.topic: message.payload or b"" for message in (told.next(), told.next())}
        assert came == {"em/status/first": b"", "em/status/later": b'"later"'}
    # What is retained is all that somebody gets who comes later.
    with listening(broker.port, "em/status/#") as after:
        assert after.next().topic == "em/status/later"
        out.published(1)
        assert out.publisher.close(10)
        farewell = after.next()
        assert (farewell.topic, json.loads(farewell.payload)["version"]) == ("em/status/later", "2.0.0")


@BOTH
def test_what_was_kept_arrives_newest_first(start: Start, tmp_path: Path, absent_port: int, version: Version) -> None:
    broker = Mosquitto(start, tmp_path)
    out = Out(plain(absent_port), Publish(mqtt=version), depth=4)
    until(lambda: out.troubles, what="it to notice that nobody is there")
    out.put(10)
    with listening(broker.port, "em/#") as listener:
        way = LateAnswers(broker.port, absent_port)
        assert sequences(listener, 4) == [9, 8, 7, 6]
        out.published(4)
        out.put(1)
        assert sequences(listener, 1) == [10]
    assert out.publisher.close(PATIENCE)
    way.close()
    assert out.adds_up()["dropped"] == 6


@BOTH
def test_a_broker_that_answers_late_gets_everything_in_order(start: Start, tmp_path: Path, version: Version) -> None:
    broker = Mosquitto(start, tmp_path)
    late = LateAnswers(broker.port)
    out = Out(plain(late.port), Publish(mqtt=version), depth=5)
    with listening(broker.port, "em/#") as listener:
        out.put(1)
        out.published(1)
        assert sequences(listener, 1) == [0]
        for number in range(1, 101, 5):
            # All arrive before the broker's answer to any of them.
            late.hold()
            out.put(5)
            assert sequences(listener, 5) == list(range(number, number + 5))
            assert out.counters.snapshot()["published"] == number
            late.release()
            out.published(number + 5)
        assert out.publisher.close(PATIENCE)
        now = out.adds_up()
        assert (now["published"], now["dropped"]) == (101, 0)
    late.close()


@BOTH
def test_over_tls_a_client_with_a_certificate_is_let_in_and_one_without_is_not(
    start: Start, tmp_path: Path, version: Version
) -> None:
    certificates = Certificates(tmp_path)
    broker = Mosquitto(start, tmp_path, certificates)
    mine = certificates.client
    known = Destination("mqtt", "127.0.0.1", broker.port, True, mine.cert, mine.key, certificates.ca)
    stranger = Destination("mqtt", "127.0.0.1", broker.port, True, ca=certificates.ca)
    publishing = Publish(mqtt=version)
    with listening(broker.port, "em/#", certificates) as listener:
        kept_out = Out(stranger, publishing)
        kept_out.put(1)
        until(lambda: kept_out.troubles, what="it to be kept out")
        kept_out.publisher.close(1)
        out = Out(known, publishing)
        out.put(3)
        assert sequences(listener, 3) == [0, 1, 2]
        assert out.publisher.close(PATIENCE)
    assert out.adds_up()["published"] == 3
    assert kept_out.adds_up()["dropped"] == 1


@BOTH
def test_a_server_that_nobody_vouches_for_gets_nothing(start: Start, tmp_path: Path, version: Version) -> None:
    (tmp_path / "theirs").mkdir()
    theirs, mine = Certificates(tmp_path / "theirs"), Certificates(tmp_path)
    broker = Mosquitto(start, tmp_path, theirs)
    client = theirs.client
    to = Destination("mqtt", "127.0.0.1", broker.port, True, client.cert, client.key, mine.ca)
    out = Out(to, Publish(mqtt=version))
    out.put(1)
    until(lambda: out.troubles, what="it to be told")
    assert re.search("TLS|certificate", out.troubles[0])
    out.publisher.close(1)
    assert out.adds_up()["dropped"] == 1


def test_in_mqtt_5_a_result_is_json_that_expires(start: Start, tmp_path: Path) -> None:
    broker = Mosquitto(start, tmp_path)
    out = Out(plain(broker.port), Publish(mqtt="5", expiry=DeviceDuration("90s")))
    with listening(broker.port, "em/#") as listener:
        out.put(1)
        arrived = listener.next()
    assert out.publisher.close(PATIENCE)
    assert (arrived.content_type, arrived.message_expiry_interval_sec) == ("application/json", 90)


def test_in_mqtt_5_a_topic_that_is_refused_is_counted_and_the_others_go_on(start: Start, tmp_path: Path) -> None:
    broker = Mosquitto(start, tmp_path, rules=("topic read em/#", "topic write em/front"))
    out = Out(plain(broker.port), Publish("em/{stream}", mqtt="5"))
    with listening(broker.port, "em/#") as listener:
        out.put(1, stream="side")
        out.put(1, stream="front")
        assert listener.next().topic == "em/front"
    assert out.publisher.close(PATIENCE)
    now = out.adds_up()
    assert (now["published"], now["dropped"]) == (1, 1)
    assert any("authorized" in trouble.lower() for trouble in out.troubles), out.troubles


@BOTH
def test_whatever_becomes_of_the_broker_every_result_is_counted_once(
    start: Start, tmp_path: Path, version: Version
) -> None:
    chance = random.Random(4)
    broker = Mosquitto(start, tmp_path)
    way = LateAnswers(broker.port)
    out = Out(plain(way.port), Publish(mqtt=version, threshold=0.5), depth=10)
    for _ in range(3):
        for _ in range(6):
            before = out.counters.snapshot()["published"]
            for _ in range(10):
                out.put(1, confidence=chance.choice([0.4, 0.6, 0.8]))
            out.published(before + 1)
        way.hold()  # some are on their way, and not answered, when the broker goes
        out.put(5, confidence=0.8)
        broker.kill()
        way.release()
        for _ in range(40):
            out.put(1, confidence=chance.choice([0.4, 0.6, 0.8]))
        broker.run()
        before = out.counters.snapshot()["published"]
        out.published(before + 1)
    out.publisher.close(PATIENCE)
    now = out.adds_up()
    assert min(now["published"], now["dropped"], now["filtered"]) > 0, now
    way.close()


@pytest.fixture
def component(start: Start, tmp_path: Path, scenes_model: Path) -> Callable[[int, Version], Process]:
    """A component with neither camera nor agent, which has a status all the same."""

    def run(port: int, version: Version) -> Process:
        config = tmp_path / "config.json"
        publish = {"statusTopic": "em/status/{thing}", "mqtt": version}
        given = {"modelName": "scenes", "modelComponentName": f"{scenes_model.parent}/", "publish": publish}
        config.write_text(json.dumps({**given, "streams": [{"name": "front", "url": "rtsp://127.0.0.1:1/front"}]}))
        return start(
            *(sys.executable, "-m", "emflow_edge", "--config", str(config), "--thing", "a-thing"),
            *("--publish", f"mqtt://127.0.0.1:{port}"),
        )

    return run


def told(listener: Listener, status: str) -> Any:
    """The next message with this status."""
    while (packet := listener.next()) and json.loads(packet.payload)["status"] != status:
        pass
    return packet


@BOTH
def test_a_component_that_is_killed_leaves_its_last_will(
    start: Start, tmp_path: Path, component: Callable[[int, Version], Process], version: Version
) -> None:
    broker = Mosquitto(start, tmp_path)
    with listening(broker.port, STATUS) as listener:
        process = component(broker.port, version)
        begun = json.loads(told(listener, "degraded").payload)
        assert (begun["thing"], list(begun["streams"])) == ("a-thing", ["front"])
        process.end(signal.SIGKILL)
        lost = json.loads(told(listener, "offline").payload)
        assert (lost["thing"], lost["reason"]) == ("a-thing", "the connection was lost")


@BOTH
def test_whoever_comes_late_sees_the_status_that_is_retained(
    start: Start, tmp_path: Path, component: Callable[[int, Version], Process], version: Version
) -> None:
    broker = Mosquitto(start, tmp_path)
    process = component(broker.port, version)
    process.says("rtsp://127.0.0.1:1/front")
    until(lambda: _retained(broker.port) not in ("", "offline"), what="a status")
    assert process.end() == 0
    assert _retained(broker.port) == "offline"
    assert "Traceback" not in process.text()


def _retained(port: int) -> str:
    """The status that a broker keeps; empty when there is none within a moment."""
    with listening(port, "em/status/#") as listener:
        packet = listener.next()
        assert packet.retain
        return str(json.loads(packet.payload)["status"])


@BOTH
def test_a_status_is_online_again_after_the_broker_was_restarted(
    start: Start, tmp_path: Path, component: Callable[[int, Version], Process], version: Version
) -> None:
    broker = Mosquitto(start, tmp_path)
    with listening(broker.port, STATUS) as listener:
        process = component(broker.port, version)
        told(listener, "degraded")
    broker.kill()
    process.says("cannot be published")
    broker.run()
    with listening(broker.port, STATUS) as listener:
        told(listener, "degraded")
    assert process.end() == 0
