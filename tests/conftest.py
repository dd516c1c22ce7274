"""What every room's tests share: the real model and pictures, and processes that never outlive a test."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from hypothesis import settings

from support import Process

ROOT = Path(__file__).parents[1]
# As the agent does, for the tests that start programs beside gRPC on Python 3.9. Before anything imports it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# A shell ignores SIGINT for what it starts in the background, and every program that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Without it, an example that takes 200 ms fails, and on a busy machine any of them may take so long.
settings.register_profile("busy", settings(), deadline=None)
settings.load_profile("busy")
IN_CI = os.environ.get("CI") == "true"
LONG = 1800
"""Seconds that a test may take that starts programs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        starts_programs = any(map(item.get_closest_marker, ("e2e", "peer")))
        if item.get_closest_marker("alone") and not starts_programs:
            raise pytest.UsageError(
                f"{item.nodeid} is marked `alone`, but neither `e2e` nor `peer`: `make test` runs it"
            )
        if item.get_closest_marker("timeout") is None and starts_programs:
            item.add_marker(pytest.mark.timeout(LONG))


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over the tests themselves, which stay: a fifth of all time went into that."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def service_models() -> Iterator[None]:
    """Read botocore's descriptions of services once, and not once a session: that takes longer than most tests."""
    make: Callable[..., None] = Loader.__init__
    read: dict[Any, Any] = {}

    def make_with_what_was_read(loader: Loader, *args: Any, **options: Any) -> None:
        make(loader, *args, **options)
        if type(loader) is Loader:  # others, such as moto's, have other descriptions
            vars(loader)["_cache"] = read

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loader, "__init__", make_with_what_was_read)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with MobileNetV2 and two photographs, which are not part of the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        reason = f"no {folder}: it holds MobileNetV2 and two photographs, which the repository does not carry"
        if IN_CI:
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def scenes_model() -> Path:
    """The classifier that the repository ships."""
    return ROOT / "workflows" / "models" / "scenes.tflite"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start a program; what still runs when the test ends is ended."""
    started: list[Process] = []

    def run(*args: str, **options: object) -> Process:
        process = Process(args, tmp_path / f"output-{len(started)}.log", **options)
        started.append(process)
        return process

    yield run
    for process in reversed(started):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.end(timeout=10)
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait()


@pytest.fixture
def python(start: Callable[..., Process]) -> Callable[..., Process]:
    """Start a module of ours with this interpreter."""
    return lambda module, *args, **options: start(sys.executable, "-m", module, *args, **options)
