"""What runs models: one file a runtime, which only knows how to open a model and to run it.

A runtime is a module with `KEY` (its name in settings), `NAME`, `NEEDS_TEMPORARY_FILES` (whether it needs temporary files), `FILES_DESCRIPTION`
(what its models look like, for people), `files_of(names)` (which files of a folder are its model), `available()` (why
not, or an empty string) and `open_model(files, options)`. Its own package is imported in `open_model` and `available`
only, so that an agent works with whatever runtimes its device has.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from emflow_agent.errors import BadOption, CannotLoad
from emflow_agent.runtimes import delegates, litert, neo, onnx
from emflow_agent.runtimes.options import RuntimeOptions
from emflow_agent.runtimes.placement import Placement
from emflow_agent.tensors.spec import TensorSpec

if TYPE_CHECKING:
    from emflow_agent.tensors.spec import Array

__all__ = [
    "RUNTIMES",
    "Placement",
    "Runtime",
    "RuntimeModel",
    "RuntimeOptions",
    "WarmModel",
    "check_options",
    "choose_runtime",
    "find_runtime",
    "open_and_warm_up",
    "requested_accelerator",
]


class RuntimeModel(Protocol):
    """A model that is ready to run. Not for several threads at once."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def placement(self) -> Placement:
        """Which accelerator really took how much of it."""

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """One inference: arrays of the inputs' types and shapes, in their order, to the outputs in theirs.

        Raises:
            InferenceFailed: the runtime failed.
        """


class Runtime(Protocol):
    """A module of this package."""

    KEY: str
    NEEDS_TEMPORARY_FILES: bool
    NAME: str
    FILES_DESCRIPTION: str

    def model_files(self, names: Sequence[str]) -> list[str]:
        """Of the files in a folder, those that this runtime needs for its model; empty when it has none there.

        Raises:
            CannotLoad: it has several.
        """

    def available(self) -> str:
        """Empty when the runtime can be used; otherwise why not, in one sentence."""

    def open_model(self, files: Mapping[str, bytes], options: RuntimeOptions) -> RuntimeModel:
        """Make the bytes of a model's files, by name, ready to run.

        Raises:
            CannotLoad: they are no model that this runtime can run.
        """


# In the order in which they are asked: a compiled model is what its folder was made for, whatever lies beside it.
RUNTIMES: tuple[Runtime, ...] = (neo, litert, onnx)


@dataclass(frozen=True)
class WarmModel:
    """A model that has run once, and how long that took, in seconds."""

    model: RuntimeModel
    open_seconds: float
    warm_up_seconds: float


def choose_runtime(names: Sequence[str], wanted: str = "") -> tuple[Runtime, list[str]]:
    """The runtime for a folder with these files, and the files that it needs.

    The first of RUNTIMES that has a model there and can be used on this device; `wanted` names another.

    Raises:
        CannotLoad: there is no model, several of one kind, or none that can be run here.
    """
    reasons = []
    for runtime in RUNTIMES:
        if wanted and wanted != runtime.KEY:
            continue
        files = runtime.model_files(names)
        reason = runtime.available() if files else ""
        if files and not reason:
            return runtime, files
        if reason:
            reasons.append(f"{', '.join(files)}: {reason}")
    if reasons:
        raise CannotLoad("; ".join(reasons))
    kinds = " or ".join(runtime.FILES_DESCRIPTION for runtime in RUNTIMES if wanted in ("", runtime.KEY))
    raise CannotLoad(f"it has to hold {kinds}; found: {_listed(names)}")


def open_and_warm_up(runtime: Runtime, files: Mapping[str, bytes], options: RuntimeOptions) -> WarmModel:
    """A model that has run once, on zeros: runtimes put off what takes long to the first inference.

    Raises:
        CannotLoad, InferenceFailed: as the runtime does.
    """
    started = time.monotonic()
    model = runtime.open_model(files, options)
    opened = time.monotonic()
    model.run([np.zeros(known.shape, known.dtype) for known in model.inputs])
    return WarmModel(model, opened - started, time.monotonic() - opened)


def check_options(options: RuntimeOptions) -> RuntimeOptions:
    """The options, if there is what they name.

    Raises:
        BadOption: there is no such runtime or delegate.
    """
    if options.runtime and find_runtime(options.runtime) is None:
        known = ", ".join(runtime.KEY for runtime in RUNTIMES)
        raise BadOption(f"Runtime: there is none named {options.runtime!r}; known are {known}")
    delegates.delegate_library(options.delegate)
    return options


def requested_accelerator(runtime: Runtime, options: RuntimeOptions) -> str:
    """The accelerator that the options want for a runtime's models, as logs call it; empty for none."""
    if runtime is litert and delegates.delegate_library(options.delegate):
        return delegates.display_name(options.delegate)
    return options.providers[0].name if runtime is onnx and options.providers else ""


def _listed(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(sorted(names)[:most]) or "none") + more


def find_runtime(key: str) -> Runtime | None:
    """The runtime with this key, if there is one."""
    return next((runtime for runtime in RUNTIMES if key == runtime.KEY), None)
