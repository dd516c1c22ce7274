"""Sinks for MQTT brokers, with MQTT 3.1.1 or 5, with or without TLS."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from emflow_edge.results.sinks import (
    Destination,
    Message,
    MessageRefused,
    MessageRejected,
    MessageSink,
    checked_future,
    too_large,
)
from emflow_schema.edge_config import Publish
from emflow_schema.errors import EdgeProblem
from emflow_schema.result_message import MOST_BYTES

_TIMEOUT, _GOODBYE = 5.0, 0.3
_KEEP_ALIVE = 30
_JSON = "application/json"
# Bytes of a packet around topic and payload: header, packet identifier and, in MQTT 5, properties.
_AROUND = 64
# AWS IoT's limit, or a lower one that an MQTT 5 broker tells.
_BROKER = "the broker"
# Permanent reason codes of a PUBACK, https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901124.
_FAILURE, _PERMANENT = 128, {135: "not authorized", 144: "the topic name is invalid", 153: "the payload is invalid"}


def mqtt_sink(to: Destination, client_id: str, publishing: Publish) -> MessageSink:
    """The outlet for a broker, in the version of MQTT that the settings ask for."""
    # Used later; a missing package or a broken certificate is reported now, and not taken for a broker that is
    # unavailable.
    _tls(to)
    if publishing.mqtt == "5":
        import awscrt.mqtt5

        return Mqtt5Sink(to, client_id, int(publishing.expiry.seconds))
    import awscrt.mqtt  # noqa: F401

    return Mqtt311Sink(to, client_id)


class Mqtt311Sink:
    """A broker with MQTT 3.1.1."""

    def __init__(self, to: Destination, client_id: str) -> None:
        self._to, self._client_id = to, client_id
        self._connection: Any = None

    def open(self, lost: Callable[[], object], will: Message | None) -> None:
        from awscrt import io, mqtt

        bootstrap = io.ClientBootstrap.get_or_create_static_default()
        last = will and mqtt.Will(will.topic, mqtt.QoS(will.qos), will.payload.encode(), will.retain)
        connection = mqtt.Connection(
            mqtt.Client(bootstrap, _tls(self._to)),
            host_name=self._to.host,
            port=self._to.port,
            client_id=self._client_id,
            username=self._to.username,
            password=self._to.password,
            clean_session=True,
            keep_alive_secs=_KEEP_ALIVE,
            will=last,
            # Reconnecting is done by the publisher, not by the SDK, which would delay messages until then.
            on_connection_interrupted=lambda **_: lost(),
            **_no_metrics(mqtt.Connection),
        )
        _connected(connection.connect(), self._to)
        self._connection = connection

    def send(self, message: Message) -> Future[Any]:
        from awscrt import mqtt

        refused = too_large(message, MOST_BYTES, _BROKER, _AROUND)
        if refused is not None:
            return refused
        sent, _ = self._connection.publish(message.topic, message.payload, mqtt.QoS(message.qos), message.retain)
        future: Future[Any] = sent
        return future

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # A lost connection never answers; awscrt releases it by itself.
            with contextlib.suppress(TimeoutError, FutureTimeoutError):
                connection.disconnect().exception(_GOODBYE)


class Mqtt5Sink:
    """A broker with MQTT 5. Messages have a content type and an expiry interval.

    Args:
        expiry: seconds after which the broker may drop a result; 0: never.
    """

    def __init__(self, to: Destination, client_id: str, expiry: int) -> None:
        self._to, self._client_id, self._expiry = to, client_id, expiry
        self._client: Any = None
        self._agreed: Any = None
        self._stopped = threading.Event()

    def open(self, lost: Callable[[], object], will: Message | None) -> None:
        from awscrt import io, mqtt5

        opened: Future[Any] = Future()
        stopped = self._stopped = threading.Event()

        # The client retries until it is stopped, and calls back each time.
        def succeeded(event: Any) -> None:
            with contextlib.suppress(InvalidStateError):
                opened.set_result(event.negotiated_settings)

        def failed(event: Any) -> None:
            connack = event.connack_packet
            refusal = connack and (connack.reason_string or getattr(connack.reason_code, "name", connack.reason_code))
            error = ConnectionError(f"the broker refuses the connection: {refusal}") if refusal else event.exception
            with contextlib.suppress(InvalidStateError):
                opened.set_exception(error)

        client = mqtt5.Client(
            mqtt5.ClientOptions(
                host_name=self._to.host,
                port=self._to.port,
                bootstrap=io.ClientBootstrap.get_or_create_static_default(),
                tls_ctx=_tls(self._to),
                connect_options=mqtt5.ConnectPacket(
                    client_id=self._client_id,
                    username=self._to.username,
                    password=self._to.password,
                    keep_alive_interval_sec=_KEEP_ALIVE,
                    will=self._packet(will) if will else None,
                ),
                session_behavior=mqtt5.ClientSessionBehaviorType.CLEAN,
                # The publisher sends unacknowledged messages again.
                offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
                on_lifecycle_event_connection_success_fn=succeeded,
                on_lifecycle_event_connection_failure_fn=failed,
                on_lifecycle_event_disconnection_fn=lambda _: lost(),
                on_lifecycle_event_stopped_fn=lambda _: stopped.set(),
                **_no_metrics(mqtt5.ClientOptions),
            )
        )
        client.start()
        self._client = client
        try:
            self._agreed = _connected(opened, self._to)
        except BaseException:
            self.close()
            raise

    def send(self, message: Message) -> Future[Any]:
        told = getattr(self._agreed, "maximum_packet_size_to_server", None)
        refused = too_large(message, min(MOST_BYTES, told or MOST_BYTES), _BROKER, _AROUND)
        if refused is not None:
            return refused
        sent: Future[Any] = self._client.publish(self._packet(message))
        return checked_future(sent, _acknowledged)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            from awscrt import mqtt5

            client.stop(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION))
            self._stopped.wait(_GOODBYE)

    def _packet(self, message: Message) -> Any:
        from awscrt import mqtt5

        agreed = self._agreed
        most = agreed.maximum_qos if agreed and agreed.maximum_qos is not None else message.qos
        retained = agreed.retain_available if agreed and agreed.retain_available is not None else True
        return mqtt5.PublishPacket(
            topic=message.topic,
            payload=message.payload.encode(),
            # A broker closes the connection when a message has a higher QoS than it supports.
            qos=mqtt5.QoS(min(message.qos, int(most))),
            retain=message.retain and retained,
            content_type=_JSON,
            payload_format_indicator=mqtt5.PayloadFormatIndicator.AWS_MQTT5_PFI_UTF8,
            message_expiry_interval_sec=None if message.lasting or not self._expiry else self._expiry,
        )


def _connected(asked: Future[Any], to: Destination) -> Any:
    try:
        return asked.result(_TIMEOUT)
    except (TimeoutError, FutureTimeoutError):
        # TLS may delay the error about an untrusted certificate.
        perhaps = "; maybe one side does not trust the certificate of the other" if to.tls else ""
        raise TimeoutError(f"the broker did not accept the connection within {_TIMEOUT:g} s{perhaps}") from None


def _no_metrics(kind: Any) -> dict[str, bool]:
    """Disable the user name with the version of the SDK: a broker could require a password for it."""
    return {"disable_metrics": True} if "disable_metrics" in inspect.signature(kind).parameters else {}


def _acknowledged(event: Any) -> None:
    """Raise when a PUBACK has an error code; there is no PUBACK for QoS 0."""
    code = int(event.puback.reason_code) if event and event.puback else 0
    if code < _FAILURE:
        return
    words = event.puback.reason_string or _PERMANENT.get(code) or f"reason code {code}"
    if code in _PERMANENT:
        raise MessageRejected(words)
    raise MessageRefused(f"the broker rejects the message: {words}")


def _tls(to: Destination) -> Any:
    """The TLS context from the current files; None without TLS.

    Raises:
        EdgeProblem: the files are not valid certificates or keys.
    """
    from awscrt import io

    if not to.tls:
        return None
    try:
        if to.cert and to.key:
            options = io.TlsContextOptions.create_client_with_mtls_from_path(str(to.cert), str(to.key))
        else:
            options = io.TlsContextOptions()
        if to.ca:
            options.override_default_trust_store_from_path(None, str(to.ca))
        if to.alpn:
            options.alpn_list = [to.alpn]
        return io.ClientTlsContext(options)
    except Exception as error:
        # awscrt reports an error number only, not the file.
        raise EdgeProblem(f"--cert, --key or --ca holds no certificate or key that TLS can use: {error}") from error
