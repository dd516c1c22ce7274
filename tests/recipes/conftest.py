"""The example workflows, loaded, and variants of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from emflow.workflow import Workflow, load

WORKFLOWS = Path(__file__).parents[2] / "workflows"


@pytest.fixture
def demo() -> Workflow:
    return load(WORKFLOWS / "demo.yaml")


@pytest.fixture
def workshop(tmp_path: Path) -> Workflow:
    """The workshop's workflow with a labels file that is there."""
    labels = tmp_path / "labels.txt"
    labels.write_text("background\ntench\n")
    return load(WORKFLOWS / "imx8mplus-mobilenetv2.yaml", {"labels": str(labels)}, root=Path("/"))


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Workflow]:
    """The demo with texts of its file replaced, in a folder of its own."""

    def make(*replacements: tuple[str, str]) -> Workflow:
        text = (WORKFLOWS / "demo.yaml").read_text()
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "changed.yaml"
        shutil.copytree(WORKFLOWS / "models", tmp_path / "models", dirs_exist_ok=True)
        path.write_text(text)
        return load(path)

    return make
