"""What the lite nucleus does not do of a workflow beside its recipes: as measured on version 2.6.0."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from emflow.json_text import from_json, to_json
from emflow.problems import Problem
from emflow.recipes.deployment import deployment_components
from emflow.recipes.lint.dependencies import OF_LITE, PLUGINS
from emflow.workflow.files_beside import path_beside
from emflow.workflow.model import Workflow
from emflow.workflow.rules.violation import Violation
from emflow.workflow.source.positions import KeyPath
from emflow.workflow.source.safe_open import read_text
from emflow_schema.result_message import Box, Class, Detection, ResultMessage

MAX_PAYLOAD = 7_300
"""Bytes of one published message: 10,000 bytes of IPC, in which the payload is base64."""
MAX_OBJECTS = 255
"""Objects of a deployment document, as the lite nucleus counts: keys, and values of any kind. With 12 streams one was
taken, with 24 it was not."""
MAX_LABELS_BYTES = 1_000_000

_COMPONENTS: KeyPath = ("cloud", "deployment", "components")


def violations(workflow: Workflow, *, asked: bool) -> Iterator[Violation]:
    """What the workflow wants, and the lite nucleus does not do.

    Args:
        asked: the devices have the lite nucleus, as the workflow's user says; without that, nothing is said of what
            every workflow for the classic nucleus has.
    """
    publish = workflow.edge.publish
    if publish.status_topic is not None:
        what = "the lite nucleus does not retain messages: who subscribes later gets no status"
        yield Violation(
            ("edge", "publish", "status_topic"), what, "leave it out, or subscribe before the device starts"
        )
    for index, stream in enumerate(workflow.edge.streams):
        if stream.credentials is not None:
            what = "the lite nucleus gives components no secrets, so this camera cannot be logged in to"
            mend = "use a camera without a password there, or the classic nucleus"
            yield Violation(("edge", "streams", index, "credentials"), what, mend)
    yield from _payload(workflow)
    yield from _document(workflow)
    if asked:
        yield from _deployed(workflow)


def _payload(workflow: Workflow) -> Iterator[Violation]:
    """A result with as many things as it may have is too large for one message."""
    model_io = workflow.edge.model_io
    size = len(_largest_result(workflow).text().encode())
    if size <= MAX_PAYLOAD:
        return
    what = f"a result may have {size} bytes, and the lite nucleus publishes {MAX_PAYLOAD} at most"
    if model_io.task == "detection":
        mend = f"write a smaller number for edge.model_io.boxes.most, which is {model_io.boxes.most}"
        yield Violation(("edge", "model_io", "boxes", "most"), what, mend)
    else:
        mend = f"write a smaller number for edge.model_io.top_k, which is {model_io.top_k}"
        yield Violation(("edge", "model_io", "top_k"), what, mend)


def _largest_result(workflow: Workflow) -> ResultMessage:
    model_io = workflow.edge.model_io
    labels = _labels(workflow)
    label = max(labels, key=lambda text: len(to_json(text)), default=None)
    index = max(len(labels), 1000)
    detections = None
    if model_io.task == "detection":
        box = Box(0.1234, 0.1234, 0.1234, 0.1234)
        detections = (Detection(index, label, 0.1234, box),) * model_io.boxes.most
    classes = min(model_io.top_k, len(labels)) if labels else model_io.top_k
    streams = [stream.name for stream in workflow.edge.streams]
    return ResultMessage(
        index=index,
        confidence=0.1234,
        predict_ms=1234.5678,
        model_name=workflow.cloud.model.name,
        label=label,
        top=(Class(index, label, 0.1234),) * (0 if detections is not None else classes),
        detections=detections,
        stream=max(streams, key=len, default=None),
        frame_time=datetime(2026, 1, 1, tzinfo=UTC),
        frame_age_ms=1234.5,
        sequence=10**9,
        thing="x" * 64,
        version="100.100.100",
    )


def _labels(workflow: Workflow) -> list[str]:
    name = workflow.edge.model_io.labels
    try:
        return read_text(path_beside(workflow, name), MAX_LABELS_BYTES).splitlines() if name else []
    except (Problem, OSError, UnicodeDecodeError):  # the workflow's own rules say what is wrong with the file
        return []


def _document(workflow: Workflow) -> Iterator[Violation]:
    """The lite nucleus never takes a deployment with too much in it."""
    components = deployment_components(workflow, {}, "100.100.100")
    for each in components.values():
        update = each.get("configurationUpdate", {})
        if "merge" in update:
            update["merge"] = from_json(update["merge"])
    count = count_objects(components)
    if count > MAX_OBJECTS:
        what = f"the deployment has {count} keys and values, and the lite nucleus takes {MAX_OBJECTS} at most"
        mend = "use fewer streams on a device, or the classic nucleus"
        yield Violation(("edge", "streams"), what, mend)


def count_objects(value: Any) -> int:
    """The objects of a deployment document, as the lite nucleus counts."""
    if isinstance(value, dict):
        return 1 + sum(1 + count_objects(inner) for inner in value.values())
    return 1 + (sum(map(count_objects, value)) if isinstance(value, list) else 0)


def _deployed(workflow: Workflow) -> Iterator[Violation]:
    """AWS's components that are part of the classic nucleus, and the model's, which only installs."""
    for name in workflow.cloud.deployment.components:
        if name in OF_LITE:
            what = f"{name} is no component of its own on the lite nucleus, and its deployment fails"
            yield Violation((*_COMPONENTS, name), what, "leave it out: the lite nucleus does what it does")
        elif name in PLUGINS:
            what = f"{name} is a plugin of the classic nucleus, which the lite nucleus lacks"
            yield Violation((*_COMPONENTS, name), what, "leave it out")
    what = "the component that SageMaker makes of the model only installs: on the lite nucleus its deployment fails"
    yield Violation(("cloud", "package", "component"), what, "use the classic nucleus with SageMaker Edge Manager")
