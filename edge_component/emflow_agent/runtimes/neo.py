"""Models compiled by SageMaker Neo, run by the `libdlr.so` that Neo lays beside them.

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

if TYPE_CHECKING:
    from emflow_agent.tensors.spec import Array

KEY = "neo"
NEEDS_TEMPORARY_FILES = True
NAME = "DLR"
LIBRARY = "libdlr.so"
FILES_DESCRIPTION = f"a Neo-compiled model with its {LIBRARY}"

_CPU = 1  # kDLCPU of DLPack's DLDeviceType; -1 says that the library could not tell
# By digest. One that was loaded stays: it may have threads of its own, whose code nobody may take away. So a model that
# is loaded again must find it and not bring another copy.
_LOADED: dict[str, Dlr] = {}

_MOST_TENSORS = 1024
_MOST_DIMENSIONS = 16


def model_files(names: Sequence[str]) -> list[str]:
    """All files of a folder that has the library: only that knows which of them it needs."""
    return list(names) if LIBRARY in names else []


def available() -> str:
    """Empty: what it takes comes with the model."""
    return ""


def open_model(files: Mapping[str, bytes], options: RuntimeOptions) -> NeoModel:
    """Make a compiled model ready to run.

    The library reads files, so it gets these very bytes in a folder that nobody else may open, and that is gone when
    the model is there.

    Raises:
        CannotLoad: the library cannot be loaded here, or refuses the model, in its own words.
    """
    os.environ.update(options.dlr_options)
    library = hashlib.sha256(files[LIBRARY]).hexdigest()
    with _copies(files) as place:
        dlr = _LOADED[library] = _LOADED.get(library) or Dlr(Path(place, LIBRARY))
        device = dlr.device(place)
        return NeoModel(dlr, dlr.create(place, device), device, options.threads)


@contextlib.contextmanager
def _copies(files: Mapping[str, bytes]) -> Iterator[str]:
    try:
        place = temporary_folder()
    except OSError as error:
        raise CannotLoad(f"there is no place for temporary files: {error.strerror}") from None
    with place as path:
        try:
            for name, content in files.items():
                file = Path(path, name)
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                file.write_bytes(content)
        except OSError as error:
            raise CannotLoad(f"its files cannot be written to {tempfile.gettempdir()}: {error.strerror}") from None
        yield path


class Dlr:
    """The library's functions; what it reports as failed is raised as RuntimeError, in its words."""

    def __init__(self, library: Path) -> None:
        try:
            # Its symbols stay its own: each model may bring another version.
            self._library = ctypes.CDLL(str(library), mode=os.RTLD_NOW | os.RTLD_LOCAL)
            self._library.DLRGetLastError.restype = ctypes.c_char_p
        except (OSError, AttributeError) as error:
            said = one_line(error).replace(f"{library}: ", "")
            raise CannotLoad(f"{LIBRARY} cannot be loaded on this device: {said}") from None

    def call(self, function: str, *arguments: Any) -> None:
        """
        Raises:
            RuntimeError: it did not return 0, or the library does not have it.
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

    def device(self, place: str) -> int:
        """What the model was compiled for; the CPU where the library or the model does not say."""
        if not self.has("GetDLRDeviceType"):
            return _CPU
        device = int(self._library.GetDLRDeviceType(place.encode()))
        return device if device > 0 else _CPU

    def create(self, place: str, device: int) -> ctypes.c_void_p:
        """
        Raises:
            CannotLoad: it is no model for this library.
        """
        handle = ctypes.c_void_p()
        try:
            self.call("CreateDLRModel", ctypes.byref(handle), place.encode(), device, 0)
        except RuntimeError as error:
            raise CannotLoad(str(error)) from None
        return handle

    def text(self, function: str, handle: ctypes.c_void_p, *arguments: Any) -> bytes:
        """A function whose last argument takes a text; the text is the library's own and stays."""
        told = ctypes.c_char_p()
        self.call(function, ctypes.byref(handle), *arguments, ctypes.byref(told))
        return told.value or b""

    def number(self, function: str, handle: ctypes.c_void_p) -> int:
        told = ctypes.c_int()
        self.call(function, ctypes.byref(handle), ctypes.byref(told))
        if not 0 < told.value <= _MOST_TENSORS:
            raise RuntimeError(f"{function} tells {told.value}")
        return told.value

    def shape(self, kind: str, handle: ctypes.c_void_p, index: int) -> tuple[int, ...]:
        """Sizes of the index-th Input or Output."""
        size, dimensions = ctypes.c_int64(), ctypes.c_int()
        at = ctypes.byref(handle)
        self.call(f"GetDLR{kind}SizeDim", at, index, ctypes.byref(size), ctypes.byref(dimensions))
        if not 0 <= dimensions.value <= _MOST_DIMENSIONS:
            raise RuntimeError(f"{kind.lower()} {index} has {dimensions.value} dimensions")
        sizes = (ctypes.c_int64 * max(dimensions.value, 1))()
        self.call(f"GetDLR{kind}Shape", at, index, sizes)
        return tuple(sizes[: dimensions.value])


class NeoModel:
    """A model inside its library, deleted there when nobody holds it any more."""

    def __init__(self, dlr: Dlr, handle: ctypes.c_void_p, device: int, threads: int) -> None:
        self._dlr, self._handle = dlr, handle
        weakref.finalize(self, _delete, dlr, handle)
        try:
            if dlr.has("SetDLRNumThreads"):
                dlr.call("SetDLRNumThreads", ctypes.byref(handle), threads)
            self.inputs = tuple(self._spec("Input", index) for index in range(dlr.number("GetDLRNumInputs", handle)))
            count = dlr.number("GetDLRNumOutputs", handle)
            self.outputs = tuple(self._spec("Output", index) for index in range(count))
            self._shapes = [(ctypes.c_int64 * len(known.shape))(*known.shape) for known in self.inputs]
            accelerator = "CPU" if device == _CPU else f"device type {device}"
            self.placement = Placement(f"{NAME} {self._version()}, {self._text('GetDLRBackend')}", accelerator)
        except RuntimeError as error:
            raise CannotLoad(str(error)) from None

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        at = ctypes.byref(self._handle)
        try:
            for known, shape, array in zip(self.inputs, self._shapes, arrays):
                whole = np.ascontiguousarray(array)
                data = ctypes.c_void_p(whole.ctypes.data)
                self._dlr.call("SetDLRInput", at, known.name, shape, data, len(known.shape))
            self._dlr.call("RunDLRModel", at)
            made = [np.empty(known.shape, known.dtype) for known in self.outputs]
            for index, array in enumerate(made):
                self._dlr.call("GetDLROutput", at, index, ctypes.c_void_p(array.ctypes.data))
        except RuntimeError as error:
            raise InferenceFailed(str(error)) from None
        return made

    def _spec(self, kind: str, index: int) -> TensorSpec:
        """
        Raises:
            CannotLoad: its size is open, or its elements are none that clients can send.
        """
        name = self._text(f"GetDLR{kind}Name", index) if kind == "Input" else self._output_name(index)
        shape = self._dlr.shape(kind, self._handle, index)
        if any(size <= 0 for size in shape[1:]) or (kind == "Output" and any(size <= 0 for size in shape)):
            raise CannotLoad(f"{kind.lower()} '{name}' leaves sizes open: {list(shape)}; compile it with fixed ones")
        fixed = tuple(1 if size <= 0 else size for size in shape)
        kind_of: Any = self._text(f"GetDLR{kind}Type", index)
        return make_spec(name.encode(), kind_of, fixed)

    def _output_name(self, index: int) -> str:
        """Only models with metadata name their outputs."""
        try:
            return self._text("GetDLROutputName", index) or f"output_{index}"
        except RuntimeError:
            return f"output_{index}"

    def _version(self) -> str:
        told = ctypes.c_char_p()
        self._dlr.call("GetDLRVersion", ctypes.byref(told))
        return (told.value or b"").decode(errors="replace")

    def _text(self, function: str, index: int | None = None) -> str:
        more = () if index is None else (index,)
        return self._dlr.text(function, self._handle, *more).decode(errors="replace")


def _delete(dlr: Dlr, handle: ctypes.c_void_p) -> None:
    with contextlib.suppress(RuntimeError):
        dlr.call("DeleteDLRModel", ctypes.byref(handle))
