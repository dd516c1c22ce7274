"""Variables from outside: precedence, types, and where errors are reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from emflow.problems import Finding, UsageProblem, WorkflowProblem
from emflow.workflow import load
from emflow.workflow.source.document import parse
from emflow.workflow.variables.overrides import Overrides, parse_assignments, read_variable_file
from emflow.workflow.variables.resolve import resolve_variables
from workflow.conftest import mistakes

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def made(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return made


def values(text: str, given: Overrides) -> dict:
    return resolve_variables(parse("test.yaml", text.encode()), given)["vars"]


def refused(text: str, given: Overrides) -> Finding:
    with pytest.raises(WorkflowProblem) as raised:
        values(text, given)
    (finding,) = raised.value.findings
    return finding


def test_each_source_overrides_those_below_it(write: Write) -> None:
    text = "vars: {a: file, b: file, c: file, d: file, e: file}"
    given = Overrides(
        {"e": "--var"},
        (
            read_variable_file(write("one.yaml", "c: one\nd: one\ne: one\n")),
            read_variable_file(write("two.yaml", "d: two\ne: two")),
        ),
        {"EMFLOW_VAR_b": "env", "EMFLOW_VAR_c": "env", "EMFLOW_VAR_d": "env", "EMFLOW_VAR_e": "env"},
    )
    assert values(text, given) == {"a": "file", "b": "env", "c": "one", "d": "two", "e": "--var"}


def test_a_workflow_is_loaded_with_all_of_them(small: Path, write: Write) -> None:
    file = write("site.yaml", "prefix: site\n")
    assert load(small, {}, [file], {}).cloud.buckets.components.name == "site-components"
    assert load(small, {"prefix": "mine"}, [file], {}).cloud.buckets.components.name == "mine-components"
    assert load(small, environ={"EMFLOW_VAR_thing": "Core-7"}).cloud.fleet.devices == ("Core-7",)


def test_the_process_environment_is_taken_when_no_other_is_given(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMFLOW_VAR_PREFIX", "upper")
    assert load(small).cloud.buckets.components.name == "upper-components"
    monkeypatch.setenv("EMFLOW_VAR_prefix", "exact")
    assert load(small).cloud.buckets.components.name == "exact-components"


def test_an_environment_variable_for_another_workflow_is_no_error() -> None:
    assert values("vars: {a: x}", Overrides(environ={"EMFLOW_VAR_other": "y"})) == {"a": "x"}


@pytest.mark.parametrize(
    ("own", "text", "meant"),
    [
        ("x", "8554", "8554"),
        ("x", "[a]", "[a]"),
        ("1", "8554", 8554),
        ("1", "1.5", 1.5),
        ("1.5", "2", 2),
        ("true", "false", False),
        ("[]", "[a, b]", ["a", "b"]),
        ("[]", '["a", 1.0]', ["a", 1.0]),
        ("{}", "{a: 1}", {"a": 1}),
        ("~", "on", "on"),
        ("~", "1", 1),
        ("~", "{a: [1]}", {"a": [1]}),
        ("x", "", ""),
    ],
)
def test_a_text_from_outside_is_read_as_what_the_workflows_own_value_is(own: str, text: str, meant: object) -> None:
    for given in (Overrides({"v": text}), Overrides(environ={"EMFLOW_VAR_v": text})):
        value = values(f"vars: {{v: {own}}}", given)["v"]
        assert value == meant
        assert type(value) is type(meant)


@pytest.mark.parametrize(
    ("own", "text", "message"),
    [
        ("1", "front", "--var v has to be a number, as `v` is here"),
        ("1", "9" * 5000, "--var v has to be a number, as `v` is here"),
        ("1", "true", "--var v has to be a number, as `v` is here"),
        ("1", "", "--var v has to be a number, as `v` is here"),
        ("true", "yes", "--var v has to be true or false, as `v` is here"),
        ("[a]", "a, b", "--var v has to be a list, as `v` is here"),
        ("[a]", "[a", "--var v has to be a list, as `v` is here"),
        ("[a]", "[a]\nother: 1", "--var v has to be a list, as `v` is here"),
        ("{a: 1}", "[a]", "--var v has to be a mapping, as `v` is here"),
    ],
)
def test_a_text_of_another_kind_is_reported_at_the_variable(own: str, text: str, message: str) -> None:
    finding = refused(f"vars:\n  v: {own}\n", Overrides({"v": text}))
    assert (finding.code, finding.line, finding.column, finding.message) == ("EM014", 2, 6, message)


def test_a_value_from_outside_is_not_repeated_in_messages() -> None:
    finding = refused("vars: {port: 1}", Overrides(environ={"EMFLOW_VAR_port": "hunter2"}))
    assert "hunter2" not in str(finding)
    assert "EMFLOW_VAR_port" in finding.message
    with pytest.raises(UsageProblem) as raised:
        parse_assignments(["pass word=hunter2"])
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("v.yaml", "# site\nlist: [a, b]\nport: 1\n"),
        ("v.json", '{"list": ["a", "b"], "port": 1}'),
        ("v.json", '{\n\t"list": [\n\t\t"a",\n\t\t"b"\n\t],\n\t"port": 1\n}\n'),
    ],
    ids=["yaml", "json", "json with tabs"],
)
def test_a_file_of_variables_is_yaml_or_json_and_keeps_types(write: Write, name: str, text: str) -> None:
    given = Overrides(files=(read_variable_file(write(name, text)),))
    assert values("vars: {list: [], port: 2}", given) == {"list": ["a", "b"], "port": 1}


def test_a_template_in_a_file_of_variables_is_not_evaluated(write: Write) -> None:
    given = Overrides(files=(read_variable_file(write("v.yaml", 'a: "{{ 1 + 1 }}"\n')),))
    assert values('vars: {a: x, b: "{{ vars.a }}"}', given) == {"a": "{{ 1 + 1 }}", "b": "{{ 1 + 1 }}"}


@pytest.mark.parametrize(
    ("text", "where", "code", "message"),
    [
        ("prefix: x\nprefx: y\n", "2:1", "EM013", "the workflow has no variable `prefx`"),
        ("prefix: 1.0\n", "1:9", "EM014", "`prefix` has to be a text, as it is in the workflow"),
        ("prefix: [a]\n", "1:9", "EM014", "`prefix` has to be a text, as it is in the workflow"),
        ("prefix: x\nprefix: y\n", "2:1", "EM006", "the key `prefix` is defined twice"),
        ("prefix: [x\n", "1:9", "EM004", "not YAML: this is never closed"),
        ("- prefix\n", "1:1", "EM007", "a file of variables is a mapping of names to values"),
        ("", "", "EM003", "the file is empty"),
    ],
)
def test_an_error_in_a_file_of_variables_is_reported_in_that_file(
    small: Path, write: Write, text: str, where: str, code: str, message: str
) -> None:
    path = write("site.yaml", text)
    with pytest.raises(WorkflowProblem) as raised:
        load(small, {}, [path])
    (finding,) = mistakes(raised.value)
    assert finding.where == ":".join(filter(None, (str(path), where)))
    assert (finding.code, finding.message) == (code, message)


def test_a_missing_file_of_variables_is_reported(small: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkflowProblem, match=r"none\.yaml: EM001 there is no such file"):
        load(small, {}, [tmp_path / "none.yaml"])
