"""What docs/ci.md prints for GitHub and pre-commit is what they take."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(encoding="utf-8"), re.DOTALL)
ANNOTATIONS, SCAN, HOOK, HOOK_FOR_ALL, _ = BLOCKS


@pytest.mark.parametrize("text", [ANNOTATIONS, ANNOTATIONS + SCAN], ids=["annotations", "with code scanning"])
def test_the_workflows_for_github_are_what_its_schema_allows(text: str, tmp_path: Path) -> None:
    (tmp_path / "workflows.yaml").write_text(text)
    checker = Path(sys.executable).parent / "check-jsonschema"
    command = [str(checker), "--builtin-schema", "vendor.github-workflows", str(tmp_path / "workflows.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_their_commands_run_as_they_are_printed(emflow, demo: Path, tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "demo.yaml").write_text(demo.read_text())
    runs = re.findall(r"run: emflow (.*)", ANNOTATIONS + SCAN)
    assert len(runs) == 2
    for run in runs:
        args = run.partition(" >")[0].replace("'", "").split()
        assert emflow(*args).code == 0


def test_the_hook_is_the_one_that_is_offered() -> None:
    (offered,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    (repo,) = yaml.safe_load(HOOK)["repos"]
    assert [hook["id"] for hook in repo["hooks"]] == [offered["id"]] == ["emflow-validate"]
    (for_all,) = yaml.safe_load(dedent(HOOK_FOR_ALL))
    assert for_all["id"] == offered["id"]
    assert for_all["args"] == ["workflows/*.yaml"]
    assert re.search(offered["files"], "a/workflows/x.yaml")
    assert not re.search(offered["files"], "workflows/parts/x.yaml")
