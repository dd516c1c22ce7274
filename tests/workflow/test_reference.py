"""The reference is that of the schema; the rules are those that are written about."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from emflow.problems import UsageProblem
from emflow.workflow.rules.registry import CODES, WARNINGS
from emflow.workflow.schema_docs import explain, explanations, find, keys, show
from emflow.workflow.source.document import parse

ROOT = Path(__file__).parents[2]


def made() -> Any:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "tools" / "make_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["reference.md", "rules.md"])
def test_the_generated_documents_are_current(name: str) -> None:
    current = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert current == made().documents()[name], "run tools/make_reference.py"


def test_what_is_shown_as_default_and_example_is_yaml_for_the_same_value() -> None:
    shown = [(key.example, key.node["examples"][0]) for key in keys()]
    shown += [(key.default, key.node["default"]) for key in keys() if key.default is not None]
    assert len(shown) > 250
    text = "".join(f"- {text}\n" for text, _ in shown)
    assert parse("shown.yaml", f"values:\n{text}".encode()).value["values"] == [value for _, value in shown]


@pytest.mark.parametrize(
    "value", ["on", "1.0", "null", "true", "a: b", "#x", "", "- x", "{{ vars.x }}", "[", 1.5, None]
)
def test_a_shown_value_is_read_back_as_itself(value: object) -> None:
    assert parse("shown.yaml", f"value: {show(value)}\n".encode()).value["value"] == value


def test_a_key_is_found_by_its_path_with_and_without_indices() -> None:
    assert find("edge.streams[0].every") == find("edge.streams[].every") == find("edge.streams.every")
    assert find("edge.streams.every").path == "edge.streams[].every"


@pytest.mark.parametrize(
    ("path", "mend"),
    [("edge.stream", "did you mean `edge.streams`?"), ("every", "there is: edge.streams.every"), ("?", "prints all")],
)
def test_an_unknown_key_is_reported_with_what_may_be_meant(path: str, mend: str) -> None:
    with pytest.raises(UsageProblem) as raised:
        find(path)
    assert mend in raised.value.mend


def test_every_code_is_explained_at_length() -> None:
    told = (ROOT / "docs" / "rules.md").read_text()
    for code in CODES:
        explanation = explain(code.lower())
        assert explanation.why.endswith("."), code
        assert explanation.severity == ("warning" if code in WARNINGS else "error"), code
        assert f"## {code}" in told


def test_nothing_is_explained_that_is_no_code() -> None:
    text = (ROOT / "runner" / "emflow" / "workflow" / "explanations.toml").read_text()
    assert re.findall(r"^\[(EM\d{3})\]$", text, re.MULTILINE) == sorted(CODES)
    assert [each.code for each in explanations()] == sorted(CODES)


def test_an_unknown_code_is_reported() -> None:
    with pytest.raises(UsageProblem, match="there is no code 'EM999'"):
        explain("EM999")
