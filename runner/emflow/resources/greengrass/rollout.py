"""The rollout of a deployment: waiting until every device has taken it, or has reported why not.

A deployment to a thing group is an IoT job, which counts its devices by state: one call for the whole fleet, whatever
its size. Only devices that failed are looked at one by one. A deployment to one thing has no job, and is asked for
there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.cancellation import Cancellation, Cancelled, Interrupted
from emflow.engine.clients import Clients
from emflow.engine.errors import is_missing
from emflow.engine.events import Done, Emit, Failed, Left, Started, Waiting, ignore_events
from emflow.engine.scheduler import read_parallel, run_parallel
from emflow.problems import Problem
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.greengrass.deployment import DEPLOYMENT
from emflow.resources.greengrass.deployment_records import latest_deployment
from emflow.resources.greengrass.thing_group import group_members
from emflow.workflow.model import Workflow

SUCCEEDED = frozenset({"SUCCEEDED", "COMPLETED"})
FAILED_STATES = frozenset({"FAILED", "TIMED_OUT", "REJECTED", "CANCELED"})
UNKNOWN = "not reported yet"
ROLLOUT = "deployment/rollout"
"""The id under which the events of a rollout come."""

JOB_COUNTS = {
    "numberOfSucceededThings": "SUCCEEDED",
    "numberOfInProgressThings": "IN_PROGRESS",
    "numberOfQueuedThings": "QUEUED",
    "numberOfFailedThings": "FAILED",
    "numberOfTimedOutThings": "TIMED_OUT",
    "numberOfRejectedThings": "REJECTED",
    "numberOfCanceledThings": "CANCELED",
    "numberOfRemovedThings": "REMOVED",
}
"""The counts of a job, and the states of the devices that they count:
https://docs.aws.amazon.com/iot/latest/apireference/API_JobProcessDetails.html."""

MAX_REASONS = 20
"""Devices that failed whose reasons are read."""


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
        states = self._thing(target.thing, identity) if target.thing else self._group(deployment)
        pause = 0.1
        for state in states:
            self._report(state)
            self._cancellation.pause(pause)
            pause = min(pause * 1.4, 5.0)

    def _thing(self, thing: str, deployment: str) -> Iterator[str]:
        """The state on one device, one each time that it is asked, until the deployment has succeeded there."""
        while True:
            execution = _execution(self._clients, thing, deployment)
            state = str(execution["coreDeviceExecutionStatus"])
            if state in FAILED_STATES:
                raise _failed([_reason(thing, execution)])
            if state in SUCCEEDED:
                return
            _refuse_replaced(self._clients, deployment)
            yield state

    def _group(self, deployment: Mapping[str, Any]) -> Iterator[str]:
        """The same for a thing group, such as `2 SUCCEEDED, 1 QUEUED`."""
        identity, job = deployment["deploymentId"], deployment.get("iotJobId")
        if not job:
            what = f"Greengrass names no IoT job for deployment {identity}, so its devices cannot be counted"
            raise Problem(what, where=DEPLOYMENT, mend="See emflow status.")
        members = len(group_members(self._clients, self._target.thing_group or ""))
        if not members:
            raise Problem(
                f"no core device is in {self._target.arn_suffix}, so no device takes the deployment",
                where=DEPLOYMENT,
                mend="Add core devices to the thing group; they take it as they join.",
            )
        while True:
            described = none_if_missing(partial(self._clients("iot").describe_job, jobId=job))
            found = described["job"] if described else {}  # IoT may know of a new job a little later
            details = found.get("jobProcessDetails") or {}
            counts = {state: details.get(member) or 0 for member, state in JOB_COUNTS.items()}
            failed = {
                state: count for state, count in counts.items() if state in FAILED_STATES - {"CANCELED"} and count
            }
            if failed:
                raise _failed(_reasons(self._clients, job, identity, failed))
            if found.get("status") in {"CANCELED", "DELETION_IN_PROGRESS"}:
                _refuse_replaced(self._clients, identity)
                raise Problem("the deployment's job was cancelled", where=DEPLOYMENT, mend="See emflow status.")
            # A staged rollout queues devices bit by bit, so the counts reach the number of members only at its end.
            if counts["SUCCEEDED"] + counts["REMOVED"] >= members and not counts["QUEUED"] + counts["IN_PROGRESS"]:
                return
            waiting = members - sum(counts.values())
            shown = [f"{count} {state}" for state, count in counts.items() if count]
            yield ", ".join(shown + [f"{waiting} {UNKNOWN}"] * (waiting > 0))

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


def _execution(clients: Clients, thing: str, deployment: str) -> Mapping[str, Any]:
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


def _reasons(clients: Clients, job: str, deployment: str, failed: Mapping[str, int]) -> list[str]:
    """Why devices failed, each in a line; of more than `MAX_REASONS`, how many others did."""
    things: dict[str, str] = {}
    for state in failed:
        if len(things) < MAX_REASONS:
            page = clients("iot").list_job_executions_for_job(jobId=job, status=state, maxResults=MAX_REASONS)
            things |= {each["thingArn"].rpartition("/")[2]: state for each in page["executionSummaries"]}
    named = sorted(things)[:MAX_REASONS]
    reported = read_parallel({thing: partial(_execution, clients, thing, deployment) for thing in named})
    lines = []
    for thing, execution in reported.items():
        # The job can know of the end before Greengrass does, and of a timeout that the device never reports.
        known = execution["coreDeviceExecutionStatus"] in FAILED_STATES
        lines.append(_reason(thing, execution if known else {"coreDeviceExecutionStatus": things[thing]}))
    others = sum(failed.values()) - len(named)
    return lines + [f"{others} more devices failed; see emflow status"] * (others > 0)


def _failed(reasons: list[str]) -> Problem:
    return Problem(
        "\n".join(reasons),
        where=DEPLOYMENT,
        mend="See greengrass.log and the component's log on the device; correct the workflow and apply it again.",
    )


def _reason(thing: str, state: Mapping[str, Any]) -> str:
    details = state.get("statusDetails") or {}
    stack = " > ".join(details.get("errorStack") or [])
    # The virtual core's reason goes on with the last lines of the script that failed.
    reason, *output = (state.get("reason") or "no reason given").splitlines()
    what = f"{thing}: the deployment {state['coreDeviceExecutionStatus']}: {reason}"
    errors = [f"[{stack}]"] if stack else []
    return "\n    ".join([what, *output, *errors]) if output else " ".join([what, *errors])


def _refuse_replaced(clients: Clients, deployment: str) -> None:
    status = clients("greengrassv2").get_deployment(deploymentId=deployment)["deploymentStatus"]
    match status:
        case "CANCELED":
            raise Problem("the deployment was cancelled", where=DEPLOYMENT, mend="emflow apply makes it again.")
        case "INACTIVE":
            raise Problem("another deployment has replaced this one", where=DEPLOYMENT, mend="See emflow plan.")
