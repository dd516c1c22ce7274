"""Client of the Greengrass nucleus over IPC: configuration and its changes, MQTT messages, secrets, component state.

The nucleus reacts to the state that a component reports: after ERRORED it restarts the component, and after the third
time within an hour it stops restarting it (BROKEN) until the next deployment. So ERRORED is reported only when a run
ends with an error, never for a camera that cannot be reached.
"""

from __future__ import annotations

import inspect
import logging
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Callable, TypeVar

from emflow_schema.backoff import Backoff
from emflow_schema.errors import EdgeProblem

log = logging.getLogger(__name__)

T = TypeVar("T")

CLASSIC_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH"
"""Set by the classic nucleus only, beside SOCKET_VARIABLE."""

SOCKET_VARIABLE, TOKEN_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT", "SVCUID"
RUNNING, ERRORED = "RUNNING", "ERRORED"
_TIMEOUT = 10.0
_GOODBYE = 1.0
_ABSENT = (0.2, 5.0)
# A deployment changes many keys, with one event for each: wait until none has come for _QUIET, at most _LONGEST.
_QUIET, _LONGEST = 0.2, 2.0


class NucleusUnavailable(EdgeProblem):
    """The nucleus cannot be reached now."""


class Nucleus:
    """The nucleus that started this component, found by the environment variables that it sets.

    It waits until the nucleus can be reached, and reconnects after a lost connection until it is closed.

    Raises:
        EdgeProblem: the nucleus refuses the connection.
    """

    def __init__(self) -> None:
        self.on_lost: Callable[[], object] = lambda: None
        """Called from any thread when the connection is lost."""
        self.is_lite = False
        """Whether it is known to be the lite nucleus, which takes smaller messages."""
        self._closed = threading.Event()
        self._lost = threading.Event()
        self._changed = threading.Event()
        self._validate: Callable[[Mapping[str, Any]], str] | None = None
        self._state = ""
        self._client = self._when_available(self._connected)
        threading.Thread(target=self._stay_connected, name="nucleus", daemon=True).start()

    def configuration(self) -> Mapping[str, Any]:
        """The component's whole configuration.

        Raises:
            EdgeProblem: the nucleus refuses; NucleusUnavailable when it cannot be reached.
        """
        try:
            answer = self._client.get_configuration_async().result(_TIMEOUT)
        except Exception as error:
            kind = EdgeProblem if _is_refusal(error) else NucleusUnavailable
            raise kind(f"the Greengrass nucleus does not return the configuration: {_words(error)}") from error
        value: Mapping[str, Any] = answer.value or {}
        return value

    def first_configuration(self) -> Mapping[str, Any]:
        """The component's whole configuration; waits until the nucleus can be reached.

        Raises:
            EdgeProblem: the nucleus refuses.
        """
        return self._when_available(self.configuration)

    def follow_configuration(
        self, changed: Callable[[Mapping[str, Any]], object], validate: Callable[[Mapping[str, Any]], str]
    ) -> None:
        """Call back for every change of the configuration from now on.

        Args:
            changed: called with the whole configuration after every change.
            validate: checks a configuration before it is deployed; returns the problem, or an empty text.
        """
        self._validate = validate
        self._subscribe()
        # Changes before the subscription would be missed.
        self._changed.set()
        threading.Thread(target=self._follow, args=(changed,), name="configuration", daemon=True).start()

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool = False) -> Future[Any]:
        """Publish to AWS IoT Core. The future is done when the nucleus has accepted the message; it keeps it while
        offline.

        Raises:
            Exception: the nucleus cannot be reached. If it refuses, the future fails.
        """
        client = self._client
        more = {"retain": True} if retain and _supports(client.publish_to_iot_core_async, "retain") else {}
        answer: Future[Any] = client.publish_to_iot_core_async(topic_name=topic, qos=str(qos), payload=payload, **more)
        return answer

    def report(self, state: str) -> None:
        """Report the state of this component, RUNNING or ERRORED; repeated after a reconnect."""
        self._state = state
        try:
            self._client.update_state_async(state=state).result(_GOODBYE)
        except Exception as error:
            log.warning("the state %s could not be reported to the Greengrass nucleus: %s", state, _words(error))

    def secret(self, name: str, refresh: bool) -> str | bytes:
        """The value of a secret.

        Args:
            name: its name or ARN.
            refresh: whether the nucleus should fetch the newest version from the cloud; older versions ignore it.

        Raises:
            EdgeProblem: the nucleus refuses.
        """
        more = {"refresh": True} if refresh and _supports(self._client.get_secret_value_async, "refresh") else {}
        try:
            value = self._client.get_secret_value_async(secret_id=name, **more).result(_TIMEOUT).secret_value
        except Exception as error:
            raise EdgeProblem(f"the Greengrass nucleus does not return the secret {name}: {_words(error)}") from error
        if value is None or (value.secret_string is None and value.secret_binary is None):
            raise EdgeProblem(f"the secret {name} is empty")
        found: str | bytes = value.secret_string if value.secret_string is not None else value.secret_binary
        return found

    def close(self) -> None:
        self._closed.set()
        self._lost.set()
        self._changed.set()
        self._client.close(executor_wait=False)

    def _when_available(self, ask: Callable[[], T]) -> T:
        """Retry `ask` until the nucleus can be reached. Used at the start only, while a signal ends the process."""
        backoff, logged = Backoff(*_ABSENT), False
        while True:
            try:
                return ask()
            except NucleusUnavailable as unavailable:
                if not logged:
                    logged = True
                    log.warning("%s; retrying until it can be reached", unavailable)
            time.sleep(backoff.delay())

    def _connected(self) -> Any:
        try:
            return self._connect()
        except Exception as error:
            # awscrt has no common base class of errors.
            where = os.environ.get(SOCKET_VARIABLE)
            kind = EdgeProblem if _is_refusal(error) else NucleusUnavailable
            raise kind(f"cannot connect to the Greengrass nucleus at {where}: {_words(error)}") from error

    def _connect(self) -> Any:
        # Imported here: it takes an eighth of a second, which only a component in Greengrass needs.
        from awscrt import io
        from awsiot import eventstreamrpc
        from awsiot.greengrasscoreipc import client, clientv2

        nucleus, lost = self, self._lost

        class Handler(eventstreamrpc.LifecycleHandler):  # type: ignore[misc] # awsiot has no types
            was_connected = False

            def on_connect(self) -> None:
                self.was_connected = True

            def on_disconnect(self, reason: Exception | None) -> None:  # noqa: ARG002
                lost.set()
                # An attempt that failed is no connection that was lost.
                if self.was_connected:
                    nucleus.on_lost()

        # Not with `connect` of the SDK: it creates an event loop with a thread for every attempt, and a failed attempt
        # keeps them until the next garbage collection; retries are frequent.
        options = io.SocketOptions()
        options.domain = io.SocketDomain.Local
        connection = eventstreamrpc.Connection(
            host_name=os.environ[SOCKET_VARIABLE],
            port=0,
            bootstrap=io.ClientBootstrap.get_or_create_static_default(),
            socket_options=options,
            connect_message_amender=eventstreamrpc.MessageAmendment.create_static_authtoken_amender(
                os.environ[TOKEN_VARIABLE]
            ),
        )
        lost.clear()
        try:
            connection.connect(Handler()).result(_TIMEOUT)
        except BaseException:
            # A connection that opens later would be leaked.
            connection.close()
            raise
        return clientv2.GreengrassCoreIPCClientV2(client.GreengrassCoreIPCClient(connection))

    def _stay_connected(self) -> None:
        backoff = Backoff(*_ABSENT)
        while True:
            self._lost.wait()
            if self._closed.is_set():
                return
            log.warning("lost the connection to the Greengrass nucleus; reconnecting")
            self._client.close(executor_wait=False)
            while not self._closed.wait(backoff.delay()):
                try:
                    self._client = self._connect()
                    self._subscribe()
                except Exception as error:
                    log.debug("nucleus: %s", _words(error))
                    continue
                backoff.reset()
                log.info("reconnected to the Greengrass nucleus")
                if self._state:
                    self.report(self._state)
                # Changes in the meantime were missed.
                self._changed.set()
                break

    def _subscribe(self) -> None:
        validate = self._validate
        if validate is None:
            return
        # An older nucleus may not support one of them, or refuse it; the component works without.
        for what, subscribe in (
            ("changes of the configuration", self._subscribe_to_changes),
            ("configuration updates to validate", self._subscribe_to_proposals),
        ):
            try:
                subscribe()
            except Exception as error:  # noqa: PERF203
                log.warning("the Greengrass nucleus does not send %s: %s", what, _words(error))

    def _subscribe_to_changes(self) -> None:
        answer, _ = self._client.subscribe_to_configuration_update_async(
            key_path=[], on_stream_event=lambda _: self._changed.set(), on_stream_error=lambda _: True
        )
        answer.result(_TIMEOUT)

    def _subscribe_to_proposals(self) -> None:
        answer, _ = self._client.subscribe_to_validate_configuration_updates_async(
            on_stream_event=self._proposed, on_stream_error=lambda _: True
        )
        try:
            answer.result(_TIMEOUT)
        except Exception as error:
            # Every classic nucleus has this operation; the lite one answers like this to those that it has not.
            self.is_lite = type(error).__name__ == "ServiceError"
            raise

    def _proposed(self, events: Any) -> None:
        from awsiot.greengrasscoreipc import model

        event = events.validate_configuration_update_event
        if event is None or self._validate is None:
            return
        wrong = self._validate(event.configuration or {})
        report = model.ConfigurationValidityReport(
            status="REJECTED" if wrong else "ACCEPTED", deployment_id=event.deployment_id, message=wrong or None
        )
        if wrong:
            log.warning("the configuration of deployment %s is rejected: %s", event.deployment_id, wrong)
        try:
            self._client.send_configuration_validity_report_async(configuration_validity_report=report).result(_TIMEOUT)
        except Exception as error:
            log.warning(
                "the Greengrass nucleus does not accept the validity report of a configuration: %s", _words(error)
            )

    def _follow(self, changed: Callable[[Mapping[str, Any]], object]) -> None:
        while True:
            self._changed.wait()
            begin = time.monotonic()
            while self._changed.is_set() and time.monotonic() - begin < _LONGEST and not self._closed.is_set():
                self._changed.clear()
                self._closed.wait(_QUIET)
            if self._closed.is_set():
                return
            try:
                changed(self.configuration())
            except EdgeProblem as problem:
                # It is read again after a reconnect.
                log.warning("%s; the previous configuration stays in use", problem)


def _supports(function: Callable[..., Any], name: str) -> bool:
    """Whether the installed SDK supports a parameter; older versions on boards do not."""
    return name in inspect.signature(function).parameters


def _is_refusal(error: BaseException) -> bool:
    """Whether a retry cannot help: the nucleus refused, or the SDK or the token is missing."""
    try:
        from awsiot.eventstreamrpc import EventStreamOperationError
    except ImportError:
        return True
    # KeyError: no token in the environment.
    return isinstance(error, (EventStreamOperationError, KeyError, ImportError))


def _words(error: BaseException) -> str:
    # Errors of the SDK have their text in `message`, or as the last argument.
    message = getattr(error, "message", None) or (error.args[-1] if error.args else None) or type(error).__name__
    return str(message)
