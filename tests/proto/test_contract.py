"""The wire contract, to the field number: what clients of the Edge Manager agent were built against."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from emflow_proto import messages as m
from emflow_proto import service

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "proto" / "emflow_proto"

# message → field → (number, type); "[…]" is repeated, "a|" a member of the oneof `data`.
MESSAGES = {
    "TensorMetadata": {"name": (1, "bytes"), "data_type": (2, "DataType"), "shape": (3, "[int32]")},
    "SharedMemoryHandle": {"size": (1, "uint64"), "offset": (2, "uint64"), "segment_id": (3, "uint64")},
    "Tensor": {
        "tensor_metadata": (1, "TensorMetadata"),
        "byte_data": (4, "a|bytes"),
        "shared_memory_handle": (5, "a|SharedMemoryHandle"),
    },
    "Model": {
        "url": (1, "string"),
        "name": (2, "string"),
        "input_tensor_metadatas": (3, "[TensorMetadata]"),
        "output_tensor_metadatas": (4, "[TensorMetadata]"),
        "handle": (5, "int32"),
    },
    "PredictRequest": {"name": (1, "string"), "tensors": (2, "[Tensor]"), "handle": (3, "int32")},
    "PredictResponse": {"tensors": (1, "[Tensor]")},
    "LoadModelRequest": {"url": (1, "string"), "name": (2, "string"), "handle": (3, "int32")},
    "LoadModelResponse": {"model": (1, "Model")},
    "UnLoadModelRequest": {"name": (1, "string"), "handle": (2, "int32")},
    "UnLoadModelResponse": {},
    "ListModelsRequest": {},
    "ListModelsResponse": {"models": (1, "[Model]")},
    "DescribeModelRequest": {"name": (1, "string"), "handle": (2, "int32")},
    "DescribeModelResponse": {"model": (1, "Model")},
    "AuxilaryData": {
        "name": (1, "string"),
        "encoding": (2, "Encoding"),
        "byte_data": (3, "a|bytes"),
        "shared_memory_handle": (4, "a|SharedMemoryHandle"),
    },
    "Timestamp": {"seconds": (1, "int64"), "nanos": (2, "int32")},
    "CaptureDataRequest": {
        "model_name": (1, "string"),
        "capture_id": (2, "string"),
        "inference_timestamp": (3, "Timestamp"),
        "input_tensors": (4, "[Tensor]"),
        "output_tensors": (5, "[Tensor]"),
        "inputs": (6, "[AuxilaryData]"),
        "outputs": (7, "[AuxilaryData]"),
        "model_handle": (8, "int32"),
    },
    "CaptureDataResponse": {},
    "GetCaptureDataStatusRequest": {"capture_id": (1, "string")},
    "GetCaptureDataStatusResponse": {"status": (1, "CaptureDataStatus")},
}

ENUMS = {
    "DataType": {"UINT8": 0, "INT16": 1, "INT32": 2, "INT64": 3, "FLOAT16": 4, "FLOAT32": 5, "FLOAT64": 6},
    "Encoding": {"CSV": 0, "JSON": 1, "NONE": 2, "BASE64": 3},
    "CaptureDataStatus": {"FAILURE": 0, "SUCCESS": 1, "IN_PROGRESS": 2, "NOT_FOUND": 3},
}

CALLS = (
    "Predict",
    "LoadModel",
    "UnLoadModel",
    "ListModels",
    "DescribeModel",
    "CaptureData",
    "GetCaptureDataStatus",
)


@pytest.fixture(scope="module")
def compiled() -> descriptor_pb2.FileDescriptorProto:
    """What is installed, read by nothing of ours."""
    (file,) = _read(PACKAGE / "agent.binpb").file
    return file


def _read(file: Path) -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString(file.read_bytes())


def _type(field: descriptor_pb2.FieldDescriptorProto) -> str:
    kind = descriptor_pb2.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.type_name:
        kind = field.type_name.removeprefix(".AWS.SageMaker.Edge.")
    if field.label == descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED:
        kind = f"[{kind}]"
    return f"a|{kind}" if field.HasField("oneof_index") else kind


def test_the_descriptors_are_what_the_protos_compile_to(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "tools" / "make_descriptor.py"), "--output", str(tmp_path)], check=True)
    fresh = {file.name: _read(file) for file in tmp_path.glob("*.binpb")}
    assert fresh == {file.name: _read(file) for file in PACKAGE.glob("*.binpb")}
    assert {name.partition(".")[0] for name in fresh} == {file.stem for file in PACKAGE.glob("*.proto")}


def test_every_field_has_the_number_and_type_that_clients_know(compiled: descriptor_pb2.FileDescriptorProto) -> None:
    assert (compiled.syntax, compiled.package) == ("proto3", "AWS.SageMaker.Edge")
    found = {
        message.name: {field.name: (field.number, _type(field)) for field in message.field}
        for message in compiled.message_type
    }
    assert found == MESSAGES
    assert {o.name for message in compiled.message_type for o in message.oneof_decl} == {"data"}


def test_every_enum_value_has_its_number(compiled: descriptor_pb2.FileDescriptorProto) -> None:
    assert {e.name: {v.name: v.number for v in e.value} for e in compiled.enum_type} == ENUMS
    assert {name: dict(getattr(m, name).__members__) for name in ENUMS} == ENUMS


def test_the_service_has_seven_unary_calls(compiled: descriptor_pb2.FileDescriptorProto) -> None:
    (agent,) = compiled.service
    assert agent.name == "Agent"
    assert tuple(method.name for method in agent.method) == CALLS
    for method in agent.method:
        assert method.input_type == f".AWS.SageMaker.Edge.{method.name}Request"
        assert method.output_type == f".AWS.SageMaker.Edge.{method.name}Response"
        assert not method.client_streaming
        assert not method.server_streaming


def test_every_message_and_call_has_a_class_and_a_glue() -> None:
    for name in MESSAGES:
        assert getattr(m, name).DESCRIPTOR.full_name == f"AWS.SageMaker.Edge.{name}"
    assert {name: (r.DESCRIPTOR.name, s.DESCRIPTOR.name) for name, (r, s) in m.CALLS.items()} == {
        name: (f"{name}Request", f"{name}Response") for name in CALLS
    }
    assert set(CALLS) == set(service.AgentStub.__annotations__)
    assert set(CALLS) <= set(vars(service.AgentServicer))


def test_the_types_for_editors_say_the_same() -> None:
    classes: dict[str, Any] = {
        node.name: node
        for node in ast.parse((PACKAGE / "messages.pyi").read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    assert set(classes) == {*MESSAGES, *ENUMS}
    for name, fields in MESSAGES.items():
        body: list[Any] = classes[name].body
        attributes = {str(getattr(node.target, "id", "")) for node in body if isinstance(node, ast.AnnAssign)}
        functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
        arguments = {argument.arg for argument in functions.pop("__init__").args.kwonlyargs}
        functions.pop("WhichOneof", None)
        assert attributes | set(functions) == set(fields) == arguments
    for name, values in ENUMS.items():
        assert {node.targets[0].id: node.value.value for node in classes[name].body} == values
