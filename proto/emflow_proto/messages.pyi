"""Types of what `messages.py` builds at run time; a test holds the two against each other."""

from collections.abc import Iterable
from enum import IntEnum
from typing import Literal

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer, RepeatedScalarFieldContainer
from google.protobuf.message import Message

from emflow_proto.descriptors import Compiled

COMPILED: Compiled
PACKAGE: str
SERVICE: str
CALLS: dict[str, tuple[type[Message], type[Message]]]

class CaptureDataStatus(IntEnum):
    FAILURE = 0
    SUCCESS = 1
    IN_PROGRESS = 2
    NOT_FOUND = 3

class DataType(IntEnum):
    UINT8 = 0
    INT16 = 1
    INT32 = 2
    INT64 = 3
    FLOAT16 = 4
    FLOAT32 = 5
    FLOAT64 = 6

class Encoding(IntEnum):
    CSV = 0
    JSON = 1
    NONE = 2
    BASE64 = 3

class TensorMetadata(Message):
    name: bytes
    data_type: int
    shape: RepeatedScalarFieldContainer[int]
    def __init__(self, *, name: bytes = ..., data_type: int = ..., shape: Iterable[int] = ...) -> None: ...

class SharedMemoryHandle(Message):
    size: int
    offset: int
    segment_id: int
    def __init__(self, *, size: int = ..., offset: int = ..., segment_id: int = ...) -> None: ...

class Tensor(Message):
    @property
    def tensor_metadata(self) -> TensorMetadata: ...
    byte_data: bytes
    @property
    def shared_memory_handle(self) -> SharedMemoryHandle: ...
    def __init__(
        self,
        *,
        tensor_metadata: TensorMetadata | None = ...,
        byte_data: bytes = ...,
        shared_memory_handle: SharedMemoryHandle | None = ...,
    ) -> None: ...
    def WhichOneof(  # noqa: N802
        self, oneof_group: Literal["data", b"data"]
    ) -> Literal["byte_data", "shared_memory_handle"] | None: ...

class Model(Message):
    url: str
    name: str
    handle: int
    @property
    def input_tensor_metadatas(self) -> RepeatedCompositeFieldContainer[TensorMetadata]: ...
    @property
    def output_tensor_metadatas(self) -> RepeatedCompositeFieldContainer[TensorMetadata]: ...
    def __init__(
        self,
        *,
        url: str = ...,
        name: str = ...,
        input_tensor_metadatas: Iterable[TensorMetadata] = ...,
        output_tensor_metadatas: Iterable[TensorMetadata] = ...,
        handle: int = ...,
    ) -> None: ...

class PredictRequest(Message):
    name: str
    handle: int
    @property
    def tensors(self) -> RepeatedCompositeFieldContainer[Tensor]: ...
    def __init__(self, *, name: str = ..., tensors: Iterable[Tensor] = ..., handle: int = ...) -> None: ...

class PredictResponse(Message):
    @property
    def tensors(self) -> RepeatedCompositeFieldContainer[Tensor]: ...
    def __init__(self, *, tensors: Iterable[Tensor] = ...) -> None: ...

class LoadModelRequest(Message):
    url: str
    name: str
    handle: int
    def __init__(self, *, url: str = ..., name: str = ..., handle: int = ...) -> None: ...

class LoadModelResponse(Message):
    @property
    def model(self) -> Model: ...
    def __init__(self, *, model: Model | None = ...) -> None: ...

class UnLoadModelRequest(Message):
    name: str
    handle: int
    def __init__(self, *, name: str = ..., handle: int = ...) -> None: ...

class UnLoadModelResponse(Message):
    def __init__(self) -> None: ...

class ListModelsRequest(Message):
    def __init__(self) -> None: ...

class ListModelsResponse(Message):
    @property
    def models(self) -> RepeatedCompositeFieldContainer[Model]: ...
    def __init__(self, *, models: Iterable[Model] = ...) -> None: ...

class DescribeModelRequest(Message):
    name: str
    handle: int
    def __init__(self, *, name: str = ..., handle: int = ...) -> None: ...

class DescribeModelResponse(Message):
    @property
    def model(self) -> Model: ...
    def __init__(self, *, model: Model | None = ...) -> None: ...

class AuxilaryData(Message):
    name: str
    encoding: int
    byte_data: bytes
    @property
    def shared_memory_handle(self) -> SharedMemoryHandle: ...
    def __init__(
        self,
        *,
        name: str = ...,
        encoding: int = ...,
        byte_data: bytes = ...,
        shared_memory_handle: SharedMemoryHandle | None = ...,
    ) -> None: ...
    def WhichOneof(  # noqa: N802
        self, oneof_group: Literal["data", b"data"]
    ) -> Literal["byte_data", "shared_memory_handle"] | None: ...

class Timestamp(Message):
    seconds: int
    nanos: int
    def __init__(self, *, seconds: int = ..., nanos: int = ...) -> None: ...

class CaptureDataRequest(Message):
    model_name: str
    capture_id: str
    model_handle: int
    @property
    def inference_timestamp(self) -> Timestamp: ...
    @property
    def input_tensors(self) -> RepeatedCompositeFieldContainer[Tensor]: ...
    @property
    def output_tensors(self) -> RepeatedCompositeFieldContainer[Tensor]: ...
    @property
    def inputs(self) -> RepeatedCompositeFieldContainer[AuxilaryData]: ...
    @property
    def outputs(self) -> RepeatedCompositeFieldContainer[AuxilaryData]: ...
    def __init__(
        self,
        *,
        model_name: str = ...,
        capture_id: str = ...,
        inference_timestamp: Timestamp | None = ...,
        input_tensors: Iterable[Tensor] = ...,
        output_tensors: Iterable[Tensor] = ...,
        inputs: Iterable[AuxilaryData] = ...,
        outputs: Iterable[AuxilaryData] = ...,
        model_handle: int = ...,
    ) -> None: ...

class CaptureDataResponse(Message):
    def __init__(self) -> None: ...

class GetCaptureDataStatusRequest(Message):
    capture_id: str
    def __init__(self, *, capture_id: str = ...) -> None: ...

class GetCaptureDataStatusResponse(Message):
    status: int
    def __init__(self, *, status: int = ...) -> None: ...
