"""ONNX models, run by ONNX Runtime on the execution providers that the settings name."""

from __future__ import annotations

import importlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emflow_agent.errors import CannotLoad, InferenceFailed
from emflow_agent.runtimes.options import RuntimeOptions, one_line, open_sizes_message, single_file
from emflow_agent.runtimes.placement import Placement
from emflow_agent.temporary_folders import temporary_folder
from emflow_agent.tensors.spec import NOT_QUANTIZED, OPEN, TensorSpec, make_spec
from emflow_schema.installation import how_to_install
from emflow_schema.model_files import is_onnx
from emflow_schema.onnx import read

if TYPE_CHECKING:
    from emflow_agent.tensors.spec import Array

KEY = "onnx"
NEEDS_TEMPORARY_FILES = True
NAME = "ONNX Runtime"
FILES_DESCRIPTION = "one *.onnx"

log = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"

# Element types as ONNX Runtime names them; the interface of the agent supports no others.
_TYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
}

# onnxruntime_session_options_config_keys.h: the folder for weights outside the model file (default: the working folder
# of the agent), and whether the session records which provider runs which node.
_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
_REMEMBER_NODES = "session.record_ep_graph_assignment_info"
_HEEDS_EXTERNAL_FOLDER = (1, 21)
"""The first version that looks for weights there also when the model comes as bytes. Python 3.9 has 1.19 at most."""
_NAMES_A_FILE = b"location"
"""The key before the name of a file with weights (TensorProto.external_data)."""

_ERRORS_ONLY = 3


def model_files(names: Sequence[str]) -> list[str]:
    """The .onnx file of the folder.

    Raises:
        CannotLoad: there are several models.
    """
    return single_file([name for name in names if is_onnx(name)], FILES_DESCRIPTION)


def available() -> str:
    """Empty when the package is installed; otherwise what to install."""
    try:
        importlib.import_module("onnxruntime")
    except ImportError as error:
        return f"{error}; install ONNX Runtime (extra onnx): {how_to_install('emflow-device', 'onnx')}"
    return ""


def open_model(files: Mapping[str, bytes], options: RuntimeOptions) -> OnnxModel:
    """Open an .onnx file.

    An open batch size becomes 1.

    Raises:
        CannotLoad: it is not an ONNX model that runs on this device, other sizes are open, or its weights are in other
            files; or a requested execution provider is missing or took no node, and the options require it.
    """
    (content,) = files.values()
    wanted = [provider for provider in options.providers if provider.name != CPU]
    if not wanted:
        return _open(content, options, ())
    available_providers = importlib.import_module("onnxruntime").get_available_providers()
    found = [(each.name, dict(each.options)) for each in wanted if each.name in available_providers]
    reasons = [
        f"{each.name} is not part of this ONNX Runtime" for each in wanted if each.name not in available_providers
    ]
    try:
        model = _open(content, options, found) if found else None
        if model and model.placement.accelerator != "CPU":
            for reason in reasons:
                log.warning("%s; %s", reason, model.placement)
            return model
        if model:
            reasons.append(f"{found[0][0]} took 0 of {model.placement.nodes} nodes")
    except CannotLoad as problem:
        # Also when the graph could not be prepared with the provider: a damaged file fails again without it.
        reasons.append(f"{found[0][0]} cannot run this model: {problem}")
    reason = "; ".join(reasons)
    if options.accelerator_required:
        raise CannotLoad(f"{reason}; available are {', '.join(available_providers)}")
    model = _open(content, options, (), ", ".join(_short(each.name) for each in wanted))
    log.warning("%s; it runs on the CPU, which is slower: %s", reason, model.placement)
    return model


class OnnxModel:
    """A model in an ONNX Runtime session.

    Args:
        open_batch: whether the graph leaves the batch size of an input open.
        quantization: scale and zero point of inputs and outputs, by their names, as far as the graph has them.
    """

    def __init__(self, session: Any, open_batch: bool, quantization: Mapping[str, tuple[float, int]]) -> None:
        self._session, self._open_batch, self._quantization = session, open_batch, quantization
        self.placement = Placement(NAME)
        self.inputs = tuple(_input(spec, quantization) for spec in session.get_inputs())
        self._names = [spec.name for spec in session.get_inputs()]
        self.outputs = self._find_outputs()

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        try:
            return list(self._session.run(None, dict(zip(self._names, arrays))))
        except Exception as error:
            # ONNX Runtime has no common base class of its errors.
            raise InferenceFailed(one_line(error)) from None

    def run_on_zeros(self) -> list[Array]:
        return self.run([np.zeros(spec.shape, spec.dtype) for spec in self.inputs])

    def _find_outputs(self) -> tuple[TensorSpec, ...]:
        """Sizes of outputs that the graph leaves open stay so: what one run finds is no property of the model.

        Only the first may be the batch, where that of an input is open too and a run gives 1.
        """
        outputs = self._session.get_outputs()
        types = [_output_type(output) for output in outputs]
        shapes = [[size if isinstance(size, int) and size >= 0 else OPEN for size in spec.shape] for spec in outputs]
        if self._open_batch and any(shape[:1] == [OPEN] for shape in shapes):
            for shape, array in zip(shapes, self.run_on_zeros()):
                if shape[:1] == [OPEN] and array.shape[:1] == (1,):
                    shape[0] = 1
        return tuple(
            make_spec(spec.name.encode(), kind, shape, self._quantization.get(spec.name, NOT_QUANTIZED))
            for spec, kind, shape in zip(outputs, types, shapes)
        )


def _open(
    content: bytes, options: RuntimeOptions, providers: Sequence[tuple[str, dict[str, str]]], instead_of: str = ""
) -> OnnxModel:
    """Raises: CannotLoad."""
    runtime = importlib.import_module("onnxruntime")
    version = tuple(int(part) for part in runtime.__version__.split(".")[:2])
    if version < _HEEDS_EXTERNAL_FOLDER and _NAMES_A_FILE in content:
        raise CannotLoad(
            "its weights may be in other files, which ONNX Runtime before 1.21 would read wherever they lie: "
            f"'{_NAMES_A_FILE.decode()}' stands in it, and this is {runtime.__version__}"
        )
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.log_severity_level = _ERRORS_ONLY
    settings.add_session_config_entry(_REMEMBER_NODES, "1")
    # Older packages do not record the assignment of nodes; there the profile of a run shows it.
    profiled = bool(providers) and not hasattr(runtime.InferenceSession, "get_provider_graph_assignment_info")
    try:
        with temporary_folder() as folder:
            settings.add_session_config_entry(_EXTERNAL_FOLDER, folder)
            settings.profile_file_prefix = str(Path(folder, "profile"))
            settings.enable_profiling = profiled

            def session() -> Any:
                return runtime.InferenceSession(content, settings, providers=[*providers, CPU], enable_fallback=0)

            arrays = session()
            batches, open_batch = _open_batches(arrays), _has_open_batch(arrays)
            if batches:
                # Set before the graph is prepared, so that the sizes that depend on it become known too.
                for name in batches:
                    settings.add_free_dimension_override_by_name(name, 1)
                arrays = session()
            model = OnnxModel(arrays, open_batch, _quantization(content))
            nodes = _profiled(model, arrays) if profiled else _remembered(arrays)
        names = [name for name, _ in providers]
        model.placement = _placement(runtime.__version__, nodes, names, instead_of or options.failed_accelerator)
        return model
    except (CannotLoad, InferenceFailed) as problem:
        raise CannotLoad(str(problem)) from None
    except MemoryError:
        raise
    except Exception as error:
        raise CannotLoad(one_line(error)) from None


def _open_batches(session: Any) -> list[str]:
    """Names of the open batch sizes of the inputs; unnamed ones are replaced by 1 in `_input`."""
    return sorted({spec.shape[0] for spec in session.get_inputs() if spec.shape and isinstance(spec.shape[0], str)})


def _has_open_batch(session: Any) -> bool:
    return any(spec.shape and not isinstance(spec.shape[0], int) for spec in session.get_inputs())


def _placement(version: str, nodes: Counter[str] | None, wanted: Sequence[str], instead_of: str) -> Placement:
    title = f"{NAME} {version}"
    if nodes is None:
        return Placement(title, instead_of=_short(instead_of))
    best = next((name for name in wanted if nodes[name]), CPU)
    beside = ", ".join(f"{_short(name)} {count}" for name, count in nodes.items() if name != best)
    return Placement(title, _short(best), nodes[best], sum(nodes.values()), _short(instead_of), beside)


def _remembered(session: Any) -> Counter[str] | None:
    """Number of nodes of each provider, before fusion; None with an older package."""
    try:
        parts = session.get_provider_graph_assignment_info()
    except AttributeError:
        return None
    counted: Counter[str] = Counter()
    for part in parts:
        counted[part.ep_name] += len(part.get_nodes())
    return counted


def _profiled(model: OnnxModel, session: Any) -> Counter[str]:
    """Number of nodes that each provider ran; fused nodes count as one."""
    model.run_on_zeros()
    events = json.loads(Path(session.end_profiling()).read_text())
    nodes = {(event["name"], event["args"]["provider"]) for event in events if "provider" in event.get("args", {})}
    return Counter(provider for _, provider in nodes)


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider")


def _quantization(content: bytes) -> dict[str, tuple[float, int]]:
    """Scale and zero point of inputs and outputs, by name. ONNX Runtime does not tell them."""
    try:
        facts = read(content)
    except ValueError:
        return {}
    tensors = (*facts.inputs, *facts.outputs)
    return {tensor.name: (tensor.scale, tensor.zero_point) for tensor in tensors if tensor.scale}


def _input(spec: Any, quantization: Mapping[str, tuple[float, int]]) -> TensorSpec:
    first, rest = list(spec.shape[:1]), list(spec.shape[1:])
    fixed = [size if isinstance(size, int) else 1 for size in first]
    if any(not isinstance(size, int) for size in rest):
        sizes = [str(size) if isinstance(size, int) else "?" for size in fixed + rest]
        raise CannotLoad(open_sizes_message(spec.name, sizes))
    return make_spec(spec.name.encode(), _type(spec), fixed + rest, quantization.get(spec.name, NOT_QUANTIZED))


def _type(spec: Any) -> Any:
    return _TYPES.get(spec.type, spec.type)


def _output_type(spec: Any) -> Any:
    """
    Raises:
        CannotLoad: it is no tensor of numbers; the message says how to export the model with one.
    """
    if spec.type.startswith("seq(map("):
        raise CannotLoad(
            f"output '{spec.name}' is a list of dictionaries, class to probability (operator ZipMap), not a tensor; "
            "export the model without it: with skl2onnx, options={'zipmap': False}"
        )
    if not spec.type.startswith("tensor("):
        raise CannotLoad(f"output '{spec.name}' is {spec.type}, not a tensor; export the model with tensors only")
    if spec.type == "tensor(string)":
        raise CannotLoad(
            f"output '{spec.name}' holds texts, not numbers; export the model with the numbers of its classes, and "
            "give their names as labels"
        )
    return _type(spec)
