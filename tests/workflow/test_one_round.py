"""`validate` reports all that can be known in one run: errors of variables, of the schema, of rules and of recipes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from emflow.problems import Finding
from emflow.recipes.lint.findings import findings as recipe_findings
from emflow.workflow.load import inspect
from emflow.workflow.model import Workflow
from emflow.workflow.partial import Unknown, partial_workflow
from emflow_schema.key import fields

ROOT = Path(__file__).parents[2]
BROKEN = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
RECIPE = """\
RecipeFormatVersion: "2020-01-25"
ComponentName: {{ component.name }}
ComponentVersion: "{{ versoin }}"
Manifests:
  - Platform: {os: linux}
    Lifecycle: {run: echo}
"""


def reported(path: Path) -> list[Finding]:
    checked = inspect(path, environ={})
    return sorted([*checked.errors, *(each for each in recipe_findings(checked) if each.severity == "error")])


def codes(path: Path) -> list[str]:
    return [f"{finding.code}@{finding.line}" for finding in reported(path)]


def line(path: Path, words: str) -> int:
    return path.read_text()[: path.read_text().index(words)].count("\n") + 1


@pytest.fixture
def change(small: Path):
    """Replace texts of the small workflow; each has to be there."""

    def make(*pairs: tuple[str, str]) -> Path:
        text = small.read_text()
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new, 1)
        small.write_text(text)
        return small

    return make


def test_errors_of_every_step_are_reported_together(change, small: Path) -> None:
    (small.parent / "own.j2").write_text(RECIPE)
    path = change(
        ("metadata: {name: small}", "metadata: {name: small, title: x}"),  # the schema: an unknown key
        ("{name: scenes_component}", "{name: scenes component}"),  # a rule
        ("    enabled: false", "    enabled: maybe"),  # the schema: a wrong type
        ("rtsp://camera/stream", "ftp://camera/stream"),  # another rule
        (
            "edge:\n",
            "components:\n  - {name: com.example.X, recipe: own.j2}\nedge:\n",  # a recipe
        ),
    )
    assert codes(path) == [
        f"EM020@{line(path, 'metadata')}",
        f"EM036@{line(path, 'scenes component')}",
        f"EM076@{line(path, 'own.j2')}",
        f"EM061@{line(path, 'ftp:')}",
        f"EM022@{line(path, 'maybe')}",
    ]


def test_an_error_of_a_variable_does_not_hide_those_of_the_rules(change) -> None:
    path = change(
        ("thing: Core-001\n", "thing: Core-001\n  wrong: '{{ vars.none }}'\n"),
        ("rtsp://camera/stream", "ftp://camera/stream"),
    )
    assert codes(path) == [f"EM010@{line(path, 'wrong')}", f"EM061@{line(path, 'ftp:')}"]


def test_what_depends_on_a_wrong_value_is_not_reported(change) -> None:
    """The target is none of the fleet's devices only because those are not known."""
    path = change(('devices: ["{{ vars.thing }}"]', "devices: 7"))
    assert codes(path) == [f"EM022@{line(path, 'devices: 7')}"]


def test_a_key_that_is_absent_beside_a_misspelt_one_has_no_default(change) -> None:
    path = change(('devices: ["{{ vars.thing }}"]', 'Devices: ["{{ vars.thing }}"]'))
    assert codes(path) == [f"EM020@{line(path, 'Devices')}"]


def test_a_value_that_cannot_be_evaluated_breaks_no_rule_and_no_limit(change) -> None:
    path = change(("prefix: acme", "prefix: '{{ 1 / 0 }}'"), ("{name: front", "{name: front front"))
    found = codes(path)
    assert f"EM012@{line(path, 'prefix')}" in found
    assert f"EM024@{line(path, 'front front')}" in found
    assert len(found) == 2


def test_a_section_that_is_missing_leaves_the_rest_to_be_checked(change) -> None:
    text = "  model:\n    name: scenes\n    artifact: scenes.tflite\n    inputs: {input: [1, 224, 224, 3]}\n"
    path = change((text, ""), ("rtsp://camera/stream", "ftp://camera/stream"))
    assert codes(path) == [f"EM021@{line(path, 'cloud:')}", f"EM061@{line(path, 'ftp:')}"]


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_one_mistake_is_reported_once_whatever_else_is_checked(path: Path) -> None:
    """A second finding of any of these files would be an error that is none."""
    expected = re.match(r"# (EM\d{3}) (\d+):", path.read_text())
    assert expected
    try:
        checked = inspect(path, environ={}, root=path.parents[3])
    except Exception as problem:
        found = list(getattr(problem, "findings", ()))
    else:
        found = [*checked.errors, *recipe_findings(checked)]
    assert [(each.code, each.line) for each in found if each.severity == "error"] == [(expected[1], int(expected[2]))]


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "section", ["", "aws", "cloud", "cloud.model", "edge", "edge.model_io", "edge.publish", "edge.capture"]
)
def test_an_unknown_key_anywhere_makes_no_other_key_wrong(path: Path, section: str, tmp_path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    inner = values
    for name in filter(None, section.split(".")):
        inner = inner.setdefault(name, {})
    inner["zzz"] = 1
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert [finding.code for finding in reported(tmp_path / "wrong.yaml")] == ["EM020"]


def test_every_key_that_is_wrong_raises_where_it_is_read() -> None:
    workflow = partial_workflow({}, ())
    for field in fields(Workflow):
        if field.required:
            with pytest.raises(Unknown, match=field.name):
                getattr(workflow, field.name)
        else:
            assert getattr(workflow, field.name) == field.default
