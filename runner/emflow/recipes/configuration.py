"""The configuration of the components: the application's configuration and the agent's settings, as they take them.

All values are texts, because Greengrass turns numbers into floats. Names and defaults stand at the fields of the
workflow's classes. Beside the keys that are always there, what is as the component has it anyway is left out, so that a
deployment shows what is special about it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from emflow.recipes.bundle import LABELS
from emflow.workflow.model import Agent, Capture, Workflow
from emflow.workflow.rules.files import model_in_file
from emflow_schema.agent_config import write_settings
from emflow_schema.configuration import to_configuration
from emflow_schema.edge_config import Capture as Captured
from emflow_schema.edge_config import EdgeConfiguration
from emflow_schema.model_facts import ModelFacts

WORKSHOP = (
    "CaptureDataPeriodicUpload",
    "CaptureDataPeriodicUploadPeriodSeconds",
    "DeviceFleetName",
    "BucketName",
    "CaptureDataBase64EmbedLimit",
    "CaptureDataPushPeriodSeconds",
    "SagemakerEdgeLogVerbose",
    "CaptureDataBatchSize",
    "CaptureDataDestination",
    "FolderPrefix",
    "UnixSocketName",
    "CaptureDataBufferSize",
)
"""The settings of Edge Manager's agent that the workshop makes, in its order; these are always there."""

ByteType = Literal["", "uint8", "int8", "uint8,int8", "int8,uint8"]
_UINT8, _INT8, _NEITHER = frozenset({"uint8"}), frozenset({"int8"}), frozenset[str]()
_BYTES = _UINT8 | _INT8
# By the 8-bit types of the inputs and of the outputs.
_BYTE_TYPES: dict[tuple[frozenset[str], frozenset[str]], ByteType] = {
    (_UINT8, _UINT8): "uint8",
    (_UINT8, _NEITHER): "uint8",
    (_NEITHER, _UINT8): "uint8",
    (_INT8, _INT8): "int8",
    (_INT8, _NEITHER): "int8",
    (_NEITHER, _INT8): "int8",
    (_UINT8, _INT8): "uint8,int8",
    (_INT8, _UINT8): "int8,uint8",
}


def agent_settings(workflow: Workflow) -> dict[str, str]:
    """The settings of the agent: the workshop's, then those that are special."""
    edge = workflow.edge
    given = {
        "DeviceFleetName": workflow.cloud.fleet.name,
        "BucketName": workflow.cloud.buckets.inference_results.name,
        **_of_agent(edge.capture, edge.agent),
    }
    usual = _of_agent(Capture(), Agent())
    special = {name: text for name, text in given.items() if name not in WORKSHOP and text != usual[name]}
    return {**{name: given[name] for name in WORKSHOP}, **special}


def application_configuration(workflow: Workflow, version: str) -> dict[str, Any]:
    """What the application component reads over IPC."""
    edge = workflow.edge
    labels = LABELS if edge.model_io.labels else None
    configuration = EdgeConfiguration(
        model_name=workflow.cloud.model.name,
        agent_socket=edge.agent.socket,
        agent_users=edge.agent.users,
        capture_data=edge.capture.enabled,
        streams=edge.streams,
        model_io=dataclasses.replace(edge.model_io, labels=labels, byte_type=byte_type(workflow)),
        publish=edge.publish,
        capture=Captured(edge.capture.enabled, edge.capture.every),
        log=edge.log,
        metrics=edge.metrics,
        version=version,
    )
    # The workshop's `True` and `False`.
    return {**to_configuration(configuration), "captureData": str(edge.capture.enabled)}


def byte_type(workflow: Workflow) -> ByteType:
    """The type of the model's bytes, for agents that cannot tell it; empty where it has none, or nothing says which.

    It is the workflow's own word, or what the model file says: a compiled model has the types of its source.
    """
    if workflow.edge.model_io.byte_type:
        return workflow.edge.model_io.byte_type
    facts = model_in_file(workflow)
    stored = facts if isinstance(facts, ModelFacts) else ModelFacts((), (), confidences=False)
    taken = {*(tensor.dtype for tensor in stored.inputs), *workflow.cloud.model.input_types.values()}
    given = {tensor.dtype for tensor in stored.outputs}
    return _BYTE_TYPES.get((frozenset(taken & _BYTES), frozenset(given & _BYTES)), "")


def _of_agent(capture: Capture, agent: Agent) -> dict[str, str]:
    """Every setting of the agent that these sections have, by its name there."""
    return {**write_settings(capture), **write_settings(agent), **write_settings(agent.open)}
