"""Libraries built here, with the interfaces of the real ones, and models of each kind."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emflow_agent.models.loading import LoadedFiles, load_folder
from emflow_agent.runtimes import RuntimeOptions

NATIVE = Path(__file__).parent / "native"


def build(source: str, library: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        reason = "no C compiler (cc) to build libraries with"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(library), str(NATIVE / source), "-lm"], check=True)
    return library


@pytest.fixture(scope="session")
def libdlr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A libdlr.so with the C interface of DLR."""
    return build("dlr.c", tmp_path_factory.mktemp("dlr") / "libdlr.so")


@pytest.fixture(scope="session")
def delegate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A delegate for LiteRT that computes QUANTIZE nodes; its options are in its source."""
    return build("delegate.c", tmp_path_factory.mktemp("delegate") / "libtest_delegate.so")


@pytest.fixture(scope="session")
def weights() -> np.ndarray:
    """Of the dense layer in `neo`: from two inputs to three outputs."""
    return np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]], np.float32)


@pytest.fixture
def neo(tmp_path: Path, libdlr: Path, weights: np.ndarray) -> Path:
    """A folder as Neo leaves it: a dense layer of two inputs and three outputs beside its library."""
    made = tmp_path / "neo"
    made.mkdir()
    shutil.copy(libdlr, made)
    (made / "compiled.params").write_bytes(b"DNSE" + struct.pack("<ii", *weights.shape) + weights.tobytes())
    (made / "compiled.meta").write_text("{}")
    return made


@pytest.fixture
def opened() -> Callable[..., LoadedFiles]:
    """Open a folder with options; without a trial, unless it is asked for."""

    def make(folder: Path, probe: bool = False, **options: object) -> LoadedFiles:
        return load_folder(str(folder), RuntimeOptions(**options), probe=probe)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """A picture of the scenes model's size; noise, so that every part of the network has something to do."""
    return np.random.default_rng(5).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
