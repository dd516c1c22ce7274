"""What the device packages ask for on a board: the dependencies of emflow-device, with the board's TFLite package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from emflow.board.figures import MACHINES, BoardFigures
from emflow.problems import Problem
from emflow.workflow.model import Workflow
from emflow_schema.installation import how_to_install
from emflow_schema.model_files import is_onnx

DEVICE = "emflow-device"
EXTRAS = ("agent", "edge", "signing")
"""Those of emflow-device that every board gets; `extras_of` has those that depend on the workflow."""

LITERT, TFLITE_RUNTIME = "ai-edge-litert", "tflite-runtime"

MODULES = {
    LITERT: "ai_edge_litert.interpreter",
    TFLITE_RUNTIME: "tflite_runtime.interpreter",
    "av": "av",
    "awsiotsdk": "awsiot.greengrasscoreipc.clientv2",
    "boto3": "boto3",
    "cryptography": "cryptography.hazmat.primitives.asymmetric.ec",
    "grpcio": "grpc",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "opencv-python-headless": "cv2",
    "protobuf": "google.protobuf.message",
}
"""What our code imports of each distribution: the install step proves that it can be imported."""


def extras_of(workflow: Workflow) -> tuple[str, ...]:
    """The extras of emflow-device that the device of a workflow needs."""
    model, edge = workflow.cloud.model, workflow.edge
    onnx = is_onnx(model.artifact) or edge.agent.open.runtime == "onnx"
    uploads = edge.capture.enabled and edge.capture.destination == "cloud"
    return (*EXTRAS, *(["onnx"] if onnx else []), *(["upload"] if uploads else []))


def device_requirements(board: BoardFigures, extras: Iterable[str] = EXTRAS) -> tuple[str, ...]:
    """The requirements of a board, in order, without markers: they are for this board alone.

    Raises:
        Problem: emflow-device is not installed.
    """
    try:
        listed = [Requirement(text) for text in requires(DEVICE) or ()]
    except PackageNotFoundError:
        raise Problem(f"{DEVICE} is not installed", mend=f"Install it with: {how_to_install(DEVICE)}") from None
    wanted: dict[str, set[str]] = {}
    for requirement in listed:
        if any(_applies(requirement, board, extra) for extra in extras):
            name, bounds = canonicalize_name(requirement.name), {str(each) for each in requirement.specifier}
            if name == LITERT and board.tflite == TFLITE_RUNTIME:
                name, bounds = canonicalize_name(TFLITE_RUNTIME), set()
            wanted.setdefault(name, set()).update(bounds)
    if TFLITE_RUNTIME in wanted and TFLITE_RUNTIME not in board.provides:
        # Its wheels are built against numpy 1 and say only `numpy>=1.23.2`: with numpy 2 they crash when imported.
        # https://pypi.org/project/tflite-runtime/2.14.0/
        wanted.setdefault("numpy", set()).add("<2")
    return tuple(f"{name}{','.join(sorted(bounds))}" for name, bounds in sorted(wanted.items()))


def name_of(requirement: str) -> str:
    """The distribution of a requirement, normalized."""
    return canonicalize_name(Requirement(requirement).name)


def _applies(requirement: Requirement, board: BoardFigures, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**_environment(board), "extra": extra})


def _environment(board: BoardFigures) -> Mapping[str, str]:
    """The board as environment markers see it (PEP 508)."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{board.python}.0",
        "os_name": "posix",
        "platform_machine": MACHINES[board.architecture],
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{board.python}.0",
        "python_version": board.python,
        "sys_platform": "linux",
    }
