"""Operations for a component's life cycle: its state, and the delay of an update by a deployment.

https://docs.aws.amazon.com/greengrass/v2/developerguide/ipc-component-lifecycle.html
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from emflow_emulator.core.ipc.errors import Document, IpcError, invalid, optional_text
from emflow_emulator.core.ipc.replies import PendingReplies
from emflow_emulator.core.ipc.streams import Stream, Subscriptions


class LifecycleHost(Protocol):
    """The states of the device's components."""

    def reported(self, component: str, state: str) -> None:
        """A component reports its state."""


class Lifecycle:
    """The operations, and the device's requests to components whether they can be updated now."""

    def __init__(self, device: LifecycleHost, unknown_state: str = "InvalidArgumentsError") -> None:
        self._device = device
        self._unknown_state = unknown_state
        self._listeners: Subscriptions[None] = Subscriptions()
        self._deferrals: PendingReplies[float] = PendingReplies()
        self.handlers = {"UpdateState": self._update_state, "DeferComponentUpdate": self._defer}
        self.streams = {"SubscribeToComponentUpdates": self._subscribe}

    def wait_until_safe(
        self, deployment: str, timeout: float, given_up: threading.Event, *, restarting: bool = False
    ) -> None:
        """Return when no subscribed component defers the update, after `timeout` seconds at most.

        All are asked again after the longest delay that a component requested. A component that does not answer, or
        that defers for longer than `timeout`, does not delay the update any more. `restarting`: the nucleus will
        restart, and so all components.
        https://docs.aws.amazon.com/greengrass/v2/APIReference/API_DeploymentComponentUpdatePolicy.html
        """
        deadline = time.monotonic() + timeout
        while not given_up.is_set():
            for stream, _ in self._listeners.all():
                self._deferrals.ask(stream.component, deployment)
                event = {"deploymentId": deployment, "isGgcRestarting": restarting}
                stream.send("ComponentUpdatePolicyEvents", {"preUpdateEvent": event})
            replies = self._deferrals.wait(deployment, deadline - time.monotonic(), given_up)
            longest, rest = max(replies.values(), default=0.0), deadline - time.monotonic()
            if longest <= 0 or rest <= 0:
                return
            given_up.wait(min(longest, rest))
            if longest >= rest:
                return

    def updated(self, deployment: str) -> None:
        """The deployment has succeeded or failed."""
        for stream, _ in self._listeners.all():
            stream.send("ComponentUpdatePolicyEvents", {"postUpdateEvent": {"deploymentId": deployment}})

    def _update_state(self, component: str, request: Document) -> Document:
        state = request.get("state")
        if state not in ("RUNNING", "ERRORED"):
            raise IpcError(self._unknown_state, f"state {state!r} is neither RUNNING nor ERRORED")
        self._device.reported(component, state)
        return {}

    def _subscribe(self, component: str, _: Document, stream: Stream) -> Document:
        self._listeners.add(stream, None)
        stream.on_close(lambda: self._on_unsubscribed(component))
        return {}

    def _on_unsubscribed(self, component: str) -> None:
        if not self._listeners.of(component):
            self._deferrals.give_up(component)

    def _defer(self, component: str, request: Document) -> Document:
        """`recheckAfterMs` 0 or missing means that the update may begin now."""
        if not self._listeners.of(component):
            raise invalid("Component is not subscribed to component update events")
        deployment = optional_text(request, "deploymentId")
        if deployment is None:
            raise invalid("Cannot defer the update, the deployment ID provided was null")
        wait = request.get("recheckAfterMs") or 0
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait <= threading.TIMEOUT_MAX:
            raise invalid(f"recheckAfterMs {wait!r} is not a number of milliseconds")
        if not self._deferrals.answer(component, deployment, wait / 1000):
            raise IpcError("ServiceError", "Time limit to respond to PreComponentUpdateEvent exceeded")
        return {}
