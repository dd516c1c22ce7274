"""The rollout of a deployment: waiting until every device has taken it, or has reported why not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.cancellation import Cancellation, Cancelled, Interrupted
from emflow.engine.clients import Clients
from emflow.engine.errors import is_missing
from emflow.engine.events import Done, Emit, Failed, Left, Started, Waiting, ignore_events
from emflow.engine.scheduler import run_parallel
from emflow.problems import Problem
from emflow.resources.greengrass.deployment import DEPLOYMENT
from emflow.resources.greengrass.revision import latest_deployment
from emflow.workflow.model import Workflow

SUCCEEDED = frozenset({"SUCCEEDED", "COMPLETED"})
FAILED_STATES = frozenset({"FAILED", "TIMED_OUT", "REJECTED", "CANCELED"})
UNKNOWN = "not reported yet"
ROLLOUT = "deployment/rollout"
"""The id under which the events of a rollout come."""


def wait_for_deployment(
    workflow: Workflow,
    clients: Clients,
    emit: Emit = ignore_events,
    *,
    timeout: float = 900.0,
    cancellation: Cancellation | None = None,
) -> None:
    """Wait until every core device of the workflow's target has taken its latest deployment.

    Args:
        timeout: seconds.
        cancellation: ends it when requested, without waiting for an answer; the devices continue.

    Raises:
        Problem: a device failed (its reason is in it), the deployment was cancelled or replaced, there is none, or
            devices have not said anything for too long.
        Interrupted: `cancellation` was requested.
    """
    cancellation = cancellation or Cancellation()
    started = time.monotonic()
    emit(Started(ROLLOUT, None))
    watch = _Watch(workflow, clients, emit, started + timeout, cancellation)
    try:
        problems = run_parallel(lambda poll: poll(), [watch], cancellation)
    except Cancelled:
        emit(Left(ROLLOUT, watch.state, time.monotonic() - started))
        raise Interrupted(
            cancellation, in_flight={ROLLOUT: watch.state}, mend="The devices continue: see emflow status."
        ) from None
    if problems:
        emit(Failed(ROLLOUT, problems[0]))
        raise problems[0]
    emit(Done(ROLLOUT, None, time.monotonic() - started))


class _Watch:
    """Polls the devices until they are done; `state` is the last reported state."""

    def __init__(
        self, workflow: Workflow, clients: Clients, emit: Emit, deadline: float, cancellation: Cancellation
    ) -> None:
        self._target = workflow.cloud.deployment.target
        self._clients = clients
        self._emit = emit
        self._deadline = deadline
        self._cancellation = cancellation
        self.state = ""

    def __call__(self) -> None:
        clients, target = self._clients, self._target
        deployment = latest_deployment(clients, clients.arn("iot", target.arn_suffix))
        if deployment is None:
            raise Problem(f"{target.arn_suffix} has no deployment", where=DEPLOYMENT, mend="emflow apply makes one.")
        identity = deployment["deploymentId"]
        pause = 0.1
        while True:
            things = [target.thing] if target.thing else _members(clients, target.thing_group or "")
            if not things:
                raise Problem(
                    f"no core device is in {target.arn_suffix}, so no device takes the deployment",
                    where=DEPLOYMENT,
                    mend="Add core devices to the thing group; they take it as they join.",
                )
            states = {thing: _state(clients, thing, identity) for thing in things}
            _refuse_broken(states)
            if all(state["coreDeviceExecutionStatus"] in SUCCEEDED for state in states.values()):
                return
            _refuse_replaced(clients, identity)
            self._report(_summary(states))
            self._cancellation.pause(pause)
            pause = min(pause * 1.4, 5.0)

    def _report(self, state: str) -> None:
        if state != self.state:
            self._emit(Waiting(ROLLOUT, state))
            self.state = state
        if time.monotonic() > self._deadline:
            raise Problem(
                f"the deployment has not arrived on every device in time: {state}",
                where=DEPLOYMENT,
                mend="Check that the device runs and is connected; see greengrass.log on it.",
            )


def _members(clients: Clients, group: str) -> list[str]:
    pages = clients("iot").get_paginator("list_things_in_thing_group").paginate(thingGroupName=group)
    return [thing for page in pages for thing in page["things"]]


def _state(clients: Clients, thing: str, deployment: str) -> Mapping[str, Any]:
    """What a core device reports about the deployment."""
    pages = clients("greengrassv2").get_paginator("list_effective_deployments").paginate(coreDeviceThingName=thing)
    try:
        for page in pages:
            for each in page["effectiveDeployments"]:
                if each["deploymentId"] == deployment:
                    found: Mapping[str, Any] = each
                    return found
    except ClientError as error:
        if not is_missing(error):  # a core device is known to Greengrass from its first message on
            raise
    return {"coreDeviceExecutionStatus": UNKNOWN}


def _refuse_broken(states: Mapping[str, Mapping[str, Any]]) -> None:
    broken = {thing: state for thing, state in states.items() if state["coreDeviceExecutionStatus"] in FAILED_STATES}
    if broken:
        raise Problem(
            "\n".join(_reason(thing, state) for thing, state in broken.items()),
            where=DEPLOYMENT,
            mend="See greengrass.log and the component's log on the device; correct the workflow and apply it again.",
        )


def _reason(thing: str, state: Mapping[str, Any]) -> str:
    details = state.get("statusDetails") or {}
    stack = " > ".join(details.get("errorStack") or [])
    reason = state.get("reason") or "no reason given"
    return f"{thing}: the deployment {state['coreDeviceExecutionStatus']}: {reason}" + (f" [{stack}]" if stack else "")


def _refuse_replaced(clients: Clients, deployment: str) -> None:
    status = clients("greengrassv2").get_deployment(deploymentId=deployment)["deploymentStatus"]
    match status:
        case "CANCELED":
            raise Problem("the deployment was cancelled", where=DEPLOYMENT, mend="emflow apply makes it again.")
        case "INACTIVE":
            raise Problem("another deployment has replaced this one", where=DEPLOYMENT, mend="See emflow plan.")


def _summary(states: Mapping[str, Mapping[str, Any]]) -> str:
    """`IN_PROGRESS` for one device, `2 SUCCEEDED, 1 QUEUED` for several."""
    count = Counter(str(state["coreDeviceExecutionStatus"]) for state in states.values())
    if len(states) == 1:
        return next(iter(count))
    return ", ".join(f"{number} {state}" for state, number in sorted(count.items()))
