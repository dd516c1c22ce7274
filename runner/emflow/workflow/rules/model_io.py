"""Rules for the model's way in and out, and for the agent that runs it: settings that fit each other."""

from __future__ import annotations

from collections.abc import Iterator

from emflow.workflow.model import Workflow
from emflow.workflow.rules.violation import Violation
from emflow.workflow.source.positions import KeyPath
from emflow_schema.result_message import (
    BYTES_A_DETECTION,
    BYTES_A_RESULT,
    MOST_BYTES,
    MOST_BYTES_LITE,
    most_detections,
)

MODEL_IO: KeyPath = ("edge", "model_io")
AGENT: KeyPath = ("edge", "agent")


def model_io(workflow: Workflow) -> Iterator[Violation]:
    given = workflow.edge.model_io
    for place, section in ((MODEL_IO, given), ((*MODEL_IO, "boxes"), given.boxes)):
        for fault in section.faults():
            yield Violation((*place, fault.key), fault.message, fault.mend)


def result_size(workflow: Workflow) -> Iterator[Violation]:
    """A result with all detections that it may have has to fit into a message."""
    given = workflow.edge.model_io
    fit = most_detections(MOST_BYTES)
    if given.task == "detection" and given.boxes.most > fit:
        size = (given.boxes.most * BYTES_A_DETECTION + BYTES_A_RESULT) // 1000
        message = f"a result with {given.boxes.most} detections has about {size} KB, AWS IoT takes 131: it is dropped"
        mend = f"write {fit} at most; the lite nucleus takes about {most_detections(MOST_BYTES_LITE)}"
        yield Violation((*MODEL_IO, "boxes", "most"), message, mend)


def agent(workflow: Workflow) -> Iterator[Violation]:
    given = workflow.edge.agent
    own, place = given.open, (*AGENT, "open")
    if given.model_deployments and not given.database:
        message = "models that SageMaker deploys are kept in the agent's database, which is off"
        yield Violation((*AGENT, "model_deployments"), message, "add database: true")
    if own.require_signature and not own.trust_keys:
        message = "signatures are required, and there is no key that could have made them"
        yield Violation((*place, "require_signature"), message, "add trust_keys: [/path/on/the/device.pem]")
    for index, key in enumerate(own.trust_keys):
        if fault := _fault_of_key(key):
            mend = "docs/signing.md shows keys; the public half of one: openssl pkey -in key.pem -pubout"
            yield Violation((*place, "trust_keys", index), fault, mend)
    if own.delegate_options and own.delegate is None:
        yield Violation((*place, "delegate_options"), "options, and no delegate to have them", "add delegate: …")
    if own.accelerator_required and own.delegate in (None, "none", "xnnpack") and not own.providers:
        message = "an accelerator is required, and none is named"
        yield Violation((*place, "accelerator_required"), message, "add delegate: … or providers: […]")
    names = [provider.split()[0] for provider in own.providers]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Violation((*place, "providers", index), f"{name} is here twice", "keep one of them")


def _fault_of_key(key: str) -> str:
    """What is wrong with a key that stands in the workflow; empty for the path of one, and where nothing is."""
    if "-----BEGIN" not in key:
        return ""
    from emflow_schema.trusted_keys import read_keys  # few workflows have keys

    try:
        read_keys(key)
    except ValueError as error:
        return str(error)
    except ImportError:  # without cryptography; the agent says it then
        return ""
    return ""
