"""What runs models: one file a runtime, which only knows how to open a model and to run it.

A runtime is a module with `NAME`, `SUFFIX` (of its model files), `available()` (why not, or an empty string) and
`open_model(content, threads)`. Its own package is imported in `open_model` and `available` only, so that an agent works
with whatever runtimes its device has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from emflow_agent.runtimes import litert
from emflow_agent.tensors import TensorSpec

if TYPE_CHECKING:
    from emflow_agent.tensors import Array


class RuntimeModel(Protocol):
    """A model that is ready to run. Not for several threads at once."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """One inference: arrays of the inputs' types and shapes, in their order, to the outputs in theirs.

        Raises:
            CannotRun: the runtime failed.
        """


class Runtime(Protocol):
    """A module of this package."""

    NAME: str
    SUFFIX: str

    def available(self) -> str:
        """Empty when the runtime can be used; otherwise why not, in one sentence."""

    def open_model(self, content: bytes, threads: int) -> RuntimeModel:
        """Make the bytes of a model file ready to run on this many CPU threads.

        Raises:
            CannotLoad: they are no model that this runtime can run.
        """


RUNTIMES: tuple[Runtime, ...] = (litert,)


def ready_model(runtime: Runtime, content: bytes, threads: int) -> RuntimeModel:
    """A model that has run once, on zeros: runtimes put off what takes long to the first inference.

    Raises:
        CannotLoad, CannotRun: as the runtime does.
    """
    model = runtime.open_model(content, threads)
    model.run([np.zeros(known.shape, known.dtype) for known in model.inputs])
    return model
