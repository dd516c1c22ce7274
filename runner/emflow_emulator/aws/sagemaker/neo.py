"""Neo without its compiler: it checks the network against the job's request, and returns it unchanged.

The real Neo compiles a network for one device. Here, only the steps before the compilation are done: unpack the
archive, find the only .tflite file, load it, and compare its inputs with DataInputConfig. The result has the same
network and a `neo.json` that says so and describes the tensors. LiteRT and its delegates compile the network when they
load it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from emflow.json_text import from_json, to_json
from emflow_emulator.aws.sagemaker import archives
from emflow_emulator.aws.sagemaker.jobs import JobFailed
from emflow_schema.model_files import is_tflite

MANIFEST = "neo.json"


@dataclass(frozen=True)
class Tensor:
    """A network's input or output. `dtype` is numpy's name; -1 in `shape` is a dimension of any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A .tflite and its tensors."""

    file: str
    data: bytes
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def parse_inputs(text: str) -> dict[str, list[int]]:
    """DataInputConfig for TFLITE: a JSON object, input name → shape.

    Raises:
        ValueError: the text has another form.
    """
    try:
        inputs = from_json(text)
    except ValueError as error:
        raise ValueError(f"DataInputConfig is not JSON: {error}") from error
    good = isinstance(inputs, dict) and all(
        isinstance(shape, list) and all(isinstance(size, int) and not isinstance(size, bool) for size in shape)
        for shape in inputs.values()
    )
    if not good or not inputs:
        raise ValueError(f'DataInputConfig must be like {{"input": [1, 224, 224, 3]}}, but is {text}')
    return dict(inputs)


def read(archive: bytes, where: str) -> Network:
    """The network in an archive that contains exactly one .tflite file.

    Raises:
        JobFailed: the archive has none or several, or the network cannot be loaded.
    """
    try:
        files = archives.unpack(archive)
    except ValueError as error:
        raise JobFailed(f"ClientError: InputConfiguration: {where} is {error}") from error
    found = sorted(filter(is_tflite, files))
    if not found:
        inside = ", ".join(sorted(files)) or "nothing"
        raise JobFailed(f"ClientError: InputConfiguration: No tflite file provided in {where}; it holds {inside}")
    if len(found) > 1:
        raise JobFailed(
            f"ClientError: InputConfiguration: Multiple tflite files provided in {where}, "
            f"when only one is allowed: {', '.join(found)}"
        )
    return _load(found[0], files[found[0]])


def check(network: Network, wanted: dict[str, list[int]]) -> None:
    """Compare a network's inputs with DataInputConfig.

    Raises:
        JobFailed: they differ; the reason names both.
    """
    have = {tensor.name: list(tensor.shape) for tensor in network.inputs}
    same = have.keys() == wanted.keys() and all(
        len(shape) == len(wanted[name])
        and all(size in (-1, want) for size, want in zip(shape, wanted[name], strict=True))
        for name, shape in have.items()
    )
    if not same:
        raise JobFailed(
            f"ClientError: InputConfiguration: DataInputConfig says {to_json(wanted)}, "
            f"but the inputs of {network.file} are {to_json(have)}"
        )


def output(network: Network, target: dict[str, Any]) -> bytes:
    """The archive that a compilation writes: the unchanged network and its description."""
    manifest = {
        "compiler": "emflow embedded Neo: the network is not changed",
        "target": target,
        "model": network.file.rpartition("/")[2],
        "inputs": [asdict(tensor) for tensor in network.inputs],
        "outputs": [asdict(tensor) for tensor in network.outputs],
    }
    text = to_json(manifest, indent=2).encode() + b"\n"
    return archives.pack({network.file.rpartition("/")[2]: network.data, MANIFEST: text})


def _load(file: str, data: bytes) -> Network:
    # Imported here, because the import takes long and only a compilation needs it.
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=data)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except (RuntimeError, ValueError) as error:
        raise JobFailed(f"ClientError: InputConfiguration: {file} is not a TFLite network: {error}") from error
    return Network(file, data, tuple(map(_tensor, inputs)), tuple(map(_tensor, outputs)))


def _tensor(details: dict[str, Any]) -> Tensor:
    # The shape signature has -1 where the shape of the loaded network has 1.
    shape = details.get("shape_signature")
    if shape is None or not len(shape):
        shape = details["shape"]
    return Tensor(details["name"], details["dtype"].__name__, tuple(int(size) for size in shape))
