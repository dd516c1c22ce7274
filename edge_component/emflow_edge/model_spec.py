"""What the agent says about a model: its tensors by name, type and shape."""

from __future__ import annotations

from dataclasses import dataclass

from emflow_proto import messages as m
from emflow_schema.errors import EdgeProblem


class ModelMismatch(Exception):
    """What the agent answers does not belong to this model: under its name there may be another one by now."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor as it goes over the wire. dtype: a numpy name such as `uint8` or `float32`, little-endian."""

    name: bytes
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many elements it has."""
        size = 1
        for side in self.shape:
            size *= side
        return size

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class ModelSpec:
    """A loaded model: one picture in, whatever comes out."""

    name: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]


def make_model_spec(name: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> ModelSpec:
    """The model, when it is one that this component can feed.

    Raises:
        EdgeProblem: it takes something else than one picture, or gives nothing.
    """
    if len(inputs) != 1 or not outputs:
        raise EdgeProblem(
            f"model {name}: it has {len(inputs)} inputs and {len(outputs)} outputs, expected 1 and 1 or more"
        )
    return ModelSpec(name, inputs[0], outputs)


# What the agent tells of a model, as this component has it.


def model_from_metadata(name: str, model: m.Model) -> ModelSpec:
    """The model that the agent holds under a name.

    Raises:
        EdgeProblem: it is none that takes one picture, or a tensor's type is not known.
    """
    inputs, outputs = model.input_tensor_metadatas, model.output_tensor_metadatas
    return make_model_spec(name, tuple(map(_spec, inputs)), tuple(map(_spec, outputs)))


def _spec(metadata: m.TensorMetadata) -> TensorSpec:
    try:
        dtype = m.DataType(metadata.data_type).name.lower()
    except ValueError as error:
        raise EdgeProblem(f"the agent tells a tensor of type {metadata.data_type}, which is not known") from error
    return TensorSpec(bytes(metadata.name), dtype, tuple(metadata.shape))
