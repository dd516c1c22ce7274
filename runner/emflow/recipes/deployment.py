"""The deployment: which components at which version, each with its configuration. Plain data, as the API takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from emflow.recipes.bundle import LABELS
from emflow.workflow.model import AGENT_COMPONENT, Workflow
from emflow.workflow.units import seconds


def agent_settings(workflow: Workflow) -> dict[str, str]:
    """The workshop's twelve settings of Edge Manager's agent, in its order, all of them texts."""
    capture, agent = workflow.edge.capture, workflow.edge.agent
    return {
        "CaptureDataPeriodicUpload": _lower(capture.periodic_upload),
        "CaptureDataPeriodicUploadPeriodSeconds": _whole_seconds(capture.periodic_upload_period),
        "DeviceFleetName": workflow.cloud.fleet.name,
        "BucketName": workflow.cloud.buckets.inference_results.name,
        "CaptureDataBase64EmbedLimit": str(capture.embed_limit),
        "CaptureDataPushPeriodSeconds": _whole_seconds(capture.push_period),
        "SagemakerEdgeLogVerbose": _lower(agent.verbose),
        "CaptureDataBatchSize": str(capture.batch),
        "CaptureDataDestination": capture.destination.capitalize(),
        "FolderPrefix": capture.prefix,
        "UnixSocketName": agent.socket,
        "CaptureDataBufferSize": str(capture.buffer),
    }


def application_configuration(workflow: Workflow, version: str) -> dict[str, Any]:
    """What the application component reads over IPC. Numbers are texts: Greengrass turns numbers into floats."""
    edge = workflow.edge
    labels = {} if edge.model_io.labels is None else {"labels": LABELS}
    return {
        "modelName": workflow.cloud.model.name,
        "agentSocket": edge.agent.socket,
        "captureData": str(edge.capture.enabled),  # the workshop's `True` and `False`
        "streams": [{"name": stream.name, "url": stream.url, "every": stream.every} for stream in edge.streams],
        "modelIO": {
            "color": edge.model_io.color,
            "resize": edge.model_io.resize,
            **labels,
            "classOffset": str(edge.model_io.class_offset),
            "topK": str(edge.model_io.top_k),
        },
        "publish": {"topic": edge.publish.topic, "qos": str(edge.publish.qos)},
        "version": version,
    }


def deployment_components(
    workflow: Workflow, versions: Mapping[str, str], application_version: str
) -> dict[str, dict[str, Any]]:
    """`components` of CreateDeployment: AWS's public ones, the model's, the application's.

    Args:
        versions: the version that each of AWS's components is to have; the workflow's own word where it is missing.
        application_version: the application component's.
    """
    public = {
        name: {"componentVersion": versions.get(name, version)}
        for name, version in workflow.cloud.deployment.components.items()
    }
    model, application = workflow.cloud.package.component, workflow.edge.component
    components: dict[str, dict[str, Any]] = {
        **public,
        model.name: {"componentVersion": model.version},
        application.name: {
            "componentVersion": application_version,
            "configurationUpdate": _exactly(application_configuration(workflow, application_version)),
        },
    }
    if AGENT_COMPONENT in components:
        components[AGENT_COMPONENT]["configurationUpdate"] = _exactly(agent_settings(workflow))
    return components


def _exactly(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A merge is a patch on what a device has, so a key that left the workflow would stay: reset everything first."""
    return {"reset": [""], "merge": json.dumps(configuration)}


def _lower(value: bool) -> str:
    return "true" if value else "false"


def _whole_seconds(duration: str) -> str:
    return str(round(seconds(duration)))
