"""Variables: from the file, from the command line, through each other, and what goes wrong with them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emflow.problems import UsageProblem, WorkflowProblem
from emflow.workflow import load
from emflow.workflow.source.document import parse
from emflow.workflow.variables.limits import VariableError
from emflow.workflow.variables.overrides import Overrides, parse_assignments
from emflow.workflow.variables.resolve import _Variables, resolve_variables


def filled(text: str, **outside: str) -> dict:
    return resolve_variables(parse("test.yaml", text.encode()), Overrides(outside))


def refused(text: str, **outside: str) -> list[str]:
    with pytest.raises(WorkflowProblem) as raised:
        filled(text, **outside)
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


def test_an_unknown_variable_is_reported_at_its_use_with_the_nearest_one(broken) -> None:
    wrong = broken('thing: "{{ vars.thing }}"', 'thing: "{{ vars.thingg }}"')
    assert (wrong.finding.code, wrong.place) == ("EM010", wrong.at('"{{ vars.thingg'))
    assert wrong.finding.mend == "did you mean `thing`?"


def test_variables_in_a_cycle_are_reported_once_with_the_cycle() -> None:
    text = (
        'vars:\n  a: "{{ vars.b }}"\n  b: "{{ vars.c }}"\n  c: "{{ vars.a }}"\n  d: "{{ vars.a }}"\nk: "{{ vars.d }}"'
    )
    assert refused(text) == ["2:6 EM011 the variables depend on each other: a → b → c → a"]


def test_a_variable_that_names_itself_is_a_cycle() -> None:
    assert refused('vars: {a: "{{ vars.a }}"}') == ["1:11 EM011 the variables depend on each other: a → a"]


def test_a_broken_variable_is_reported_where_it_is_and_not_at_every_use() -> None:
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
def test_a_template_that_cannot_be_evaluated_is_reported(template: str, message: str) -> None:
    (messages,) = refused(f'vars: {{a: x}}\nk: "{template}"')
    assert messages.startswith(f"2:4 EM012 {message}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ vars.__class__ }}",
        "{{ vars._Names__get }}",
        "{{ vars.__init__.__globals__ }}",
    ],
)
def test_templates_reach_nothing_but_variables(template: str) -> None:
    (messages,) = refused(f'vars: {{a: x}}\nk: "{template}"')
    assert "EM01" in messages


@pytest.mark.parametrize(("written", "text"), [("true", "true"), ("2", "2"), ("1.5", "1.5"), ("'1.10'", "1.10")])
def test_a_value_stands_in_a_text_as_yaml_writes_it(written: str, text: str) -> None:
    assert filled(f'vars: {{v: {written}}}\nk: "a-{{{{ vars.v }}}}"')["k"] == f"a-{text}"


@pytest.mark.parametrize(("written", "becomes"), [("1.10", "1.1"), ("010", "10"), ("0x1f", "31"), ("1e3", "1000.0")])
def test_a_number_that_a_text_would_change_is_reported_where_it_needs_quotes(written: str, becomes: str) -> None:
    (messages,) = refused(f'vars: {{v: {written}}}\nk: "a-{{{{ vars.v }}}}"')
    assert messages == f"2:4 EM012 the number {written} would become {becomes} in a text"


@pytest.mark.parametrize(("written", "what"), [("[a]", "a list"), ("{a: 1}", "a mapping"), ("~", "nothing")])
def test_what_has_no_text_is_no_part_of_one(written: str, what: str) -> None:
    text = f'vars: {{v: {written}}}\nk: ["a-{{{{ vars.v }}}}", "a-{{{{ vars.v | default(1) }}}}"]'
    first, second = refused(text)
    assert first == f"2:5 EM012 {what} cannot be part of a text"
    assert second.endswith(f"EM012 {what} cannot be part of a text")


def test_a_chain_of_variables_has_an_end() -> None:
    chain = "".join(f'  v{number}: "{{{{ vars.v{number + 1} }}}}"\n' for number in range(5000))
    (messages, *_) = refused(f"vars:\n{chain}  v5000: x\n")
    assert "EM012 a chain of more than 100 variables" in messages


BOMBS = {
    "texts": {"v0": "x" * 1000} | {f"v{n}": f"{{{{ vars.v{n - 1} }}}}" * 20 for n in range(1, 9)},
    "lists": {"v0": [1] * 100} | {f"v{n}": [f"{{{{ vars.v{n - 1} }}}}"] * 20 for n in range(1, 9)},
    "templates": {"v0": "x" * 1000} | {f"v{n}": f"{{{{ vars.v{n - 1} ~ '' }}}}" * 20 for n in range(1, 9)},
}


@pytest.mark.parametrize("variables", BOMBS.values(), ids=BOMBS)
def test_variables_that_multiply_each_other_are_refused_at_once(variables: dict) -> None:
    started = time.process_time()
    (messages,) = refused(json.dumps({"vars": variables, "k": "{{ vars.v8 }}"}))
    assert time.process_time() - started < 2
    assert "EM012 the templates of this workflow produce more than" in messages


def test_ten_thousand_references_are_quick() -> None:
    names = json.dumps([f"{{{{ vars.prefix }}}}-{number}" for number in range(10_000)])
    started = time.process_time()
    assert filled(f"vars: {{prefix: core}}\nk: {names}")["k"][-1] == "core-9999"
    assert time.process_time() - started < 3


def test_plain_references_do_without_jinja() -> None:
    """It takes longer to load than all the rest of `emflow validate`."""
    code = (
        "import sys; from emflow.workflow.source.document import parse\n"
        "from emflow.workflow.variables.resolve import resolve_variables\n"
        "document = parse('t', b'vars: {a: x}\\nk: \"{{ vars.a }}-{{ vars.a }}\"')\n"
        "print(resolve_variables(document)['k'], 'jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "x-x False\n"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(st.characters(categories=["L", "N", "P", "Z"], exclude_characters="{}"), max_size=8),
            st.sampled_from(
                ["{{ vars.a }}", "{{vars.b}}", "{{ vars.n }}", "{{ vars.l }}", "{{ env.E }}", "{{ env.X }}"]
            ),
        ),
        max_size=5,
    )
)
def test_a_plain_reference_means_what_jinja_would_make_of_it(parts: list[str]) -> None:
    text = "".join(parts)
    document = parse("t", b"vars: {a: x, b: true, n: 3, l: [1]}")
    short = _Variables(document, document.value["vars"], {}, {"E": "e"})
    long = _Variables(document, document.value["vars"], {}, {"E": "e"})
    assert _tried(lambda: short.render(text)) == _tried(lambda: long._render_template(text))


def _tried(render: Callable[[], object]) -> object:
    try:
        return render()
    except VariableError as refused:
        return refused.code, refused.message


def test_an_unknown_variable_on_the_command_line_is_reported(broken) -> None:
    wrong = broken("kind", "kind", prefx="x")
    assert (wrong.finding.code, wrong.place) == ("EM013", wrong.at("vars:"))
    assert wrong.finding.mend == "did you mean `prefix`?"


@pytest.mark.parametrize("name", ["my-prefix", "_x", "1st", ""])
def test_a_name_that_templates_could_not_say_is_refused(name: str) -> None:
    (messages,) = refused(f'vars:\n  "{name}": x\n')
    assert messages.startswith("2:3 EM010")


def test_assignments_split_at_the_first_equals_sign() -> None:
    assert parse_assignments(["a=b=c", "x=", "a=d"]) == {"a": "d", "x": ""}


@pytest.mark.parametrize("text", ["a", "=b", "a b=c", "-a=b"])
def test_what_is_no_assignment_is_a_usage_problem(text: str) -> None:
    with pytest.raises(UsageProblem, match="not NAME=VALUE"):
        parse_assignments([text])


def test_a_number_from_a_variable_where_a_text_is_due_is_reported_with_both(broken) -> None:
    old = "  thing: Core-001\ncloud:\n  buckets:\n"
    wrong = broken(old, '  thing: Core-001\n  v: 1.0\naws: {region: §"{{ vars.v }}"}\ncloud:\n  buckets:\n')
    assert (wrong.finding.code, wrong.place) == ("EM022", wrong.marked)
    assert wrong.finding.message == "aws.region has to be a text, this is the number 1.0 (from {{ vars.v }})"
    assert "quotes" in wrong.finding.mend
