"""What a model's file says of its inputs and outputs, whatever its format: the part of it that the agent cannot tell.

The agent's interface has name, type and shape only, one 8-bit type for both uint8 and int8, and nothing about what the
values of an output are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from emflow_schema.model_files import is_onnx, is_tflite, without_files_of_macos

_MOST_FILES = 10_000
"""Of a folder; what has more is no model's."""


@dataclass(frozen=True)
class TensorFacts:
    """One input or output. real value = scale * (stored - zero_point); scale 0 means that it is not quantised.

    dtype: a NumPy name, or another text where the type is not known. shape: -1 is a size that the model leaves open.
    values: of an output: `confidences`, `raw` or empty (`graph`). role: of a detection operator's output: `boxes`,
    `classes`, `scores` or `count`.
    """

    dtype: str
    scale: float = 0.0
    zero_point: int = 0
    name: str = ""
    shape: tuple[int, ...] = ()
    values: str = field(default="", compare=False)
    role: str = field(default="", compare=False)


@dataclass(frozen=True)
class ModelFacts:
    """A model's main graph, and whether its first output is confidences already (softmax or sigmoid)."""

    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    confidences: bool

    @property
    def input(self) -> TensorFacts:
        """The first input, which pictures go into."""
        return self.inputs[0]

    def describes(self, inputs: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]) -> bool:
        """Whether this may be the model that has inputs and outputs of these shapes."""
        mine = [tensor.shape for tensor in (*self.inputs, *self.outputs)]
        numbers = (len(self.inputs), len(self.outputs)) == (len(inputs), len(outputs))
        return numbers and all(map(_may_be, mine, (*inputs, *outputs)))


def _may_be(shape: Sequence[int], other: Sequence[int]) -> bool:
    if not shape:
        return True  # not told
    return len(shape) == len(other) and all(one == two or one < 1 or two < 1 for one, two in zip(shape, other))


def model_file(folder: Path) -> Path | None:
    """The model in a folder, as the agent chooses it among files of different formats; None without exactly one.

    Files in subfolders count where the folder itself has none.
    """
    walk = ((root, name) for root, _, names in os.walk(folder) for name in names)
    names = [os.path.relpath(Path(root, name), folder) for root, name in islice(walk, _MOST_FILES)]
    for is_model in (is_tflite, is_onnx):
        found = [name for name in without_files_of_macos(names) if is_model(name)]
        found = [name for name in found if os.sep not in name] or found
        if found:
            return Path(folder, found[0]) if len(found) == 1 else None
    return None


def folder_identity(folder: Path) -> tuple[tuple[str, int, int, int, int], ...]:
    """What changes when anything in a folder changes: path, inode, size and times of each file. Empty where it has no
    files, or cannot be read."""
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                stat = Path(root, name).stat()
            except OSError:
                continue
            path = os.path.relpath(Path(root, name), folder)
            found.append((path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
            if len(found) > _MOST_FILES:
                return ()
    return tuple(sorted(found))


def file_identity(folder: Path) -> tuple[str, int, int, int] | None:
    """What changes when another model is put into the folder: path, inode, size and time; None without a model."""
    file = model_file(folder)
    try:
        stat = file.stat() if file else None
    except OSError:
        return None
    return (str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns) if stat else None
