"""When results last came, as far as the cloud knows: from captured data, or from the agent's heartbeat to its fleet.

Results themselves go over MQTT, which keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import code, missing, status
from emflow.engine.work import together
from emflow.workflow.model import Workflow

LEVELS = 4
"""Captures lie under year, month, day and hour."""


@dataclass(frozen=True)
class LastResults:
    """`source` says how it is known."""

    time: datetime
    source: str


def last_results(workflow: Workflow, clients: Clients) -> LastResults | None:
    """The latest that is known; None when nothing is."""
    reads: dict[str, Callable[[], LastResults | None]] = {
        "captures": lambda: _captured(workflow, clients),
        "fleet": lambda: _inferred(workflow, clients),
    }
    known = [found for found in together(reads).values() if found]
    return max(known, key=lambda found: found.time, default=None)


def _captured(workflow: Workflow, clients: Clients) -> LastResults | None:
    """The newest captured object; the folders are times, so the last of each level holds it."""
    s3, bucket = clients("s3"), workflow.cloud.buckets.inference_results.name
    top = f"{workflow.edge.capture.prefix}/{workflow.cloud.fleet.name}/{workflow.cloud.model.name}/"
    prefix = top
    try:
        for _ in range(LEVELS):
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
            folders = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", [])]
            folders = [each for each in folders if each.removeprefix(prefix).rstrip("/").isdigit()]
            if not folders:
                return None
            prefix = max(folders)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        times = [each["LastModified"] for page in pages for each in page.get("Contents", [])]
    except ClientError as error:
        if missing(error) or status(error) == 403:
            return None
        raise
    return LastResults(max(times), f"captures in s3://{bucket}/{top}") if times else None


def _inferred(workflow: Workflow, clients: Clients) -> LastResults | None:
    """What the agent told its fleet, of the device that is the target."""
    thing = workflow.cloud.deployment.target.thing
    if not thing:
        return None
    fleet = workflow.cloud.fleet.name
    try:
        device: dict[str, Any] = clients("sagemaker").describe_device(DeviceName=thing, DeviceFleetName=fleet)
    except ClientError as error:
        if missing(error) or code(error) in {"UnknownOperationException", "AccessDeniedException"}:
            return None
        raise
    times = [model["LatestInference"] for model in device.get("Models") or () if model.get("LatestInference")]
    return LastResults(max(times), f"heartbeat of the agent to fleet {fleet}") if times else None
