"""Reads the model in a folder, in whichever format it is."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Collection
from pathlib import Path

from emflow_schema import onnx, tflite
from emflow_schema.model_facts import ModelFacts, model_file
from emflow_schema.model_files import is_tflite


def model_facts(folder: Path, digests: Collection[str] = ()) -> ModelFacts | None:
    """What the one model in a folder says of itself.

    None where there is none (a compiled model), where it cannot be read, or has a type that we do not know.

    Args:
        digests: SHA-256 in hexadecimal; with some, a file with another one is not read.
    """
    file = model_file(folder)
    if file is None:
        return None
    read = tflite.read if is_tflite(file.name) else onnx.read
    try:
        with file.open("rb") as content, mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if digests and hashlib.sha256(data).hexdigest() not in digests:
                return None
            facts = read(data)
    except (OSError, ValueError):
        return None
    known = facts.inputs and all(tensor.dtype in tflite.TYPES.values() for tensor in (facts.input, *facts.outputs))
    return facts if known else None
