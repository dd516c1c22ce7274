"""What `emflow validate` says of recipes: each mistake at the key of the workflow that the recipe comes from."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from emflow.problems import Finding
from emflow.recipes.lint.context import Target
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
    assert [(each.code, each.severity, each.nucleus) for each in (first, second)] == [
        ("EM077", "warning", "lite"),
        ("EM076", "warning", "any"),
    ]
    assert at(first) == at(second) == "recipe: components/heartbeat/recipe.yaml.j2"
    assert "Manifests[0].Platform: has no `runtime`" in first.message
    assert "(line 22 of its recipe)" in first.message
    assert "Manifests[0].Lifecycle.run.requires: is an unknown key" in second.message


RECIPE = """\
RecipeFormatVersion: "2020-01-25"
ComponentName: {{ component.name }}
ComponentVersion: {{ version | quoted }}
ComponentDependencies: {{ dependencies | json }}
Manifests:
  - Platform: {os: linux, runtime: RUNTIME}
    Lifecycle: {install: 'echo "{artifacts:path}"', Shutdown: "true"}
    Artifacts: [{Uri: {{ artifact.uri | quoted }}, Unarchive: ZIP}]
"""


@pytest.mark.parametrize(
    ("runtime", "nucleus", "severities"),
    [
        ('"*"', None, ["warning", "warning", "warning"]),
        ('"*"', Target.CLASSIC, []),
        ('"*"', Target.LITE, ["error", "error", "error"]),
        ('"*"', Target.ANY, ["error", "error", "error"]),
        ("aws_nucleus_classic", None, []),
        ("aws_nucleus_classic", Target.CLASSIC, []),
        ("aws_nucleus_classic", Target.LITE, ["error"]),
        ("aws_nucleus_lite", Target.CLASSIC, ["error"]),
    ],
)
def test_the_nucleus_decides_what_is_an_error(
    folder: Path, runtime: str, nucleus: Target | None, severities: list[str]
) -> None:
    (folder / "components" / "heartbeat" / "recipe.yaml.j2").write_text(RECIPE.replace("RUNTIME", runtime))
    found = [each for each in findings(check(folder / "own-component.yaml"), nucleus) if at(each).startswith("recipe:")]
    assert [finding.severity for finding in found] == severities
    assert all(f"on the {finding.nucleus} nucleus" in finding.message for finding in found)
    assert {finding.code for finding in found} <= ({"EM076"} if nucleus is Target.CLASSIC else {"EM077"})


def test_what_emflow_itself_makes_is_checked_for_the_lite_nucleus_when_asked(folder: Path) -> None:
    checked = check(folder / "demo.yaml")
    assert list(findings(checked)) == list(findings(checked, Target.CLASSIC)) == []
    found = [(finding.severity, at(finding)) for finding in findings(checked, Target.LITE)]
    assert {severity for severity, _ in found} == {"error"}
    assert "aws.greengrass.Nucleus: latest" in {line for _, line in found}


@pytest.mark.parametrize(
    ("there", "instead", "line", "words"),
    [
        ("status_topic: null", "status_topic: em/status", "status_topic: em/status", "does not retain"),
        ("    top_k: 3", "    top_k: 1000", "top_k: 1000", "publishes 7300 at most"),
        (
            "url: ",
            "credentials: {secret: arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf}\n      url: ",
            "credentials: {secret: arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf}",
            "gives components no secrets",
        ),
    ],
)
def test_what_only_the_lite_nucleus_does_not_do_of_a_workflow_is_a_warning(
    folder: Path, there: str, instead: str, line: str, words: str
) -> None:
    path = folder / "demo.yaml"
    text = path.read_text()
    assert there in text
    path.write_text(text.replace(there, instead, 1))
    if "top_k" in line:
        path.write_text(path.read_text().replace("    labels: models/", "    # labels: models/"))
    found = [finding for finding in findings(check(path)) if words in finding.message]
    assert [(each.code, each.severity, each.nucleus, at(each)) for each in found] == [
        ("EM077", "warning", "lite", line)
    ]


@pytest.mark.parametrize(("streams", "told_of"), [(12, 0), (24, 1)])
def test_a_deployment_with_too_many_streams_is_reported_for_the_lite_nucleus(
    folder: Path, streams: int, told_of: int
) -> None:
    path = folder / "demo.yaml"
    checked = check(path)
    (first, *_) = checked.workflow.edge.streams
    many = tuple(dataclasses.replace(first, name=f"camera-{number}") for number in range(streams))
    workflow = dataclasses.replace(checked.workflow, edge=dataclasses.replace(checked.workflow.edge, streams=many))
    found = list(findings(dataclasses.replace(checked, workflow=workflow)))
    assert len([finding for finding in found if "keys and values" in finding.message]) == told_of


def test_a_detector_whose_results_may_be_too_large_is_reported_for_the_lite_nucleus(folder: Path) -> None:
    checked = check(folder / "demo.yaml")
    edge = checked.workflow.edge

    def with_most(most: int) -> list[Finding]:
        boxes = dataclasses.replace(edge.model_io.boxes, most=most)
        model_io = dataclasses.replace(edge.model_io, task="detection", boxes=boxes)
        workflow = dataclasses.replace(checked.workflow, edge=dataclasses.replace(edge, model_io=model_io))
        return [each for each in findings(dataclasses.replace(checked, workflow=workflow)) if each.code == "EM077"]

    (finding,) = with_most(100)
    assert "at most" in finding.message
    assert "edge.model_io.boxes.most, which is 100" in finding.mend
    assert with_most(20) == []


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
            "    name: com.example.Scenes\n", "    recipe: mine.yaml.j2\n    name: com.example.Scenes\n"
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
