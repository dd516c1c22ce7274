"""The Greengrass nucleus over its IPC socket: configuration and its changes, messages, secrets, this component's state.

The nucleus acts upon the state that a component reports: after ERRORED it stops the component and starts it again, and
the third time within an hour it gives it up (BROKEN) until the next deployment. So ERRORED is the last word of a run
that ends with an error, and nothing to be said of a camera that is away.
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

SOCKET_VARIABLE, TOKEN_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT", "SVCUID"
RUNNING, ERRORED = "RUNNING", "ERRORED"
_TIMEOUT = 10.0
_GOODBYE = 1.0
_ABSENT = (0.2, 5.0)
# A deployment changes many keys, with an event for each: wait until none has come for this long, but not for ever.
_QUIET, _LONGEST = 0.2, 2.0


class NucleusUnavailable(EdgeProblem):
    """The nucleus did not answer; it may later."""


class Nucleus:
    """The nucleus that started this component, found by the environment variables that it sets.

    One that is away is waited for. When the connection is lost, it is made again for as long as this is open.

    Raises:
        EdgeProblem: it does not let this component in.
    """

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._lost = threading.Event()
        self._changed = threading.Event()
        self._judge: Callable[[Mapping[str, Any]], str] | None = None
        self._state = ""
        self._client = self._when_there(self._connected)
        threading.Thread(target=self._stay_connected, name="nucleus", daemon=True).start()

    def configuration(self) -> Mapping[str, Any]:
        """The component's whole configuration.

        Raises:
            EdgeProblem: the nucleus does not give it; Away when it is not there.
        """
        try:
            answer = self._client.get_configuration_async().result(_TIMEOUT)
        except Exception as error:
            kind = EdgeProblem if _is_refusal(error) else NucleusUnavailable
            raise kind(f"the Greengrass nucleus gives no configuration: {_words(error)}") from error
        value: Mapping[str, Any] = answer.value or {}
        return value

    def first_configuration(self) -> Mapping[str, Any]:
        """The component's whole configuration, from a nucleus that is waited for.

        Raises:
            EdgeProblem: the nucleus does not give it.
        """
        return self._when_there(self.configuration)

    def watch(self, changed: Callable[[Mapping[str, Any]], object], judge: Callable[[Mapping[str, Any]], str]) -> None:
        """Hear of configurations from now on.

        Args:
            changed: takes the whole configuration after every change of it.
            judge: what is wrong with a configuration that is about to be deployed; empty when nothing is.
        """
        self._judge = judge
        self._subscribe()
        # What changed before that was told to nobody.
        self._changed.set()
        threading.Thread(target=self._follow, args=(changed,), name="configuration", daemon=True).start()

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool = False) -> Future[Any]:
        """Publish to AWS IoT Core; answered when the nucleus has taken it. While the core is offline it keeps it.

        Raises:
            Exception: the nucleus is not there; the answer has one when the nucleus refuses.
        """
        client = self._client
        more = {"retain": True} if retain and _takes(client.publish_to_iot_core_async, "retain") else {}
        answer: Future[Any] = client.publish_to_iot_core_async(topic_name=topic, qos=str(qos), payload=payload, **more)
        return answer

    def report(self, state: str) -> None:
        """Tell this component's state: RUNNING or ERRORED. Told again to a nucleus that comes back."""
        self._state = state
        try:
            self._client.update_state_async(state=state).result(_GOODBYE)
        except Exception as error:
            log.warning("the Greengrass nucleus was not told that this component is %s: %s", state, _words(error))

    def secret(self, name: str, refresh: bool) -> str | bytes:
        """A secret's value.

        Args:
            name: its name or ARN.
            refresh: whether the nucleus has to look for a newer version in the cloud; an older one gives what it has.

        Raises:
            EdgeProblem: the nucleus does not give it.
        """
        more = {"refresh": True} if refresh and _takes(self._client.get_secret_value_async, "refresh") else {}
        try:
            value = self._client.get_secret_value_async(secret_id=name, **more).result(_TIMEOUT).secret_value
        except Exception as error:
            raise EdgeProblem(f"the Greengrass nucleus does not give the secret {name}: {_words(error)}") from error
        if value is None or (value.secret_string is None and value.secret_binary is None):
            raise EdgeProblem(f"the secret {name} is empty")
        found: str | bytes = value.secret_string if value.secret_string is not None else value.secret_binary
        return found

    def close(self) -> None:
        self._closed.set()
        self._lost.set()
        self._changed.set()
        self._client.close(executor_wait=False)

    def _when_there(self, ask: Callable[[], T]) -> T:
        """What is asked for, as soon as the nucleus is there. At the start only, while a signal ends the process."""
        backoff, said = Backoff(*_ABSENT), False
        while True:
            try:
                return ask()
            except NucleusUnavailable as away:
                if not said:
                    said = True
                    log.warning("%s; trying until it is there", away)
            time.sleep(backoff.delay())

    def _connected(self) -> Any:
        try:
            return self._connect()
        except Exception as error:
            # awscrt has no common class of errors.
            where = os.environ.get(SOCKET_VARIABLE)
            kind = EdgeProblem if _is_refusal(error) else NucleusUnavailable
            raise kind(f"the Greengrass nucleus at {where} cannot be talked to: {_words(error)}") from error

    def _connect(self) -> Any:
        # Here, not above: an eighth of a second that only a component in Greengrass has to spend.
        from awscrt import io
        from awsiot import eventstreamrpc
        from awsiot.greengrasscoreipc import client, clientv2

        lost = self._lost

        class Handler(eventstreamrpc.LifecycleHandler):  # type: ignore[misc] # awsiot has no types
            def on_disconnect(self, reason: Exception | None) -> None:  # noqa: ARG002
                lost.set()

        # Not the SDK's own `connect`: it makes an event loop with its thread for every attempt, and what is left of
        # a failed one keeps them until Python next looks for cycles, while a nucleus that is away is asked often.
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
            # One that opens later would be nobody's.
            connection.close()
            raise
        return clientv2.GreengrassCoreIPCClientV2(client.GreengrassCoreIPCClient(connection))

    def _stay_connected(self) -> None:
        backoff = Backoff(*_ABSENT)
        while True:
            self._lost.wait()
            if self._closed.is_set():
                return
            log.warning("the Greengrass nucleus has hung up; trying until it is there")
            self._client.close(executor_wait=False)
            while not self._closed.wait(backoff.delay()):
                try:
                    self._client = self._connect()
                    self._subscribe()
                except Exception as error:
                    log.debug("nucleus: %s", _words(error))
                    continue
                backoff.reset()
                log.info("the Greengrass nucleus is there again")
                if self._state:
                    self.report(self._state)
                # What changed meanwhile was told to nobody.
                self._changed.set()
                break

    def _subscribe(self) -> None:
        judge = self._judge
        if judge is None:
            return
        # Each may be unknown to an older nucleus, or to one that does not want it known; the run goes on without.
        for what, subscribe in (
            ("changes of the configuration", self._subscribe_to_changes),
            ("configurations to judge", self._subscribe_to_proposals),
        ):
            try:
                subscribe()
            except Exception as error:  # noqa: PERF203
                log.warning("the Greengrass nucleus does not tell %s: %s", what, _words(error))

    def _subscribe_to_changes(self) -> None:
        answer, _ = self._client.subscribe_to_configuration_update_async(
            key_path=[], on_stream_event=lambda _: self._changed.set(), on_stream_error=lambda _: True
        )
        answer.result(_TIMEOUT)

    def _subscribe_to_proposals(self) -> None:
        answer, _ = self._client.subscribe_to_validate_configuration_updates_async(
            on_stream_event=self._proposed, on_stream_error=lambda _: True
        )
        answer.result(_TIMEOUT)

    def _proposed(self, events: Any) -> None:
        from awsiot.greengrasscoreipc import model

        event = events.validate_configuration_update_event
        if event is None or self._judge is None:
            return
        wrong = self._judge(event.configuration or {})
        report = model.ConfigurationValidityReport(
            status="REJECTED" if wrong else "ACCEPTED", deployment_id=event.deployment_id, message=wrong or None
        )
        if wrong:
            log.warning("the configuration of deployment %s is rejected: %s", event.deployment_id, wrong)
        try:
            self._client.send_configuration_validity_report_async(configuration_validity_report=report).result(_TIMEOUT)
        except Exception as error:
            log.warning("the Greengrass nucleus does not take the verdict on a configuration: %s", _words(error))

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
                # It comes again when the nucleus does.
                log.warning("%s; going on with the configuration from before", problem)


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Whether the installed SDK knows a parameter; the older ones on boards do not."""
    return name in inspect.signature(function).parameters


def _is_refusal(error: BaseException) -> bool:
    """Whether it will be the same the next time: the nucleus said no, or nothing here can ask it."""
    try:
        from awsiot.eventstreamrpc import EventStreamOperationError
    except ImportError:
        return True
    # KeyError: no token in the environment.
    return isinstance(error, (EventStreamOperationError, KeyError, ImportError))


def _words(error: BaseException) -> str:
    # The SDK's own errors keep their sentence in `message`, or as the last of several arguments.
    said = getattr(error, "message", None) or (error.args[-1] if error.args else None) or type(error).__name__
    return str(said)
