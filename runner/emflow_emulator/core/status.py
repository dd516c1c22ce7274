"""The device's status reports to the cloud: the states of its components, and the progress of the deployment.

Every change is reported at once, from a separate thread; changes during a report are in the next one. While the cloud
does not answer, the newest report waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from emflow_emulator.core.cloud_client import CloudLost, CloudRefused
from emflow_emulator.core.component import Component, State
from emflow_emulator.core.logs import DeviceLog
from emflow_emulator.core.nuclei import CLASSIC, NucleusModel

_AGAIN = 1.0
"""Seconds until a failed report is sent again."""


@dataclass(frozen=True)
class Progress:
    """The state of a deployment: IN_PROGRESS, SUCCEEDED or FAILED."""

    deployment: str
    status: str
    reason: str = ""
    stack: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


def report(
    components: Iterable[Component],
    progress: Progress | None,
    platform: Mapping[str, str],
    sources: Mapping[str, str] = MappingProxyType({}),
    nucleus: NucleusModel = CLASSIC,
) -> dict[str, Any]:
    """The report in the form that the embedded AWS expects.

    Args:
        sources: for each component, the deployment that last installed or changed it.
    """
    components = list(components)
    states = [
        {
            "componentName": component.plan.name,
            "componentVersion": component.plan.version,
            "lifecycleState": str(component.state),
            "lifecycleStateDetails": component.details,
            "lifecycleStatusCodes": list(component.codes),
            "isRoot": component.plan.root,
            **({"installationSource": source} if (source := sources.get(component.plan.name)) else {}),
        }
        for component in components
    ]
    ill = any(each.state in (State.BROKEN, State.ERRORED) or each.ended_with for each in components)
    return {
        "coreVersion": nucleus.version,
        "runtime": nucleus.runtime,
        "platform": platform["os"],
        "architecture": platform["architecture"],
        "status": "UNHEALTHY" if ill else "HEALTHY",
        "components": states,
        "deployment": progress
        and {
            "deploymentId": progress.deployment,
            "coreDeviceExecutionStatus": progress.status,
            "reason": progress.reason,
            "errorStack": list(progress.stack),
            "errorTypes": list(progress.types),
        },
    }


class Reporter:
    """Sends a report after every change.

    Args:
        make: makes a report of the current state.
        send: sends it to the cloud; raises CloudLost or CloudRefused.
    """

    def __init__(
        self, make: Callable[[], dict[str, Any]], send: Callable[[Mapping[str, Any]], None], log: DeviceLog
    ) -> None:
        self._make = make
        self._send = send
        self._log = log
        self._away = False
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fleet-status", daemon=True)

    def start(self) -> None:
        """Send a first report, so that the cloud knows the device when this returns, then report every change."""
        self._report()
        self._thread.start()

    def changed(self) -> None:
        self._changed.set()

    def stop(self) -> None:
        """Send the last changes, with one attempt, and end."""
        self._stopping.set()
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            self._changed.wait()
            self._changed.clear()
            last = self._stopping.is_set()
            if not self._report():
                self._stopping.wait(_AGAIN)

    def _report(self) -> bool:
        """Send a report; False when the cloud does not answer and the report has to be sent again."""
        try:
            self._tell(self._make())
        except CloudLost as error:
            if not self._away:
                self._say("Status update could not be published; it will be sent again", level="WARN", error=error)
            self._away = True
            self._changed.set()
            return False
        self._away = False
        self._say("fss-status-update-published. Status update published to FSS")
        return True

    def _tell(self, document: dict[str, Any]) -> None:
        try:
            self._send(document)
        except CloudRefused as error:
            self._say("Status update was refused", level="WARN", error=error)
            if document["deployment"] is not None:
                # The deployment may have been deleted in the meantime; the component states are still valid.
                self._tell(document | {"deployment": None})

    def _say(self, text: str, *, level: str = "INFO", **context: Any) -> None:
        self._log.say("status.FleetStatusService", text, level=level, **context, serviceName="FleetStatusService")
