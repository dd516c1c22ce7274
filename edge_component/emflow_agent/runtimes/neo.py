"""Models compiled by SageMaker Neo, run by the `libdlr.so` that is part of the compiled model.

The functions and their arguments are those of DLR's C interface, version 1.2 and later:
https://github.com/neo-ai/neo-ai-dlr/blob/main/include/dlr.h
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emflow_agent.errors import CannotLoad, InferenceFailed
from emflow_agent.runtimes.options import RuntimeOptions, one_line
from emflow_agent.runtimes.placement import Placement
from emflow_agent.temporary_folders import temporary_folder
from emflow_agent.tensors.spec import TensorSpec, make_spec
from emflow_schema.model_files import NEO_LIBRARY as LIBRARY

if TYPE_CHECKING:
    from emflow_agent.tensors.spec import Array

KEY = "neo"
NEEDS_TEMPORARY_FILES = True
NAME = "DLR"
FILES_DESCRIPTION = f"a Neo-compiled model with its {LIBRARY}"

_CPU = 1  # kDLCPU of DLPack's DLDeviceType; -1: the library does not know it
# Loaded libraries by digest. A library is never unloaded, because it may have running threads; so a model that is
# loaded again uses the same one.
_LOADED: dict[str, Dlr] = {}

_MOST_TENSORS = 1024
_MOST_DIMENSIONS = 16


def model_files(names: Sequence[str]) -> list[str]:
    """All files of a folder that contains the library: only the library knows which of them it needs."""
    return list(names) if LIBRARY in names else []


def available() -> str:
    """Always available: the runtime is part of the model."""
    return ""


def open_model(files: Mapping[str, bytes], options: RuntimeOptions) -> NeoModel:
    """Open a compiled model.

    The library reads files, so the verified bytes are copied to a private folder, which is removed when the model is
    loaded.

    Raises:
        CannotLoad: the library cannot be loaded on this device, or it refuses the model.
    """
    os.environ.update(options.dlr_options)
    library = hashlib.sha256(files[LIBRARY]).hexdigest()
    with _copies(files) as folder:
        dlr = _LOADED[library] = _LOADED.get(library) or Dlr(Path(folder, LIBRARY))
        device = dlr.device(folder)
        return NeoModel(dlr, dlr.create(folder, device), device, options.threads)


@contextlib.contextmanager
def _copies(files: Mapping[str, bytes]) -> Iterator[str]:
    try:
        folder = temporary_folder()
    except OSError as error:
        raise CannotLoad(f"no temporary folder can be created: {error.strerror}") from None
    with folder as path:
        try:
            for name, content in files.items():
                file = Path(path, name)
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                file.write_bytes(content)
        except OSError as error:
            raise CannotLoad(f"its files cannot be written to {tempfile.gettempdir()}: {error.strerror}") from None
        yield path


class Dlr:
    """The functions of the library; its errors are raised as RuntimeError with its message."""

    def __init__(self, library: Path) -> None:
        try:
            # RTLD_LOCAL: each model may bring another version of the library.
            self._library = ctypes.CDLL(str(library), mode=os.RTLD_NOW | os.RTLD_LOCAL)
            self._library.DLRGetLastError.restype = ctypes.c_char_p
        except (OSError, AttributeError) as error:
            reason = one_line(error).replace(f"{library}: ", "")
            raise CannotLoad(f"{LIBRARY} cannot be loaded on this device: {reason}") from None

    def call(self, function: str, *arguments: Any) -> None:
        """
        Raises:
            RuntimeError: the function reported an error, or does not exist.
        """
        try:
            called = getattr(self._library, function)
        except AttributeError:
            raise RuntimeError(f"{LIBRARY} has no {function}; it is too old") from None
        if called(*arguments):
            raise RuntimeError(
                f"{function}: {one_line((self._library.DLRGetLastError() or b'').decode(errors='replace'))}"
            )

    def has(self, function: str) -> bool:
        return hasattr(self._library, function)

    def device(self, folder: str) -> int:
        """The device type that the model was compiled for; the CPU where it is not known."""
        if not self.has("GetDLRDeviceType"):
            return _CPU
        device = int(self._library.GetDLRDeviceType(folder.encode()))
        return device if device > 0 else _CPU

    def create(self, folder: str, device: int) -> ctypes.c_void_p:
        """
        Raises:
            CannotLoad: it is not a model for this library.
        """
        handle = ctypes.c_void_p()
        try:
            self.call("CreateDLRModel", ctypes.byref(handle), folder.encode(), device, 0)
        except RuntimeError as error:
            raise CannotLoad(str(error)) from None
        return handle

    def text(self, function: str, handle: ctypes.c_void_p, *arguments: Any) -> bytes:
        """Call a function whose last argument returns a text; the library owns the text."""
        value = ctypes.c_char_p()
        self.call(function, ctypes.byref(handle), *arguments, ctypes.byref(value))
        return value.value or b""

    def number(self, function: str, handle: ctypes.c_void_p) -> int:
        value = ctypes.c_int()
        self.call(function, ctypes.byref(handle), ctypes.byref(value))
        if not 0 < value.value <= _MOST_TENSORS:
            raise RuntimeError(f"{function} returned {value.value}")
        return value.value

    def shape(self, kind: str, handle: ctypes.c_void_p, index: int) -> tuple[int, ...]:
        """Shape of the input or output with this index; `kind` is Input or Output."""
        size, dimensions = ctypes.c_int64(), ctypes.c_int()
        at = ctypes.byref(handle)
        self.call(f"GetDLR{kind}SizeDim", at, index, ctypes.byref(size), ctypes.byref(dimensions))
        if not 0 <= dimensions.value <= _MOST_DIMENSIONS:
            raise RuntimeError(f"{kind.lower()} {index} has {dimensions.value} dimensions")
        sizes = (ctypes.c_int64 * max(dimensions.value, 1))()
        self.call(f"GetDLR{kind}Shape", at, index, sizes)
        return tuple(sizes[: dimensions.value])


class NeoModel:
    """A model in its library; it is deleted there together with this object."""

    def __init__(self, dlr: Dlr, handle: ctypes.c_void_p, device: int, threads: int) -> None:
        self._dlr, self._handle = dlr, handle
        weakref.finalize(self, _delete, dlr, handle)
        try:
            if dlr.has("SetDLRNumThreads"):
                dlr.call("SetDLRNumThreads", ctypes.byref(handle), threads)
            self.inputs = tuple(self._spec("Input", index) for index in range(dlr.number("GetDLRNumInputs", handle)))
            count = dlr.number("GetDLRNumOutputs", handle)
            self.outputs = tuple(self._spec("Output", index) for index in range(count))
            self._shapes = [(ctypes.c_int64 * len(spec.shape))(*spec.shape) for spec in self.inputs]
            accelerator = "CPU" if device == _CPU else f"device type {device}"
            self.placement = Placement(f"{NAME} {self._version()}, {self._text('GetDLRBackend')}", accelerator)
        except RuntimeError as error:
            raise CannotLoad(str(error)) from None

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        at = ctypes.byref(self._handle)
        try:
            for spec, shape, array in zip(self.inputs, self._shapes, arrays):
                whole = np.ascontiguousarray(array)
                data = ctypes.c_void_p(whole.ctypes.data)
                self._dlr.call("SetDLRInput", at, spec.name, shape, data, len(spec.shape))
            self._dlr.call("RunDLRModel", at)
            arrays = [np.empty(spec.shape, spec.dtype) for spec in self.outputs]
            for index, array in enumerate(arrays):
                self._dlr.call("GetDLROutput", at, index, ctypes.c_void_p(array.ctypes.data))
        except RuntimeError as error:
            raise InferenceFailed(str(error)) from None
        return arrays

    def _spec(self, kind: str, index: int) -> TensorSpec:
        """
        Raises:
            CannotLoad: a size is open, or the element type is not supported by the interface.
        """
        name = self._text(f"GetDLR{kind}Name", index) if kind == "Input" else self._output_name(index)
        shape = self._dlr.shape(kind, self._handle, index)
        if any(size <= 0 for size in shape[1:]) or (kind == "Output" and any(size <= 0 for size in shape)):
            raise CannotLoad(
                f"{kind.lower()} '{name}' has open sizes: {list(shape)}; compile the model with fixed sizes"
            )
        fixed = tuple(1 if size <= 0 else size for size in shape)
        kind_of: Any = self._text(f"GetDLR{kind}Type", index)
        return make_spec(name.encode(), kind_of, fixed)

    def _output_name(self, index: int) -> str:
        """Output names exist only in models with metadata."""
        try:
            return self._text("GetDLROutputName", index) or f"output_{index}"
        except RuntimeError:
            return f"output_{index}"

    def _version(self) -> str:
        value = ctypes.c_char_p()
        self._dlr.call("GetDLRVersion", ctypes.byref(value))
        return (value.value or b"").decode(errors="replace")

    def _text(self, function: str, index: int | None = None) -> str:
        more = () if index is None else (index,)
        return self._dlr.text(function, self._handle, *more).decode(errors="replace")


def _delete(dlr: Dlr, handle: ctypes.c_void_p) -> None:
    with contextlib.suppress(RuntimeError):
        dlr.call("DeleteDLRModel", ctypes.byref(handle))
