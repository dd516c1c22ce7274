"""Variables: from the file, from the command line, through each other, and what goes wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from emflow.problems import UsageProblem, WorkflowProblem
from emflow.workflow import load
from emflow.workflow.document import parse
from emflow.workflow.variables import assignments, fill


def filled(text: str, **given: str) -> dict:
    return fill(parse("test.yaml", text.encode()), given)


def refused(text: str, **given: str) -> list[str]:
    with pytest.raises(WorkflowProblem) as raised:
        filled(text, **given)
    return [f"{f.line}:{f.column} {f.code} {f.message}" for f in raised.value.findings]


def test_a_variable_stands_for_its_value_in_any_text(small: Path) -> None:
    workflow = load(small)
    assert workflow.cloud.buckets.components.name == "acme-components"
    assert workflow.cloud.fleet.devices == ("Core-001",)
    assert workflow.vars == {"prefix": "acme", "thing": "Core-001"}


def test_the_command_line_goes_before_the_file(small: Path) -> None:
    assert load(small, {"prefix": "other"}).cloud.buckets.components.name == "other-components"


def test_variables_may_use_each_other_in_any_order() -> None:
    assert filled('vars: {a: "{{ vars.b }}!", b: "{{ vars.c }}", c: x}\nk: "{{ vars.a }}"') == {
        "vars": {"a": "x!", "b": "x", "c": "x"},
        "k": "x!",
    }


def test_an_override_reaches_the_variables_that_use_it() -> None:
    assert filled('vars: {a: x, b: "{{ vars.a }}-y"}\nk: "{{ vars.b }}"', a="z")["k"] == "z-y"


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("3", 3),
        ("true", True),
        ("[a, b]", ["a", "b"]),
        ("{x: 1}", {"x": 1}),
        ("'1.0'", "1.0"),
        ("'010'", "010"),
        ("~", None),
    ],
)
def test_a_text_that_is_one_expression_keeps_the_type(value: str, meant: object) -> None:
    result = filled(f'vars: {{v: {value}}}\nk: "{{{{ vars.v }}}}"')["k"]
    assert result == meant
    assert type(result) is type(meant)


def test_a_text_with_more_than_one_expression_is_a_text() -> None:
    assert filled('vars: {a: 1, b: 2}\nk: "{{ vars.a }}{{ vars.b }}"')["k"] == "12"
    assert filled('vars: {a: 1}\nk: " {{ vars.a }}"')["k"] == " 1"


def test_a_value_from_the_command_line_takes_the_type_that_the_file_gave_it() -> None:
    text = 'vars: {port: 1, name: x, on: true}\nk: ["{{ vars.port }}", "{{ vars.name }}", "{{ vars.on }}"]'
    assert filled(text, port="8554", name="8554", on="false")["k"] == [8554, "8554", False]


def test_a_value_from_the_command_line_is_no_template() -> None:
    assert filled('vars: {a: x}\nk: "{{ vars.a }}"', a="{{ 1 + 1 }}")["k"] == "{{ 1 + 1 }}"


@pytest.mark.parametrize("name", ["items", "keys", "values", "get", "copy", "update"])
def test_a_variable_may_be_called_like_a_method_of_a_mapping(name: str) -> None:
    assert filled(f'vars: {{{name}: x}}\nk: "{{{{ vars.{name} }}}}"')["k"] == "x"


def test_an_unknown_variable_is_told_at_its_use_with_the_nearest_one(broken) -> None:
    wrong = broken('thing: "{{ vars.thing }}"', 'thing: "{{ vars.thingg }}"')
    assert (wrong.finding.code, wrong.place) == ("EM010", wrong.at('"{{ vars.thingg'))
    assert wrong.finding.mend == "did you mean `thing`?"


def test_variables_in_a_circle_are_told_once_with_the_circle() -> None:
    text = (
        'vars:\n  a: "{{ vars.b }}"\n  b: "{{ vars.c }}"\n  c: "{{ vars.a }}"\n  d: "{{ vars.a }}"\nk: "{{ vars.d }}"'
    )
    assert refused(text) == ["2:6 EM011 the variables need each other: a → b → c → a"]


def test_a_variable_that_names_itself_is_a_circle() -> None:
    assert refused('vars: {a: "{{ vars.a }}"}') == ["1:11 EM011 the variables need each other: a → a"]


def test_a_broken_variable_is_told_where_it_is_and_not_at_every_use() -> None:
    text = 'vars:\n  a: "{{ vars.none }}"\n  b: "{{ vars.a }}"\nk: ["{{ vars.a }}", "{{ vars.b }}", "{{ vars.a }}"]'
    assert refused(text) == ["2:6 EM010 there is no variable `none`"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ vars.a", "the template is wrong: unexpected end of template"),
        ("{{ prefix }}", "the template fails: there is no `prefix`"),
        ("{{ 1 / 0 }}", "the template fails: ZeroDivisionError: division by zero"),
        ("{{ vars.a.b }}", "the template fails: 'str object' has no attribute 'b'"),
        ("{{ vars.a | nonsense }}", "the template is wrong: No filter named 'nonsense'."),
        ("{% include 'x' %}", "the template fails:"),
    ],
)
def test_a_template_that_cannot_be_worked_out_is_told(template: str, message: str) -> None:
    (told,) = refused(f'vars: {{a: x}}\nk: "{template}"')
    assert told.startswith(f"2:4 EM012 {message}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ vars.__class__ }}",
        "{{ vars._Names__variables }}",
        "{{ vars.__init__.__globals__ }}",
    ],
)
def test_templates_reach_nothing_but_variables(template: str) -> None:
    (told,) = refused(f'vars: {{a: x}}\nk: "{template}"')
    assert "EM01" in told


def test_an_unknown_variable_on_the_command_line_is_told(broken) -> None:
    wrong = broken("kind", "kind", prefx="x")
    assert (wrong.finding.code, wrong.place) == ("EM013", wrong.at("vars:"))
    assert wrong.finding.mend == "did you mean `prefix`?"


@pytest.mark.parametrize("name", ["my-prefix", "_x", "1st", ""])
def test_a_name_that_templates_could_not_say_is_refused(name: str) -> None:
    (told,) = refused(f'vars:\n  "{name}": x\n')
    assert told.startswith("2:3 EM010")


def test_assignments_split_at_the_first_equals_sign() -> None:
    assert assignments(["a=b=c", "x=", "a=d"]) == {"a": "d", "x": ""}


@pytest.mark.parametrize("text", ["a", "=b", "a b=c", "-a=b"])
def test_what_is_no_assignment_is_a_usage_problem(text: str) -> None:
    with pytest.raises(UsageProblem, match="no NAME=VALUE"):
        assignments([text])
