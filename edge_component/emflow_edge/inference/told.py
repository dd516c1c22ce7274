"""What the agent tells of a model, as this component has it."""

from __future__ import annotations

from emflow_edge.inference.model import Model, TensorSpec, picture_model
from emflow_proto import messages as m
from emflow_schema.errors import EdgeProblem


def told_model(name: str, model: m.Model) -> Model:
    """The model that the agent holds under a name.

    Raises:
        EdgeProblem: it is none that takes one picture, or a tensor's type is not known.
    """
    inputs, outputs = model.input_tensor_metadatas, model.output_tensor_metadatas
    return picture_model(name, tuple(map(_spec, inputs)), tuple(map(_spec, outputs)))


def _spec(metadata: m.TensorMetadata) -> TensorSpec:
    try:
        dtype = m.DataType(metadata.data_type).name.lower()
    except ValueError as error:
        raise EdgeProblem(f"the agent tells a tensor of type {metadata.data_type}, which is not known") from error
    return TensorSpec(bytes(metadata.name), dtype, tuple(metadata.shape))
