"""Tests wait for conditions. A bare sleep is either too short, on a busy machine, or too long, on every other one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

PACE = "stands for something that takes so long, or happens so often"
ALLOWED = {
    "agent/capture/s3_proxy.py": PACE,  # a slow network
    "e2e/test_chaos.py": PACE,  # how long something is gone is what is tried at random
    "edge/camera/scripted_camera.py": PACE,  # a camera that sends something over and over
    "edge/camera/test_odd_cameras.py": PACE,  # a camera's frames
    "edge/camera/test_relay.py": PACE,  # a camera's frames
    "edge/camera/test_reader_with_emulator.py": PACE,  # a slow decoder
    "edge/test_device_states.py": PACE,  # how long something runs or hangs is what is tried at random
    "engine/test_answer_limits.py": PACE,  # an answer that comes byte by byte
    "support.py": "asks again and again whether a condition holds",
}


def sleeps(source: str) -> Iterator[int]:
    """The lines where a sleep is called, however it was imported."""
    tree = ast.parse(source)
    modules, functions = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {name.asname or name.name for name in node.names if name.name in ("time", "asyncio")}
        elif isinstance(node, ast.ImportFrom) and node.module in ("time", "asyncio"):
            functions |= {name.asname or name.name for name in node.names if name.name == "sleep"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "sleep" and isinstance(node.value, ast.Name):
            if node.value.id in modules:
                yield node.lineno
        elif isinstance(node, ast.Name) and node.id in functions:
            yield node.lineno


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.sleep(1)",
        "import time as t\nt.sleep(1)",
        "from time import sleep\nsleep(1)",
        "from time import monotonic, sleep as pause\npause(1)",
        "import time\npause = time.sleep",
        "import asyncio\nawait_it = asyncio.sleep(1)",
    ],
)
def test_a_sleep_is_found_however_it_is_written(source: str) -> None:
    assert list(sleeps(source)) == [2]


def test_tests_sleep_only_where_nothing_but_time_proves_it() -> None:
    texts = {path.relative_to(TESTS).as_posix(): path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")}
    found = {name: list(sleeps(text)) for name, text in texts.items() if "sleep" in text}
    sleeping = {name for name, lines in found.items() if lines}
    unexpected = [f"{name}:{line}" for name in sorted(sleeping - ALLOWED.keys()) for line in found[name]]
    assert unexpected == [], "wait for a condition with `support.until`"
    assert sorted(ALLOWED.keys() - sleeping) == [], "these sleep no longer"
