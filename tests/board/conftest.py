"""An index of small wheels, named and tagged as the real ones are, and workflows with a board."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT
from emflow.board.figures import BoardFigures, figures_of
from emflow.workflow.model import Board
from wheel_files import make_wheel, pip_wheel

IMX8MPLUS = figures_of(Board(preset="imx8mplus"))


def board(**keys: object) -> BoardFigures:
    """The i.MX 8M Plus with other figures."""
    return figures_of(Board(**{"preset": "imx8mplus", **keys}))  # type: ignore[arg-type]


def native(folder: Path, name: str, version: str, *requires: str, pythons: str = "311", glibc: int = 28) -> None:
    """Wheels with binaries for both architectures."""
    for machine in ("aarch64", "x86_64"):
        for python in pythons.split():
            tag = f"cp{python}-cp{python}-manylinux_2_{glibc}_{machine}"
            make_wheel(folder, name, version, requires=requires, tag=tag)


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels for Python 3.9 to 3.12; tflite-runtime ends at 3.11, as the real one does."""
    folder = tmp_path_factory.mktemp("index")
    everywhere = "39 310 311 312"
    native(folder, "numpy", "1.26.4", pythons=everywhere, glibc=17)
    native(folder, "numpy", "2.0.2", pythons="39", glibc=17)
    native(folder, "numpy", "2.3.0", pythons="311 312")
    native(folder, "opencv-python-headless", "4.11.0.86", "numpy>=1.21", pythons=everywhere, glibc=17)
    native(folder, "opencv-python-headless", "4.13.0.90", "numpy>=2", pythons=everywhere)
    native(folder, "tflite-runtime", "2.14.0", "numpy>=1.23.2", pythons="39 310 311", glibc=34)
    native(folder, "ai-edge-litert", "2.3.0", "numpy>=1.23.2", pythons=everywhere, glibc=17)
    native(folder, "grpcio", "1.80.0", "typing-extensions~=4.12", pythons=everywhere, glibc=17)
    native(folder, "av", "15.0.0", pythons=everywhere)
    native(folder, "protobuf", "6.30.0", pythons=everywhere, glibc=17)
    native(folder, "cryptography", "46.0.0", "cffi>=1.14", pythons=everywhere)
    native(folder, "cffi", "2.0.0", pythons=everywhere)
    native(folder, "awscrt", "0.27.0", pythons=everywhere)
    native(folder, "onnxruntime", "1.23.0", "numpy>=1.21.6", pythons=everywhere)
    make_wheel(folder, "boto3", "1.42.0", requires=["botocore>=1.42,<1.43"])
    make_wheel(folder, "botocore", "1.42.0")
    make_wheel(folder, "awsiotsdk", "1.25.0", requires=["awscrt==0.27.0"])
    make_wheel(folder, "typing-extensions", "4.15.0")
    make_wheel(folder, "pip", "26.0.1", python=">=3.9")
    make_wheel(folder, "pip", "26.3", python=">=3.10")
    return folder


@pytest.fixture(scope="session")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pip_wheel(tmp_path_factory.mktemp("pip"))


@pytest.fixture
def workflow(tmp_path: Path) -> Callable[..., Path]:
    """Write the demo's workflow with a board."""

    def write(board: str | None = "imx8mplus") -> Path:
        text = (ROOT / "workflows" / "demo.yaml").read_text()
        models = tmp_path / "models"
        if not models.exists():
            shutil.copytree(ROOT / "workflows" / "models", models)
        path = tmp_path / "workflow.yaml"
        path.write_text(text if board is None else text.replace("\nedge:\n", f"\nedge:\n  board: {board}\n", 1))
        return path

    return write
