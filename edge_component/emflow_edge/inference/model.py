"""What the agent says about a model: its tensors by name, type and shape."""

from __future__ import annotations

from dataclasses import dataclass

from emflow_edge.problems import EdgeProblem


@dataclass(frozen=True)
class TensorSpec:
    """One tensor as it goes over the wire. dtype: a numpy name such as `uint8` or `float32`, little-endian."""

    name: bytes
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """A loaded model: one picture in, one list of classes out."""

    name: str
    input: TensorSpec
    output: TensorSpec

    @property
    def classes(self) -> int:
        return self.output.shape[-1]


def classifier(name: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Model:
    """The model, when it is one that this component can feed.

    Raises:
        EdgeProblem: it takes or gives something else than one picture and one list of classes.
    """
    if len(inputs) != 1 or len(outputs) < 1:
        raise EdgeProblem(f"model {name}: it has {len(inputs)} inputs and {len(outputs)} outputs, expected 1 and 1")
    picture, classes = inputs[0], outputs[0]
    if not classes.shape or any(side != 1 for side in classes.shape[:-1]) or classes.shape[-1] < 2:
        raise EdgeProblem(f"model {name}: its output of shape {list(classes.shape)} is no list of classes")
    return Model(name, picture, classes)
