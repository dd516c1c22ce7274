"""Message classes and enums of the agent's interface, built from the compiled descriptor.

They live in a descriptor pool of their own, so a process may import a client's generated `agent_pb2` too: in the
default pool the two would collide. Classes of the two are different types, and meet as bytes.

Proven with protobuf 3.12 to 7.36. Types for editors and mypy are in `messages.pyi`.
"""

import enum
import pkgutil

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "AWS.SageMaker.Edge"
SERVICE = PACKAGE + ".Agent"

_pool = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(pkgutil.get_data(__package__, "agent.binpb")).file:
    _pool.AddSerializedFile(_file.SerializeToString())

# Before 4.22 the only way to a class, since 5.26 gone.
_class_of = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(_pool).GetPrototype


def _message(name):
    return _class_of(_pool.FindMessageTypeByName(PACKAGE + "." + name))


def _enum(name):
    values = _pool.FindEnumTypeByName(PACKAGE + "." + name).values
    return enum.IntEnum(name, {value.name: value.number for value in values}, module=__name__)


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
    method.name: (_class_of(method.input_type), _class_of(method.output_type))
    for method in _pool.FindServiceByName(SERVICE).methods
}
