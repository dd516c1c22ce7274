"""Brokers that are spoken to directly, in MQTT 3.1.1 or 5, with or without TLS."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from emflow_edge.results.sinks import Destination, Message, MessageRejected, MessageSink, checked_future
from emflow_schema.edge_config import Publish
from emflow_schema.errors import EdgeProblem

_TIMEOUT, _GOODBYE = 5.0, 0.3
_KEEP_ALIVE = 30
_JSON = "application/json"
# Reason codes of a PUBACK, https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901124: what is
# asked again gets the same answer to these.
_FAILURE, _FOR_GOOD = 128, {135: "not authorized", 144: "the topic name is invalid", 153: "the payload is invalid"}


def mqtt_sink(to: Destination, client_id: str, publishing: Publish) -> MessageSink:
    """The outlet for a broker, in the version of MQTT that the settings ask for."""
    # Used later; a missing package is told now, and not taken for a broker that is away.
    if publishing.mqtt == "5":
        import awscrt.mqtt5

        return Mqtt5Sink(to, client_id, int(publishing.expiry.seconds))
    import awscrt.mqtt  # noqa: F401

    return Mqtt311Sink(to, client_id)


class Mqtt311Sink:
    """A broker of MQTT 3.1.1."""

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
            # It would connect again by itself, in its own time, and hold back what is published until then.
            on_connection_interrupted=lambda **_: lost(),
            **_no_metrics(mqtt.Connection),
        )
        _connected(connection.connect(), self._to)
        self._connection = connection

    def send(self, message: Message) -> Future[Any]:
        from awscrt import mqtt

        sent, _ = self._connection.publish(message.topic, message.payload, mqtt.QoS(message.qos), message.retain)
        future: Future[Any] = sent
        return future

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # One that was lost never answers; awscrt lets go of it by itself then.
            with contextlib.suppress(TimeoutError, FutureTimeoutError):
                connection.disconnect().exception(_GOODBYE)


class Mqtt5Sink:
    """A broker of MQTT 5. It is told that messages are JSON, and how long results are worth keeping.

    Args:
        expiry: seconds after which a result is of no use to who was away; 0: it always is.
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

        # It goes on trying until it is stopped, and tells each time.
        def succeeded(told: Any) -> None:
            with contextlib.suppress(InvalidStateError):
                opened.set_result(told.negotiated_settings)

        def failed(told: Any) -> None:
            connack = told.connack_packet
            refusal = connack and (connack.reason_string or getattr(connack.reason_code, "name", connack.reason_code))
            error = ConnectionError(f"the broker says {refusal}") if refusal else told.exception
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
                # What it would keep is sent again by whoever gave it.
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
            # A broker that cannot do more hangs up on who asks for it.
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
        # TLS does not say at once that a certificate is not trusted, lest somebody measures how long that took.
        perhaps = "; perhaps one side does not trust the other's certificate" if to.tls else ""
        raise TimeoutError(f"the broker does not let it in within {_TIMEOUT:g} s{perhaps}") from None


def _no_metrics(kind: Any) -> dict[str, bool]:
    """Keep the SDK from giving a user name with its version in it, which a broker might want a password for."""
    return {"disable_metrics": True} if "disable_metrics" in inspect.signature(kind).parameters else {}


def _acknowledged(told: Any) -> None:
    """Raise when a PUBACK says that the message was not taken; there is none for QoS 0."""
    code = int(told.puback.reason_code) if told and told.puback else 0
    if code < _FAILURE:
        return
    words = told.puback.reason_string or _FOR_GOOD.get(code) or f"reason code {code}"
    if code in _FOR_GOOD:
        raise MessageRejected(words)
    raise ConnectionError(f"the broker does not take it: {words}")


def _tls(to: Destination) -> Any:
    """What TLS needs, out of the files as they are now; None without TLS.

    Raises:
        EdgeProblem: they are no certificates or keys.
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
        # awscrt tells a number and its name only, whichever file it is.
        raise EdgeProblem(f"--cert, --key or --ca holds no certificate or key that TLS can use: {error}") from error
