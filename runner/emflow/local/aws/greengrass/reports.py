"""The status report of a core device: JSON to typed facts.

The real nucleus says this over MQTT to AWS's fleet status service; here it is a POST to `/_emflow/cores/<thing>`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emflow_emulator.aws.errors import ApiError

LIFECYCLE_STATES = ("NEW", "INSTALLED", "STARTING", "RUNNING", "STOPPING", "ERRORED", "BROKEN", "FINISHED")
EXECUTION_STATES = (
    "IN_PROGRESS",
    "QUEUED",
    "FAILED",
    "COMPLETED",
    "TIMED_OUT",
    "CANCELED",
    "REJECTED",
    "SUCCEEDED",
)


@dataclass(frozen=True)
class ReportedComponent:
    name: str
    version: str
    state: str
    details: str = ""
    is_root: bool = False
    codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportedDeployment:
    id: str
    status: str
    reason: str = ""
    error_stack: tuple[str, ...] = ()
    error_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All that a core device says about itself at one moment."""

    core_version: str
    platform: str
    architecture: str
    status: str
    components: tuple[ReportedComponent, ...] = ()
    deployment: ReportedDeployment | None = None


def parse(document: Any) -> Report:
    """Read a report.

    Raises:
        ApiError: something is missing, or is not what it should be; the message says which.
    """
    top = _map(document, "the report")
    components = [_component(_map(each, "components[]")) for each in _list(top, "components")]
    deployment = top.get("deployment")
    return Report(
        core_version=_text(top, "coreVersion"),
        platform=_text(top, "platform"),
        architecture=_text(top, "architecture"),
        status=_choice(top, "status", ("HEALTHY", "UNHEALTHY")),
        components=tuple(components),
        deployment=None if deployment is None else _deployment(_map(deployment, "deployment")),
    )


def _component(document: dict[str, Any]) -> ReportedComponent:
    return ReportedComponent(
        name=_text(document, "componentName"),
        version=_text(document, "componentVersion"),
        state=_choice(document, "lifecycleState", LIFECYCLE_STATES),
        details=str(document.get("lifecycleStateDetails") or "")[:1000],
        is_root=document.get("isRoot") is True,
        codes=tuple(map(str, _list(document, "lifecycleStatusCodes"))),
    )


def _deployment(document: dict[str, Any]) -> ReportedDeployment:
    return ReportedDeployment(
        id=_text(document, "deploymentId"),
        status=_choice(document, "coreDeviceExecutionStatus", EXECUTION_STATES),
        reason=str(document.get("reason") or ""),
        error_stack=tuple(map(str, _list(document, "errorStack"))),
        error_types=tuple(map(str, _list(document, "errorTypes"))),
    )


def _map(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ApiError("ValidationException", f"{name} must be a JSON object")
    return value


def _list(document: dict[str, Any], name: str) -> list[Any]:
    value = document.get(name) or []
    if not isinstance(value, list):
        raise ApiError("ValidationException", f"{name} must be a list")
    return value


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise ApiError("ValidationException", f"{name} must be text, and is {value!r}")
    return value


def _choice(document: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = _text(document, name)
    if value not in choices:
        raise ApiError("ValidationException", f"{name} must be one of {', '.join(choices)}, and is {value!r}")
    return value
