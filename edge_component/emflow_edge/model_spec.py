"""The specification of a model: its tensors by name, type and shape, as the agent reports them.

An agent with emflow's own service tells more: which load of which files it is, and the true types of its tensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from emflow_proto import messages as m
from emflow_schema.errors import EdgeProblem
from emflow_schema.model_facts import TensorFacts

ON_THE_WIRE = {"int8": "uint8", "bool": "uint8"}
"""Types that AWS's interface does not have, and what they are in it."""
_TYPES = frozenset(name.lower() for name in m.DataType.__members__)


class ModelMismatch(Exception):
    """The outputs do not match the model: another model may be loaded under its name."""


@dataclass(frozen=True)
class TensorSpec:
    """A tensor on the wire. dtype: a NumPy name such as `uint8` or `float32`, little-endian. shape: a size below 1 is
    open: it is another one in each answer, such as the number of things that were found."""

    name: bytes
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for side in self.shape:
            size *= side
        return size

    @property
    def is_open(self) -> bool:
        """Whether the number of elements is another one in each answer."""
        return any(side < 1 for side in self.shape)

    def shape_of(self, elements: int) -> tuple[int, ...]:
        """The shape of an answer with so many elements. Of several open sizes, all but the last are 1.

        Raises:
            ModelMismatch: this tensor cannot have so many.
        """
        if not self.is_open:
            if elements != self.size:
                raise ModelMismatch(f"the agent sent {elements} values for an output of {self.size} ({self})")
            return self.shape
        known = 1
        for side in self.shape:
            known *= max(1, side)
        if elements % known:
            raise ModelMismatch(f"the agent sent {elements} values for an output of {self}")
        last = max(place for place, side in enumerate(self.shape) if side < 1)
        return tuple(elements // known if place == last else max(1, side) for place, side in enumerate(self.shape))

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(str(side) if side > 0 else '?' for side in self.shape)}]"


@dataclass(frozen=True)
class LoadedContent:
    """What an agent with emflow's own service tells about a loaded model.

    handle: this load of it alone. digests: SHA-256 of its files, in hexadecimal. version: that of its package; empty
    without one. inputs, outputs: true type and quantisation of each tensor; a scale of 0 is not told.
    """

    handle: int
    digests: tuple[str, ...]
    version: str
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]


@dataclass(frozen=True)
class ModelSpec:
    """A loaded model with one image as input. content: None where the agent cannot tell it."""

    name: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    content: LoadedContent | None = None

    @property
    def handle(self) -> int:
        """The number that means this load of the model alone; 0 where the agent gives none."""
        return self.content.handle if self.content else 0


def make_model_spec(
    name: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    content: LoadedContent | None = None,
) -> ModelSpec:
    """Check that this component can use the model.

    Raises:
        EdgeProblem: it does not take exactly one image, or has no outputs.
    """
    if len(inputs) != 1 or not outputs:
        raise EdgeProblem(
            f"model {name}: it has {len(inputs)} inputs and {len(outputs)} outputs, expected 1 and 1 or more"
        )
    return ModelSpec(name, inputs[0], outputs, content)


def model_from_metadata(name: str, model: m.Model) -> ModelSpec:
    """The specification of the model that the agent reports.

    Raises:
        EdgeProblem: it does not take one image, or a tensor type is not known.
    """
    inputs, outputs = model.input_tensor_metadatas, model.output_tensor_metadatas
    return make_model_spec(name, tuple(map(_spec, inputs)), tuple(map(_spec, outputs)))


def model_from_details(name: str, model: Any) -> ModelSpec:
    """The specification of a model from what emflow's own service says about it (`emflow_proto.models.Model`).

    Raises:
        EdgeProblem: it does not take one image, or what the service says about a tensor is nothing that can be.
    """
    inputs, outputs = tuple(map(_facts, model.inputs)), tuple(map(_facts, model.outputs))
    content = LoadedContent(
        model.handle, tuple(file.sha256 for file in model.files), model.package_version, inputs, outputs
    )
    specs = [
        tuple(
            TensorSpec(bytes(tensor.name), ON_THE_WIRE.get(fact.dtype, fact.dtype), fact.shape)
            for tensor, fact in zip(tensors, facts)
        )
        for tensors, facts in ((model.inputs, inputs), (model.outputs, outputs))
    ]
    return make_model_spec(name, specs[0], specs[1], content)


def _facts(tensor: Any) -> TensorFacts:
    if tensor.type not in ON_THE_WIRE and tensor.type not in _TYPES:
        raise EdgeProblem(f"the agent reports a tensor of unknown type {tensor.type!r}")
    if not math.isfinite(tensor.scale) or tensor.scale < 0:
        raise EdgeProblem(f"the agent reports a tensor with a scale of {tensor.scale}")
    name = bytes(tensor.name).decode(errors="replace")
    return TensorFacts(tensor.type, tensor.scale, tensor.zero_point, name, tuple(tensor.shape))


def _spec(metadata: m.TensorMetadata) -> TensorSpec:
    try:
        dtype = m.DataType(metadata.data_type).name.lower()
    except ValueError as error:
        raise EdgeProblem(f"the agent reports a tensor of unknown type {metadata.data_type}") from error
    return TensorSpec(bytes(metadata.name), dtype, tuple(metadata.shape))
