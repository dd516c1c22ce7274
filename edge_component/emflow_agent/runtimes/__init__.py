"""The inference runtimes: one module for each, which opens a model and runs it.

A runtime is a module with the members of `Runtime`. It imports its Python package only in `open_model` and `available`,
so that the agent works with the runtimes that the device has.
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
from emflow_schema.model_files import without_files_of_macos

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
    """A model that is ready to run. Not thread-safe."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def placement(self) -> Placement:
        """Which accelerator runs how much of the model."""

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """One inference. Arrays have the types and shapes of the inputs, in their order; so have the results.

        Raises:
            InferenceFailed: the runtime failed.
        """


class Runtime(Protocol):
    """A module of this package.

    KEY: its name in settings; NAME: its name for people; FILES_DESCRIPTION: what its models look like, for messages.
    NEEDS_TEMPORARY_FILES: whether it writes files while it opens a model.
    """

    KEY: str
    NEEDS_TEMPORARY_FILES: bool
    NAME: str
    FILES_DESCRIPTION: str

    def model_files(self, names: Sequence[str]) -> list[str]:
        """The files of a folder that this runtime needs for its model; empty when there is none for it.

        Raises:
            CannotLoad: there are several models.
        """

    def available(self) -> str:
        """Empty when the runtime can be used; otherwise the reason, in one sentence."""

    def open_model(self, files: Mapping[str, bytes], options: RuntimeOptions) -> RuntimeModel:
        """Open a model from the content of its files, by file name.

        Raises:
            CannotLoad: this runtime cannot run it.
        """


# In order of precedence: a folder with a compiled model is for that model, whatever other files it holds.
RUNTIMES: tuple[Runtime, ...] = (neo, litert, onnx)


@dataclass(frozen=True)
class WarmModel:
    """A model that has run once, and how long opening and the first run took, in seconds."""

    model: RuntimeModel
    open_seconds: float
    warm_up_seconds: float


def choose_runtime(names: Sequence[str], wanted: str = "") -> tuple[Runtime, list[str]]:
    """Choose the runtime for a folder with these files; returns it and the files that it needs.

    The first of RUNTIMES with a model in the folder that this device can use; `wanted` restricts it to one key.

    Raises:
        CannotLoad: there is no model, several of one kind, or none that can run on this device.
    """
    reasons = []
    names = without_files_of_macos(names)
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
    raise CannotLoad(f"it must hold {kinds}; found: {_listed(names)}")


def open_and_warm_up(runtime: Runtime, files: Mapping[str, bytes], options: RuntimeOptions) -> WarmModel:
    """Open a model and run it once on zeros: runtimes postpone slow work to the first inference.

    Raises:
        CannotLoad, InferenceFailed: as the runtime raises them.
    """
    started = time.monotonic()
    model = runtime.open_model(files, options)
    opened = time.monotonic()
    model.run([np.zeros(spec.shape, spec.dtype) for spec in model.inputs])
    return WarmModel(model, opened - started, time.monotonic() - opened)


def check_options(options: RuntimeOptions) -> RuntimeOptions:
    """Check that the named runtime and delegate exist; returns the options.

    Raises:
        BadOption: there is no such runtime or delegate.
    """
    if options.runtime and find_runtime(options.runtime) is None:
        supported = ", ".join(runtime.KEY for runtime in RUNTIMES)
        raise BadOption(f"Runtime: {options.runtime!r} is unknown; supported are {supported}")
    delegates.delegate_library(options.delegate)
    return options


def requested_accelerator(runtime: Runtime, options: RuntimeOptions) -> str:
    """The accelerator that the options request for this runtime, as logs name it; empty for none."""
    if runtime is litert and delegates.delegate_library(options.delegate):
        return delegates.display_name(options.delegate)
    return options.providers[0].name if runtime is onnx and options.providers else ""


def _listed(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(sorted(names)[:most]) or "none") + more


def find_runtime(key: str) -> Runtime | None:
    """The runtime with this key; None if there is none."""
    return next((runtime for runtime in RUNTIMES if key == runtime.KEY), None)
