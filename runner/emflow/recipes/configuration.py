"""What the components are told: the application's configuration and the agent's settings, as they take them.

All values are texts, because Greengrass turns numbers into floats. Beside the keys that are always there, what is as
the component has it anyway is left out, so that a deployment shows what is special about it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from emflow.recipes.bundle import LABELS
from emflow.workflow.model import Agent, Boxes, Log, Metrics, ModelIO, OpenAgent, Publish, Stream, Workflow
from emflow_schema.units import seconds

_STREAM = Stream(name="", url="")


def agent_settings(workflow: Workflow) -> dict[str, str]:
    """The workshop's twelve settings of Edge Manager's agent, in its order, then those it has not."""
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
        **({"CaptureDataDiskPath": capture.disk_path} if capture.disk_path else {}),
        **_special(_agent(agent), _agent(Agent())),
        **_special(_open_agent(agent.open), _open_agent(OpenAgent())),
    }


def application_configuration(workflow: Workflow, version: str) -> dict[str, Any]:
    """What the application component reads over IPC."""
    edge = workflow.edge
    sections = {
        "log": _special(_log(edge.log), _log(Log())),
        "metrics": _special(_metrics(edge.metrics), _metrics(Metrics())),
    }
    return {
        "modelName": workflow.cloud.model.name,
        "agentSocket": edge.agent.socket,
        "captureData": str(edge.capture.enabled),  # the workshop's `True` and `False`
        "streams": [_stream(stream) for stream in edge.streams],
        "modelIO": _model_io(edge.model_io),
        "publish": _special(_publish(edge.publish), _publish(Publish()), always=("topic", "qos")),
        "capture": {"enabled": _lower(edge.capture.enabled), "every": edge.capture.every},
        **{name: section for name, section in sections.items() if section},
        "version": version,
    }


def _agent(agent: Agent) -> dict[str, str]:
    return {
        "DLRBackendOptions": _pairs(agent.backend_options),
        "DbEnable": _lower(agent.database),
        "DeploymentEnable": _lower(agent.model_deployments),
    }


def _open_agent(agent: OpenAgent) -> dict[str, str]:
    return {
        "Runtime": "" if agent.runtime == "auto" else agent.runtime,
        "Threads": _number(agent.threads),
        "Delegate": agent.delegate or "",
        "DelegateOptions": _pairs(agent.delegate_options),
        "Providers": "; ".join(agent.providers),
        "AcceleratorRequired": _lower(agent.accelerator_required),
        "GraphCache": agent.graph_cache or "",
        "MemoryLimit": agent.memory_limit or "",
        "QueueSize": str(agent.queue_size),
        "Trial": _lower(agent.trial),
        "TrustKeys": ",".join(agent.trust_keys),
        "RequireSignature": _lower(agent.require_signature),
        "SocketMode": agent.socket_mode,
        "SocketGroup": agent.socket_group or "",
        "CaptureDataDiskBudget": agent.capture_disk_budget,
        "MetricsPeriodSeconds": _whole_seconds(agent.metrics_period),
    }


def _stream(stream: Stream) -> dict[str, Any]:
    reference = {"credentials": {"secret": stream.credentials.arn}} if stream.credentials else {}
    special = _special(_reading(stream), _reading(_STREAM))
    return {"name": stream.name, "url": stream.url, "every": stream.every, **reference, **special}


def _reading(stream: Stream) -> dict[str, str]:
    return {
        "transport": stream.transport,
        "backend": stream.backend,
        "pipeline": stream.pipeline or "",
        "ca": stream.ca or "",
        "openTimeout": stream.open_timeout,
        "readTimeout": stream.read_timeout,
        "frozenAfter": stream.frozen_after,
        "blackAfter": stream.black_after,
    }


def _model_io(model_io: ModelIO) -> dict[str, Any]:
    always = ("color", "resize", "classOffset", "topK")
    boxes = _special(_boxes(model_io.boxes), _boxes(Boxes()))
    return {
        **_special(_decoding(model_io), _decoding(ModelIO()), always=always),
        **({"boxes": boxes} if boxes else {}),
    }


def _decoding(model_io: ModelIO) -> dict[str, str]:
    return {
        "task": model_io.task,
        "color": model_io.color,
        "resize": model_io.resize,
        "margin": str(model_io.margin),
        "mean": _channels(model_io.mean),
        "std": _channels(model_io.std),
        "activation": model_io.activation,
        "confidence": model_io.confidence,
        "labels": LABELS if model_io.labels else "",
        "classOffset": str(model_io.class_offset),
        "topK": str(model_io.top_k),
        "threshold": _number(model_io.threshold),
    }


def _boxes(boxes: Boxes) -> dict[str, str]:
    return {
        "outputs": ",".join(boxes.outputs),
        "order": boxes.order,
        "units": boxes.units,
        "most": str(boxes.most),
        "iou": _number(boxes.iou),
    }


def _publish(publish: Publish) -> dict[str, str]:
    return {
        "topic": publish.topic,
        "qos": str(publish.qos),
        "statusTopic": publish.status_topic or "",
        "metricsTopic": publish.metrics_topic or "",
        "onChange": _lower(publish.on_change),
        "every": publish.every,
        "threshold": _number(publish.threshold),
        "mqtt": publish.mqtt,
        "expiry": publish.expiry,
    }


def _log(log: Log) -> dict[str, str]:
    return {"format": log.format, "level": log.level}


def _metrics(metrics: Metrics) -> dict[str, str]:
    return {"every": metrics.every, "port": str(metrics.port)}


def _special(values: Mapping[str, str], default: Mapping[str, str], always: Collection[str] = ()) -> dict[str, str]:
    """What differs from the default, and what is always there."""
    return {key: value for key, value in values.items() if key in always or value != default[key]}


def _channels(value: float | tuple[float, ...] | None) -> str:
    return ",".join(map(_number, value)) if isinstance(value, tuple) else _number(value)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if value == int(value) else repr(value)


def _pairs(values: Mapping[str, str]) -> str:
    return "; ".join(f"{key}={value}" for key, value in values.items())


def _lower(value: bool) -> str:
    return "true" if value else "false"


def _whole_seconds(duration: str) -> str:
    return str(round(seconds(duration)))
