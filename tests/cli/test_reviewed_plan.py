"""A saved plan runs what was reviewed: whatever file is edited after it, `apply PLAN` publishes nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from resources.conftest import client, embedded, endpoint, file  # noqa: F401 fixtures

pytestmark = pytest.mark.e2e

RECIPE = """\
RecipeFormatVersion: "2020-01-25"
ComponentName: {{ component.name | quoted }}
ComponentVersion: {{ version | quoted }}
ComponentDescription: counts
Manifests:
  - Platform: {os: linux, runtime: "*"}
    Lifecycle:
      run:
        Script: |-
          sh "{{ artifact.folder }}/run.sh"
          echo counted
    Artifacts: [{URI: {{ artifact.uri | quoted }}, Unarchive: ZIP}]
"""
LABELS = "\n".join(f"label {number}" for number in range(10)) + "\n"
EDITS = {
    "recipe.j2": "echo counted → echo counted twice",
    "files/run.sh": "echo hello → echo goodbye",
    "labels.txt": "label 3 → another label",
    "values.yaml": "1m → 2m",
    "imported.yaml": "first → second",
    "workflow.yaml": "rtspt://192.168.1.20 → rtspt://192.168.1.21",
}


@pytest.fixture
def folder(file: Path) -> Path:  # noqa: F811
    """A workflow that is made of several files, each of which has a say in what is published."""
    (file.parent / "files").mkdir()
    component = {"name": "com.example.Counter-{{ vars.thing }}", "recipe": "recipe.j2", "artifacts": "files"}
    configuration = {"every": "{{ vars.every }}", "line": "{{ vars.line }}"}
    own = {"imports": ["imported.yaml"], "components": [{**component, "configuration": configuration}]}
    text = yaml.safe_dump(own) + file.read_text().replace("vars: {", "vars: {every: 30s, ")
    text += "  model_io: {labels: labels.txt}\n"
    contents = {
        "recipe.j2": RECIPE,
        "files/run.sh": "echo hello\nexit 0\n",
        "labels.txt": LABELS,
        "values.yaml": "every: 1m\n",
        "imported.yaml": "vars: {line: first}\n",
        "workflow.yaml": text,
    }
    for name, content in contents.items():
        (file.parent / name).write_text(content)
    return file.parent


def edit(folder: Path, name: str) -> None:
    old, new = EDITS[name].split(" → ")
    content = (folder / name).read_text()
    assert content.count(old) == 1
    (folder / name).write_text(content.replace(old, new))


@pytest.mark.parametrize("published", [False, True], ids=["new", "update"])
@pytest.mark.parametrize("name", EDITS)
def test_a_file_edited_after_the_plan_is_not_published(emflow, client, folder, name, published):  # noqa: F811
    if published:
        assert emflow("apply", "workflow.yaml", "--yes", "--var-file", "values.yaml").code == 0
        (folder / "recipe.j2").write_text(RECIPE.replace("counts", "counts well"))
        (folder / "workflow.yaml").write_text((folder / "workflow.yaml").read_text() + "  publish: {topic: a/b}\n")
    planned = emflow("plan", "workflow.yaml", "--var-file", "values.yaml", "--out", "plan.json")
    assert planned.code == 0, planned.err
    before = client("greengrassv2").list_deployments(historyFilter="ALL")
    original = (folder / name).read_text()
    edit(folder, name)
    refused = emflow("apply", "plan.json")
    assert refused.code == 1
    assert "Make a new plan" in refused.err
    assert "AWS has changed" not in refused.err
    assert client("greengrassv2").list_deployments(historyFilter="ALL")["deployments"] == before["deployments"]
    (folder / name).write_text(original)
    assert emflow("apply", "plan.json").code == 0


def test_a_plan_shows_the_lines_of_recipe_and_script_that_differ(emflow, folder):
    assert emflow("apply", "workflow.yaml", "--yes").code == 0
    edit(folder, "recipe.j2")
    edit(folder, "files/run.sh")
    planned = emflow("plan", "workflow.yaml").out.splitlines()
    lines = [line.strip() for line in planned if "component" in line or line.startswith("      ")]
    run = "recipe.Manifests[0].Lifecycle.run.Script: "
    assert [line for line in lines if line.startswith(run)] == [f"{run}- echo counted", f"{run}+ echo counted twice"]
    script = [line for line in lines if line.startswith("files.run.sh: ")]
    assert script == ["files.run.sh: - echo hello", "files.run.sh: + echo goodbye"]
    assert not [line for line in lines if "ComponentVersion" in line or "Digest" in line]
