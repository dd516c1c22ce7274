"""Imports: what merges with what, where relative paths start, and where errors in an imported file are reported."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow import load
from emflow.workflow.source.document import Document
from emflow.workflow.source.imports import read_with_imports

Files = Callable[..., Path]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Files by name; the first is the one that is loaded."""

    def made(**texts: str) -> Path:
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / f"{next(iter(texts))}.yaml"

    return made


def refused(path: Path) -> Finding:
    with pytest.raises(WorkflowProblem) as raised:
        load(path)
    (finding,) = (finding for finding in raised.value.findings if finding.severity == "error")
    return finding


def whole(path: Path) -> dict:
    document: Document = read_with_imports(path)
    return {key: value for key, value in document.value.items() if key != "imports"}


def test_mappings_merge_and_everything_else_is_replaced(files: Files) -> None:
    path = files(
        main="imports: [part.yaml]\nvars: {x: 1, deep: {p: 1}}\ncomponents: [1]\ncloud: mine\n",
        part="vars: {y: 2, x: 9, deep: {q: 2}}\ncomponents: [7, 8, 9]\ncloud: theirs\naws: 1\n",
    )
    merged = {"x": 1, "y": 2, "deep": {"p": 1, "q": 2}}
    assert whole(path) == {"vars": merged, "components": [1], "cloud": "mine", "aws": 1}


def test_a_later_import_goes_before_an_earlier_one(files: Files) -> None:
    path = files(main="imports: [one.yaml, two.yaml]\n", one="aws: {x: 1, y: 1}", two="aws: {y: 2}")
    assert whole(path) == {"aws": {"x": 1, "y": 2}}


def test_paths_start_at_the_file_that_names_them(files: Files) -> None:
    path = files(
        main="imports: [parts/one.yaml]\n", parts__one="imports: [sub/two.yaml]\naws: 1", parts__sub__two="vars: 2"
    )
    assert whole(path) == {"aws": 1, "vars": 2}


def test_a_file_may_be_imported_by_several_ways(files: Files) -> None:
    path = files(
        main="imports: [one.yaml, two.yaml]",
        one="imports: [base.yaml]\naws: 1",
        two="imports: [base.yaml]",
        base="vars: 1",
    )
    assert whole(path) == {"aws": 1, "vars": 1}


def test_a_mapping_gives_way_to_a_list_and_a_list_to_a_mapping(files: Files) -> None:
    path = files(main="imports: [part.yaml]\naws: [1]\nvars: {x: 1}\n", part="aws: {x: 1}\nvars: [1]\n")
    assert whole(path) == {"aws": [1], "vars": {"x": 1}}


def test_variables_and_templates_meet_across_files(files: Files, small: Path) -> None:
    text = small.read_text()
    head, cloud = text.split("cloud:\n")
    path = files(
        main=f"imports: [cloud.yaml]\n{head}".replace("prefix: acme", "prefix: mine"), cloud=f"cloud:\n{cloud}"
    )
    workflow = load(path)
    assert workflow.cloud.buckets.components.name == "mine-components"
    assert workflow.imports == ("cloud.yaml",)


def test_an_error_in_an_imported_file_is_reported_there(files: Files, small: Path) -> None:
    path = files(main=f"imports: [part.yaml]\n{small.read_text()}", part="cloud:\n  role: {nmae: x}\n")
    finding = refused(path)
    assert (Path(finding.path).name, finding.line, finding.column, finding.code) == ("part.yaml", 2, 10, "EM020")
    assert "2 |   role: {nmae: x}" in finding.snippet


def test_a_rule_that_an_imported_value_breaks_is_reported_there(files: Files, small: Path) -> None:
    text = small.read_text()
    path = files(
        main=f"imports: [part.yaml]\n{text}".replace("  prefix: acme\n", ""), part="# ours\nvars:\n  prefix: NOT_THIS\n"
    )
    with pytest.raises(WorkflowProblem) as raised:
        load(path)
    wrong = [finding for finding in raised.value.findings if finding.severity == "error"]
    assert {finding.code for finding in wrong} == {"EM031"}
    assert {Path(finding.path).name for finding in wrong} == {"main.yaml"}  # where the template stands
    assert all("(from {{ vars.prefix }}-" in finding.message for finding in wrong)


def test_a_rule_that_an_imported_literal_breaks_is_reported_there(files: Files, small: Path) -> None:
    text = small.read_text().replace("  fleet:\n", "")
    text = text.replace('    devices: ["{{ vars.thing }}"]\n', "")
    path = files(
        main=f"imports: [part.yaml]\n{text}",
        part='cloud:\n  fleet:\n    name: not_this\n    devices: ["{{ vars.thing }}"]\n',
    )
    with pytest.raises(WorkflowProblem) as raised:
        load(path)
    (wrong,) = (finding for finding in raised.value.findings if finding.severity == "error")
    assert (Path(wrong.path).name, wrong.line, wrong.column, wrong.code) == ("part.yaml", 3, 11, "EM033")


@pytest.mark.parametrize(
    ("named", "column", "message"),
    [
        ("none.yaml", 11, "there is no file "),
        (".", 11, "there is no file "),
        ("'{{ vars.x }}.yaml'", 11, "an import cannot be a template"),
        ("main.yaml", 11, "the files import each other: "),
        ("./main.yaml", 11, "the files import each other: "),
    ],
)
def test_an_import_that_cannot_be_is_reported_where_it_is_named(
    files: Files, named: str, column: int, message: str
) -> None:
    finding = refused(files(main=f"imports: [{named}]\n"))
    assert (finding.code, finding.line, finding.column) == ("EM016", 1, column)
    assert finding.message.startswith(message)


def test_a_cycle_is_reported_with_all_its_files(files: Files) -> None:
    path = files(main="imports: [one.yaml]", one="imports:\n  - two.yaml\n", two="imports: [one.yaml]")
    finding = refused(path)
    assert (finding.code, Path(finding.path).name) == ("EM016", "two.yaml")
    names = [Path(part).name for part in finding.message.split(": ", 1)[1].split(" → ")]
    assert names == ["one.yaml", "two.yaml", "one.yaml"]


def test_a_link_to_the_file_itself_is_a_cycle(files: Files) -> None:
    path = files(main="imports: [link.yaml]")
    (path.parent / "link.yaml").symlink_to(path)
    assert refused(path).code == "EM016"


def test_imports_that_are_not_a_list_of_paths_are_reported(files: Files, small: Path) -> None:
    path = files(main=f"imports: part.yaml\n{small.read_text()}", part="a: 1")
    finding = refused(path)
    assert (finding.code, finding.line, finding.column) == ("EM022", 1, 10)


def test_a_wrong_imported_file_is_refused_as_itself(files: Files) -> None:
    finding = refused(files(main="imports: [part.yaml]", part="aws: 1\naws: 2\n"))
    assert (Path(finding.path).name, finding.line, finding.code) == ("part.yaml", 2, "EM006")


def test_many_ways_to_the_same_file_do_not_multiply(files: Files) -> None:
    texts = {f"f{n}": f"imports: [f{n + 1}.yaml, f{n + 1}.yaml]\nvars: {{k{n}: 1}}\n" for n in range(40)}
    started = time.process_time()
    assert len(whole(files(**texts, f40="vars: {last: 1}\n"))["vars"]) == 41
    assert time.process_time() - started < 3


def test_the_number_of_files_is_limited(files: Files) -> None:
    texts = {f"f{n}": f"imports: [f{n + 1}.yaml]\n" for n in range(120)}
    finding = refused(files(**texts, f120="a: 1\n"))
    assert (finding.code, finding.message) == ("EM016", "more than 100 files")
