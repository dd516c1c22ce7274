"""Rules for the model's way in and out, and for the agent that runs it: settings that fit each other."""

from __future__ import annotations

import math
from collections.abc import Iterator

from emflow.workflow.model import Boxes, Workflow
from emflow.workflow.rules.violation import Offence
from emflow.workflow.source.positions import KeyPath

MODEL_IO: KeyPath = ("edge", "model_io")
AGENT: KeyPath = ("edge", "agent")


def model_io(workflow: Workflow) -> Iterator[Offence]:
    given = workflow.edge.model_io
    detection = given.task == "detection"
    if given.boxes != Boxes() and not detection:
        yield Offence((*MODEL_IO, "boxes"), "only a detector has boxes", "write task: detection, or leave them out")
    if given.confidence == "workshop" and detection:
        where: KeyPath = (*MODEL_IO, "confidence")
        yield Offence(where, "the workshop's number is a classification's", "write confidence: probability")
    if given.margin and given.resize != "letterbox":
        message = f"{given.resize} leaves no margins"
        yield Offence((*MODEL_IO, "margin"), message, "write resize: letterbox, or leave it out")
    yield from _outputs(given.boxes)
    for key, value in {"mean": given.mean, "std": given.std, "threshold": given.threshold}.items():
        yield from _number((*MODEL_IO, key), value)
    yield from _number((*MODEL_IO, "boxes", "iou"), given.boxes.iou)
    yield from _number(("edge", "publish", "threshold"), workflow.edge.publish.threshold)


def _number(place: KeyPath, value: float | tuple[float, ...] | None) -> Iterator[Offence]:
    """YAML's `.nan` and `.inf` are numbers to the schema."""
    for number in value if isinstance(value, tuple) else (value,):
        if number is not None and not math.isfinite(number):
            yield Offence(place, f"{number} is no number to calculate with", "write it out")


def _outputs(boxes: Boxes) -> Iterator[Offence]:
    place: KeyPath = (*MODEL_IO, "boxes", "outputs")
    if len(set(boxes.outputs)) < len(boxes.outputs):
        yield Offence(place, "an output's role is here twice", "name each once, in the order of the model's outputs")
    elif boxes.outputs and not {"boxes", "scores"} <= set(boxes.outputs):
        yield Offence(place, "a detector has boxes and scores at least", "name both, in the model's order")


def agent(workflow: Workflow) -> Iterator[Offence]:
    given = workflow.edge.agent
    own, place = given.open, (*AGENT, "open")
    if given.model_deployments and not given.database:
        message = "models that SageMaker deploys are kept in the agent's database, which is off"
        yield Offence((*AGENT, "model_deployments"), message, "add database: true")
    if own.require_signature and not own.trust_keys:
        message = "signatures are required, and there is no key that could have made them"
        yield Offence((*place, "require_signature"), message, "add trust_keys: [/path/on/the/device.pem]")
    if own.delegate_options and own.delegate is None:
        yield Offence((*place, "delegate_options"), "options, and no delegate to have them", "add delegate: …")
    if own.accelerator_required and own.delegate in (None, "none", "xnnpack") and not own.providers:
        message = "an accelerator is required, and none is named"
        yield Offence((*place, "accelerator_required"), message, "add delegate: … or providers: […]")
    names = [provider.split()[0] for provider in own.providers]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Offence((*place, "providers", index), f"{name} is here twice", "keep one of them")
