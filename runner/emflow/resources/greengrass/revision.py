"""A revision of a target's deployment: how one is read, how it is made without the workflow, how it is rolled out.

A deployment that replaces another has to know which of the components in it the workflow put there: those are removed
when the workflow drops them, everybody else's stay. `deployment_records` knows it.

A merge of configuration is a patch on what a device has: a key that leaves the merge stays on the device. So what an
earlier revision merged and the workflow no longer says is reset, in every revision from then on: a device may have
missed any of them.
https://docs.aws.amazon.com/greengrass/v2/developerguide/update-component-configurations.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

from emflow.engine.clients import Clients
from emflow.engine.scheduler import read_parallel
from emflow.json_text import from_json
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.greengrass import component_queries
from emflow.resources.greengrass.deployment_records import (
    TARGET_TAG,
    latest_deployment,
    merged_configuration,
    names_as_tags,
    records_of,
)
from emflow.resources.ownership import Ownership
from emflow.workflow.model import Deployment, Growth, Rollout
from emflow.workflow.public_components import PUBLIC_COMPONENTS
from emflow_schema.units import seconds

DEFAULT_POLICIES: Mapping[str, Any] = {
    "failureHandlingPolicy": "ROLLBACK",
    "componentUpdatePolicy": {"timeoutInSeconds": 60, "action": "NOTIFY_COMPONENTS"},
    "configurationValidationPolicy": {"timeoutInSeconds": 30},
}
"""What AWS takes where a deployment says nothing."""

MAX_RATE = 1000
"""Devices a minute: AWS's maximum, and its default."""

EVERYTHING = ""
"""The JSON pointer to the whole configuration."""


def desired_policies(deployment: Deployment) -> dict[str, Any]:
    """`deploymentPolicies`, whole."""
    return {
        "failureHandlingPolicy": {"rollback": "ROLLBACK", "nothing": "DO_NOTHING"}[deployment.on_failure],
        "componentUpdatePolicy": {
            "timeoutInSeconds": round(seconds(deployment.update.timeout)),
            "action": "NOTIFY_COMPONENTS" if deployment.update.notify else "SKIP_NOTIFY_COMPONENTS",
        },
        "configurationValidationPolicy": {"timeoutInSeconds": round(seconds(deployment.validation_timeout))},
    }


def desired_job(deployment: Deployment) -> dict[str, Any]:
    """`iotJobConfiguration`; empty for a deployment to one thing, which is no job."""
    if deployment.target.thing_group is None:
        return {}
    rollout = deployment.rollout or Rollout()
    rate: dict[str, Any] = {"maximumPerMinute": rollout.max_per_minute}
    if rollout.growth:
        rate["exponentialRate"] = _growth(rollout.growth)
    criteria = [
        {
            "failureType": each.when.upper(),
            "action": "CANCEL",
            "thresholdPercentage": each.percent,
            "minNumberOfExecutedThings": each.after,
        }
        for each in rollout.abort
    ]
    return {
        "jobExecutionsRolloutConfig": rate,
        **({"abortConfig": {"criteriaList": criteria}} if criteria else {}),
        **(
            {"timeoutConfig": {"inProgressTimeoutInMinutes": round(seconds(rollout.timeout) / 60)}}
            if rollout.timeout
            else {}
        ),
    }


def _growth(growth: Growth) -> dict[str, Any]:
    when = (
        {"numberOfSucceededThings": growth.after_succeeded}
        if growth.after_succeeded
        else {"numberOfNotifiedThings": growth.after_notified}
    )
    return {
        "baseRatePerMinute": growth.start_per_minute,
        "incrementFactor": growth.factor,
        "rateIncreaseCriteria": when,
    }


def observed_policies(latest: Mapping[str, Any]) -> dict[str, Any]:
    """The policies of a deployment that is there."""
    found = latest.get("deploymentPolicies") or {}
    return {
        key: {**value, **(found.get(key) or {})} if isinstance(value, Mapping) else found.get(key) or value
        for key, value in DEFAULT_POLICIES.items()
    }


def observed_job(latest: Mapping[str, Any], *, group: bool) -> dict[str, Any]:
    """The job configuration of a deployment that is there."""
    if not group:
        return {}
    found = latest.get("iotJobConfiguration") or {}
    return {
        **found,
        "jobExecutionsRolloutConfig": {"maximumPerMinute": MAX_RATE, **(found.get("jobExecutionsRolloutConfig") or {})},
    }


def comparable(spec: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """One component of a deployment with its configuration read, so that only what means something differs."""
    if spec is None:
        return None
    update = spec.get("configurationUpdate") or {}
    configuration: Any = update.get("merge") or "{}"
    with contextlib.suppress(ValueError):  # others write deployments too: what is no JSON is compared as it is
        configuration = from_json(configuration)
    return {
        "version": spec.get("componentVersion"),
        "configuration": configuration,
        "reset": sorted(update.get("reset") or []),
        "runWith": spec.get("runWith") or {},
    }


def missing_versions(clients: Clients, latest: Mapping[str, Any] | None, put: Collection[str]) -> list[str]:
    """The components of others in a deployment whose version does not exist any more: a revision with them would fail.

    AWS's own components are not looked up, because AWS does not remove versions. By their names: those of AWS's samples
    begin like them, and are somebody's own.
    """
    asked = {
        name: partial(_version_exists, clients, name, spec.get("componentVersion", ""))
        for name, spec in (latest["components"] if latest else {}).items()
        if name not in put and name not in PUBLIC_COMPONENTS
    }
    return sorted(name for name, there in read_parallel(asked).items() if not there)


def remove_owned_components(clients: Clients, target: str, ownership: Ownership) -> None:
    """Remove the workflow's components from the devices of a target, such as `thing/core-1`.

    Deleting or cancelling a deployment leaves devices as they are; what removes components from them is another
    revision without them. It keeps what the workflow did not put there, and what another workflow put there as well.
    It has the workflow's tags and no names: nothing in it is the workflow's any more.
    """
    arn = clients.arn("iot", target)
    latest = latest_deployment(clients, arn)
    if latest is None:
        return
    records = records_of(clients, arn, ownership)
    if not records.put & latest["components"].keys():
        return
    left = {*(records.put - records.others.keys()), *missing_versions(clients, latest, records.put)}
    settings = ("deploymentName", "deploymentPolicies", "iotJobConfiguration", "parentTargetArn")
    clients("greengrassv2").create_deployment(
        targetArn=arn,
        components={name: spec for name, spec in latest["components"].items() if name not in left},
        tags={**ownership.tags(), **names_as_tags(()), TARGET_TAG: target},
        **{key: latest[key] for key in settings if latest.get(key)},
    )


def target_exists(clients: Clients, target: str) -> bool:
    """Whether IoT knows a target such as `thing/core-1` or `thinggroup/hall-3`."""
    iot, (kind, _, name) = clients("iot"), target.partition("/")
    if kind == "thing":
        return none_if_missing(lambda: iot.describe_thing(thingName=name)) is not None
    return none_if_missing(lambda: iot.describe_thing_group(thingGroupName=name)) is not None


def _version_exists(clients: Clients, name: str, version: str) -> bool:
    private = component_queries.component_arn(clients, name, version)
    public = f"arn:{clients.partition}:greengrass:{clients.region}:aws:components:{name}:versions:{version}"
    return any(component_queries.describe(clients, arn) for arn in (private, public))


def revised_configuration(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """`configurationUpdate` and `runWith` of a component, as far as it has them.

    Args:
        there: the component in the revision before.
        wanted: the component as the workflow has it; what it does not give is to be as if it never was.
    """
    before, now = there.get("configurationUpdate") or {}, wanted.get("configurationUpdate") or {}
    merge = merged_configuration(wanted)
    set_now = set(pointers(merge))
    earlier = {*(before.get("reset") or ()), *pointers(merged_configuration(there))}
    # A reset of everything is not repeated automatically: it also removes settings that were made on the device itself.
    dropped = {pointer for pointer in earlier if pointer != EVERYTHING and not _within(pointer, set_now)}
    reset = sorted({*(now.get("reset") or ()), *dropped})
    update = {**({"merge": now["merge"]} if merge else {}), **({"reset": reset} if reset else {})}
    run_with = wanted.get("runWith")
    return {**({"configurationUpdate": update} if update else {}), **({"runWith": run_with} if run_with else {})}


def pointers(value: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """JSON pointers to all that a merge sets: to everything in it that is no mapping, or an empty one (RFC 6901)."""
    for key, inner in value.items():
        here = f"{above}/{key.replace('~', '~0').replace('/', '~1')}"
        if isinstance(inner, Mapping) and inner:
            yield from pointers(inner, here)
        else:
            yield here


def _within(pointer: str, others: set[str]) -> bool:
    """Whether a pointer is one of these, or points into what one of them points at."""
    return any(pointer == other or pointer.startswith(f"{other}/") for other in others)
