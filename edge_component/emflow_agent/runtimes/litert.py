"""TensorFlow Lite models, run by LiteRT, or by the older package tflite_runtime of some board images."""

from __future__ import annotations

import ctypes
import importlib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emflow_agent.errors import CannotLoad, InferenceFailed
from emflow_agent.runtimes import delegates
from emflow_agent.runtimes.delegates import DelegateUnavailable
from emflow_agent.runtimes.options import RuntimeOptions, one_line, open_sizes_message, single_file
from emflow_agent.runtimes.placement import Placement
from emflow_agent.tensors.spec import NOT_QUANTIZED, OPEN, TensorSpec, make_spec
from emflow_schema.installation import how_to_install
from emflow_schema.model_files import is_tflite

if TYPE_CHECKING:
    from emflow_agent.tensors.spec import Array

KEY = "litert"
NEEDS_TEMPORARY_FILES = False
NAME = "LiteRT"
FILES_DESCRIPTION = "one *.tflite"

log = logging.getLogger(__name__)

# The same Interpreter class in the upstream package and in that of NXP's board images.
_PACKAGES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


def model_files(names: Sequence[str]) -> list[str]:
    """The .tflite file of the folder.

    Raises:
        CannotLoad: there are several models.
    """
    return single_file([name for name in names if is_tflite(name)], FILES_DESCRIPTION)


def available() -> str:
    """Empty when one of the packages is installed; otherwise what to install."""
    try:
        _package()
    except ImportError as error:
        ours = how_to_install("emflow-device", "agent")
        return f"{error}; install the board's tflite_runtime, or ai-edge-litert (extra agent): {ours}"
    return ""


def open_model(files: Mapping[str, bytes], options: RuntimeOptions) -> LitertModel:
    """Open a .tflite file, with the delegate that the options name.

    Raises:
        CannotLoad: it is not a TensorFlow Lite model, or has operators or tensors that are not supported; or the
            delegate is missing or took no node, and the options require it.
    """
    (content,) = files.values()
    library = delegates.delegate_library(options.delegate)
    if not library and options.delegate != delegates.XNNPACK:
        return _open(content, options)
    wanted = delegates.display_name(options.delegate) if library else "XNNPACK"
    try:
        loaded = [_load_delegate(library, options)] if library else []
        model = _open(content, options, loaded, wanted)
        placement = model.placement
        if placement.nodes and (placement.accelerator != wanted or not placement.taken):
            raise DelegateUnavailable(f"it took 0 of {placement.nodes} nodes")
        return model
    except (DelegateUnavailable, CannotLoad) as problem:
        # Also when the graph could not be prepared with the delegate: a damaged file fails again without it.
        reason = f"the {wanted} delegate cannot run this model: {problem}"
        if options.accelerator_required:
            raise CannotLoad(reason) from None
        model = _open(content, options, instead_of=wanted)
    log.warning("%s; it runs on the CPU, which is slower: %s", reason, model.placement)
    return model


class LitertModel:
    """A model in a LiteRT interpreter."""

    def __init__(self, interpreter: Any, placement: Placement) -> None:
        self._interpreter = interpreter
        self.placement = placement
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        for tensor in inputs:
            _check_sizes(tensor)
        self.inputs = tuple(
            make_spec(one["name"].encode(), one["dtype"], one["shape"], _quantization(one)) for one in inputs
        )
        open_batch = any(_signature(one)[:1] == [OPEN] for one in inputs)
        self.outputs = tuple(_output(one, open_batch) for one in outputs)
        self._input_indices = [int(tensor["index"]) for tensor in inputs]
        self._output_indices = [int(tensor["index"]) for tensor in outputs]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        interpreter = self._interpreter
        try:
            for index, array in zip(self._input_indices, arrays):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in self._output_indices]
        except (ValueError, RuntimeError) as error:
            raise InferenceFailed(one_line(error)) from None


def _open(
    content: bytes, options: RuntimeOptions, loaded: Sequence[Any] = (), wanted: str = "", instead_of: str = ""
) -> LitertModel:
    """Raises: CannotLoad."""
    package = _package()
    more: dict[str, Any] = {}
    if options.delegate == delegates.NONE:
        more["experimental_op_resolver_type"] = package.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    if loaded:
        more["experimental_delegates"] = list(loaded)
    try:
        interpreter = package.Interpreter(model_content=content, num_threads=options.threads, **more)
        # External delegates take their nodes in the constructor, the built-in XNNPACK in allocate_tensors().
        before = _nodes(interpreter)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise CannotLoad(one_line(error)) from None
    return LitertModel(
        interpreter,
        _placement(before, _nodes(interpreter), wanted if loaded else "", instead_of or options.failed_accelerator),
    )


def _placement(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], external: str, instead_of: str
) -> Placement:
    if not after:
        return Placement(_title(), external or "CPU", instead_of=instead_of)
    graph = [node for node in after if node["op_name"] != "DELEGATE"]
    first = [node for node in before if node["op_name"] == "DELEGATE"]
    spec = {node["index"] for node in first}
    second = [node for node in after if node["op_name"] == "DELEGATE" and node["index"] not in spec]
    by_external, by_xnnpack = (
        delegates.count_delegated_nodes(first, graph),
        delegates.count_delegated_nodes(second, graph),
    )
    if external:
        beside = f"XNNPACK {by_xnnpack}" if by_xnnpack else ""
        return Placement(_title(), external, by_external, len(graph), instead_of, beside)
    name, taken = ("XNNPACK", by_xnnpack) if by_xnnpack else ("CPU", len(graph))
    return Placement(_title(), name, taken, len(graph), instead_of)


def _nodes(interpreter: Any) -> list[Mapping[str, Any]]:
    """The nodes of the graph; empty with an older package that does not report them."""
    try:
        return list(interpreter._get_ops_details())
    except AttributeError:
        return []


def _load_delegate(library: str, options: RuntimeOptions) -> Any:
    """Raises: DelegateUnavailable."""
    delegates.prepare_environment(options)
    try:
        # Checked here: when the library or the symbol is missing, the package itself prints a traceback.
        ctypes.CDLL(library).tflite_plugin_create_delegate  # noqa: B018
        return _package().load_delegate(library, dict(options.delegate_options))
    except (OSError, AttributeError, ValueError, RuntimeError) as error:
        raise DelegateUnavailable(one_line(error)) from None


def _package() -> Any:
    reasons = []
    for package in _PACKAGES:
        try:
            return importlib.import_module(package)
        except ImportError as error:  # noqa: PERF203
            # Also when the package is installed but a library that it needs is not: the message names it.
            reasons.append(str(error))
    raise ImportError("; ".join(reasons))


def _title() -> str:
    package = _package().__name__.partition(".")[0]
    version = getattr(importlib.import_module(package), "__version__", "")
    return f"{NAME if package == 'ai_edge_litert' else package} {version}".strip()


def _check_sizes(tensor: Mapping[str, Any]) -> None:
    """Refuse an input with open sizes, except for the batch. LiteRT uses 1 for each, which no image has.

    Raises:
        CannotLoad: the message gives the sizes.
    """
    shape = [int(size) for size in tensor["shape"]]
    declared = _signature(tensor)
    sizes = ["?" if at and size < 0 and shape[at] == 1 else str(shape[at]) for at, size in enumerate(declared)]
    if "?" in sizes:
        raise CannotLoad(open_sizes_message(tensor["name"], sizes))


def _signature(tensor: Mapping[str, Any]) -> list[int]:
    """The shape as the model declares it, where a size that it leaves open is below 0."""
    shape = [int(size) for size in tensor["shape"]]
    declared = [int(size) for size in tensor.get("shape_signature", ())]
    return declared if len(declared) == len(shape) else shape


def _output(tensor: Mapping[str, Any], open_batch: bool) -> TensorSpec:
    """Sizes that the model leaves open stay so, but for the batch: only each answer has them."""
    shape = [int(size) for size in tensor["shape"]]
    for place, size in enumerate(_signature(tensor)):
        batch = open_batch and place == 0 and shape[0] == 1
        if (size < 0 and not batch) or shape[place] < 1:
            shape[place] = OPEN
    return make_spec(tensor["name"].encode(), tensor["dtype"], shape, _quantization(tensor))


def _quantization(tensor: Mapping[str, Any]) -> tuple[float, int]:
    """Scale and zero point of the whole tensor; a scale of 0 where it has none."""
    scale, zero_point = tensor.get("quantization", NOT_QUANTIZED)
    return float(scale), int(zero_point)
