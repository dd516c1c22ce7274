"""Message classes and enums of the agent's interface, built from the compiled descriptor.

Types for editors and mypy are in `messages.pyi`. Classes of generated code (`agent_pb2`) are different types; the two
meet as bytes.
"""

import enum

from emflow_proto.descriptors import Compiled

COMPILED = Compiled("agent")
PACKAGE = COMPILED.package
SERVICE = PACKAGE + ".Agent"

_message = COMPILED.message


def _enum(name):
    return enum.IntEnum(name, COMPILED.enum(name), module=__name__)


CaptureDataStatus = _enum("CaptureDataStatus")
DataType = _enum("DataType")
Encoding = _enum("Encoding")

AuxilaryData = _message("AuxilaryData")
CaptureDataRequest = _message("CaptureDataRequest")
CaptureDataResponse = _message("CaptureDataResponse")
DescribeModelRequest = _message("DescribeModelRequest")
DescribeModelResponse = _message("DescribeModelResponse")
GetCaptureDataStatusRequest = _message("GetCaptureDataStatusRequest")
GetCaptureDataStatusResponse = _message("GetCaptureDataStatusResponse")
ListModelsRequest = _message("ListModelsRequest")
ListModelsResponse = _message("ListModelsResponse")
LoadModelRequest = _message("LoadModelRequest")
LoadModelResponse = _message("LoadModelResponse")
Model = _message("Model")
PredictRequest = _message("PredictRequest")
PredictResponse = _message("PredictResponse")
SharedMemoryHandle = _message("SharedMemoryHandle")
Tensor = _message("Tensor")
TensorMetadata = _message("TensorMetadata")
Timestamp = _message("Timestamp")
UnLoadModelRequest = _message("UnLoadModelRequest")
UnLoadModelResponse = _message("UnLoadModelResponse")

# What each call takes and gives, by name, in the order of the .proto.
CALLS = {
    method.name: (COMPILED.class_of(method.input_type), COMPILED.class_of(method.output_type))
    for method in COMPILED.service("Agent").methods
}
