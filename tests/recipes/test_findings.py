"""What `emflow validate` says of recipes: each mistake at the key of the workflow that the recipe comes from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emflow.problems import Finding
from emflow.recipes.lint.findings import findings
from emflow.workflow.load import check

WORKFLOWS = Path(__file__).parents[2] / "workflows"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The example with a component of one's own, to be spoilt."""
    for name in ("own-component.yaml", "demo.yaml"):
        shutil.copy(WORKFLOWS / name, tmp_path)
    for name in ("components", "models"):
        shutil.copytree(WORKFLOWS / name, tmp_path / name)
    return tmp_path


def told(folder: Path, name: str = "own-component.yaml") -> list[Finding]:
    return list(findings(check(folder / name)))


def at(finding: Finding) -> str:
    """The line of the workflow that a finding shows."""
    return finding.snippet.splitlines()[0].partition("| ")[2].partition(" #")[0].strip()


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_make_recipes_that_work(path: Path) -> None:
    assert list(findings(check(path))) == []


def test_every_mistake_of_a_recipe_is_a_finding_of_its_own(folder: Path) -> None:
    template = folder / "components" / "heartbeat" / "recipe.yaml.j2"
    template.write_text(template.read_text().replace('runtime: "*"', "").replace("RequiresPrivilege", "requires"))
    first, second = told(folder)
    assert {first.code, second.code} == {"EM076"}
    assert at(first) == at(second) == "recipe: components/heartbeat/recipe.yaml.j2"
    assert "Manifests[0].Platform: has no `runtime`" in first.message
    assert "(line 22 of its recipe)" in first.message
    assert "Manifests[0].Lifecycle.run.requires: is an unknown key" in second.message


def test_a_template_that_cannot_be_filled_in_is_reported_with_its_line(folder: Path) -> None:
    template = folder / "components" / "heartbeat" / "recipe.yaml.j2"
    template.write_text(template.read_text().replace("configuration.topic", "configuration.tpic"))
    (finding,) = told(folder)
    assert f"{template}:11: the template fails" in finding.message
    assert at(finding) == "recipe: components/heartbeat/recipe.yaml.j2"


def test_a_template_in_place_of_the_built_in_one_is_checked_too(folder: Path) -> None:
    (folder / "mine.yaml.j2").write_text('RecipeFormatVersion: "2020-01-25"\n')
    path = folder / "demo.yaml"
    path.write_text(
        path.read_text().replace(
            "  component:\n    name: aws.", "  component:\n    recipe: mine.yaml.j2\n    name: aws."
        )
    )
    faults = told(folder, "demo.yaml")
    assert {at(fault) for fault in faults} == {"recipe: mine.yaml.j2"}
    assert any("Manifests" in fault.message for fault in faults)


def test_a_version_that_a_template_writes_itself_is_reported_where_emflow_counts(folder: Path) -> None:
    template = folder / "components" / "heartbeat" / "recipe.yaml.j2"
    template.write_text(template.read_text().replace("{{ version | quoted }}", '"1.0.0"'))
    (finding,) = told(folder)
    assert "ComponentVersion" in finding.message


def test_an_empty_folder_of_artifacts_is_reported_at_its_key(folder: Path) -> None:
    (folder / "components" / "heartbeat" / "artifacts" / "heartbeat.py").unlink()
    (finding,) = told(folder)
    assert at(finding) == "artifacts: components/heartbeat/artifacts"
    assert "the folder is empty" in finding.message


@pytest.mark.parametrize("gone", ["components/heartbeat/recipe.yaml.j2", "components/heartbeat/artifacts", "models"])
def test_a_missing_file_is_a_warning_of_the_workflow_not_an_error_of_a_recipe(folder: Path, gone: str) -> None:
    path = folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    checked = check(folder / "own-component.yaml")
    assert "EM072" in {warning.code for warning in checked.warnings}
    assert list(findings(checked)) == []
