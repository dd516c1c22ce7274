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
from emflow_agent.tensors.spec import TensorSpec, make_spec
from emflow_schema.installation import how_to_install

if TYPE_CHECKING:
    from emflow_agent.tensors.spec import Array

KEY = "onnx"
NEEDS_TEMPORARY_FILES = True
NAME = "ONNX Runtime"
FILES_DESCRIPTION = "one *.onnx"

log = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"

# Element types as ONNX Runtime calls them; all others have no name in the agent's interface.
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

# onnxruntime_session_options_config_keys.h: where weights outside the model file are looked for, which without it is
# the agent's working folder; and that the session remembers which provider got which node.
_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
_REMEMBER_NODES = "session.record_ep_graph_assignment_info"
_HEEDS_EXTERNAL_FOLDER = (1, 21)
"""The first version that looks for weights there also when the model comes as bytes. Python 3.9 has 1.19 at most."""
_NAMES_A_FILE = b"location"
"""The key that goes before the name of a file with weights (TensorProto.external_data)."""

_ERRORS_ONLY = 3


def model_files(names: Sequence[str]) -> list[str]:
    """The folder's .onnx.

    Raises:
        CannotLoad: there are several.
    """
    return single_file([name for name in names if name.endswith(".onnx")], FILES_DESCRIPTION)


def available() -> str:
    """Empty when the package is there; otherwise what to install."""
    try:
        importlib.import_module("onnxruntime")
    except ImportError as error:
        return f"{error}; install ONNX Runtime (extra onnx): {how_to_install('emflow-device', 'onnx')}"
    return ""


def open_model(files: Mapping[str, bytes], options: RuntimeOptions) -> OnnxModel:
    """Make the bytes of an .onnx file ready to run.

    A batch size that is left open is 1.

    Raises:
        CannotLoad: they are no ONNX model that runs here, other sizes are left open, its weights are in other files; an
            execution provider that was asked for is not there or took nothing, and the options insist on it.
    """
    (content,) = files.values()
    wanted = [provider for provider in options.providers if provider.name != CPU]
    if not wanted:
        return _open(content, options, ())
    there = importlib.import_module("onnxruntime").get_available_providers()
    found = [(each.name, dict(each.options)) for each in wanted if each.name in there]
    reasons = [f"{each.name} is not in this ONNX Runtime" for each in wanted if each.name not in there]
    try:
        model = _open(content, options, found) if found else None
        if model and model.placement.accelerator != "CPU":
            for reason in reasons:
                log.warning("%s; %s", reason, model.placement)
            return model
        if model:
            reasons.append(f"{found[0][0]} took 0 of {model.placement.nodes} nodes")
    except CannotLoad as problem:
        # Also when the graph could not be prepared with it: without it, a file that is damaged says so itself.
        reasons.append(f"{found[0][0]} does not run this model: {problem}")
    said = "; ".join(reasons)
    if options.accelerator_required:
        raise CannotLoad(f"{said}; there are {', '.join(there)}")
    model = _open(content, options, (), ", ".join(_short(each.name) for each in wanted))
    log.warning("%s; it runs on the CPU, which is slower: %s", said, model.placement)
    return model


class OnnxModel:
    """A session, its inputs and its outputs."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.placement = Placement(NAME)
        self.inputs = tuple(_input(known) for known in session.get_inputs())
        self._names = [known.name for known in session.get_inputs()]
        self.outputs = self._find_outputs()

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        try:
            return list(self._session.run(None, dict(zip(self._names, arrays))))
        except Exception as error:
            # Its errors have no class of their own in common.
            raise InferenceFailed(one_line(error)) from None

    def run_on_zeros(self) -> list[Array]:
        return self.run([np.zeros(one.shape, one.dtype) for one in self.inputs])

    def _find_outputs(self) -> tuple[TensorSpec, ...]:
        """Sizes that the graph leaves open are those of a run on zeros."""
        known = self._session.get_outputs()
        types = [_type(output) for output in known]
        shapes: list[Sequence[int]] = [output.shape for output in known]
        if any(not isinstance(size, int) for shape in shapes for size in shape):
            shapes = [array.shape for array in self.run_on_zeros()]
        return tuple(make_spec(one.name.encode(), kind, shape) for one, kind, shape in zip(known, types, shapes))


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
    # What older packages do not remember, the profile of a run tells.
    profiled = bool(providers) and not hasattr(runtime.InferenceSession, "get_provider_graph_assignment_info")
    try:
        with temporary_folder() as place:
            settings.add_session_config_entry(_EXTERNAL_FOLDER, place)
            settings.profile_file_prefix = str(Path(place, "profile"))
            settings.enable_profiling = profiled

            def session() -> Any:
                return runtime.InferenceSession(content, settings, providers=[*providers, CPU], enable_fallback=0)

            made = session()
            batches = _open_batches(made)
            if batches:
                # Said before the graph is prepared, so that the sizes that follow from it are known too.
                for name in batches:
                    settings.add_free_dimension_override_by_name(name, 1)
                made = session()
            model = OnnxModel(made)
            nodes = _profiled(model, made) if profiled else _remembered(made)
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
    """Names of the sizes that come first in an input; one without a name needs none, being 1 in every input."""
    return sorted({one.shape[0] for one in session.get_inputs() if one.shape and isinstance(one.shape[0], str)})


def _placement(version: str, nodes: Counter[str] | None, wanted: Sequence[str], instead_of: str) -> Placement:
    title = f"{NAME} {version}"
    if nodes is None:
        return Placement(title, instead_of=_short(instead_of))
    best = next((name for name in wanted if nodes[name]), CPU)
    beside = ", ".join(f"{_short(name)} {count}" for name, count in nodes.items() if name != best)
    return Placement(title, _short(best), nodes[best], sum(nodes.values()), _short(instead_of), beside)


def _remembered(session: Any) -> Counter[str] | None:
    """How many nodes each provider got, as the graph was before they were fused; None from an older package."""
    try:
        parts = session.get_provider_graph_assignment_info()
    except AttributeError:
        return None
    counted: Counter[str] = Counter()
    for part in parts:
        counted[part.ep_name] += len(part.get_nodes())
    return counted


def _profiled(model: OnnxModel, session: Any) -> Counter[str]:
    """How many nodes each provider ran; those that it fused are one."""
    model.run_on_zeros()
    events = json.loads(Path(session.end_profiling()).read_text())
    nodes = {(event["name"], event["args"]["provider"]) for event in events if "provider" in event.get("args", {})}
    return Counter(provider for _, provider in nodes)


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider")


def _input(known: Any) -> TensorSpec:
    first, rest = list(known.shape[:1]), list(known.shape[1:])
    fixed = [size if isinstance(size, int) else 1 for size in first]
    if any(not isinstance(size, int) for size in rest):
        sizes = [str(size) if isinstance(size, int) else "?" for size in fixed + rest]
        raise CannotLoad(open_sizes_message(known.name, sizes))
    return make_spec(known.name.encode(), _type(known), fixed + rest)


def _type(known: Any) -> Any:
    return _TYPES.get(known.type, known.type)
