"""YAML text to values and places: what is refused, where it is said to be, and what plain scalars mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from emflow.problems import WorkflowProblem
from emflow.workflow import document, load, yaml12
from emflow.workflow.document import parse


def values(text: str) -> dict:
    return parse("test.yaml", text.encode()).value


def test_a_file_that_is_not_there_is_told_without_a_place(tmp_path: Path) -> None:
    with pytest.raises(WorkflowProblem) as raised:
        load(tmp_path / "none.yaml")
    (finding,) = raised.value.findings
    assert (finding.code, finding.line) == ("EM001", 0)
    assert str(raised.value).startswith(f"{tmp_path}/none.yaml: EM001 there is no such file")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(WorkflowProblem, match=r"EM001 cannot be read: Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_file_is_told_as_empty(broken_text, text: str) -> None:
    finding = broken_text(text).finding
    assert finding.code == ("EM007" if text == "---\n" else "EM003")


def test_bytes_that_are_not_utf8_are_told_with_their_place(broken_text) -> None:
    broken = broken_text(b"kind: Workflow\nname: M\xfcnchen\n")
    assert (broken.finding.code, broken.place) == ("EM002", (2, 8))


@pytest.mark.parametrize(("text", "what"), [("- a\n- b\n", "a list"), ("just words\n", "a single text")])
def test_a_workflow_has_to_be_a_mapping(broken_text, text: str, what: str) -> None:
    broken = broken_text(text)
    assert (broken.finding.code, broken.place) == ("EM007", (1, 1))
    assert what in broken.finding.message


@pytest.mark.parametrize(
    ("text", "words"),
    [("cloud:\n\tfleet: x\n", "\t"), ("cloud:\n  fleet:\n  \tname: x\n", "\t")],
)
def test_a_tab_is_told_where_it_is(broken_text, text: str, words: str) -> None:
    broken = broken_text(text)
    assert broken.finding.code == "EM005"
    assert broken.place == broken.at(words)
    assert broken.finding.mend == "indent with spaces"


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ('a: 1\nb: "never closed\nc: 2\n', '"never', "never closed"),
        ("a: 1\nb: [1, 2\n", "[1", "never closed"),
        ("a: 1\nb: c: d\n", ": d", "a `:` where no key can be"),
        ("a: 1\nb: @home\n", "@", "cannot begin with `@`"),
        ("a:\n  b: 1\n c: 2\n", "c: 2", "does not fit the lines above"),
        ("a: 1\nb: *nowhere\n", "*nowhere", "undefined alias"),
        ("a: 1\nb: \x07\n", "\x07", "U+0007"),
    ],
)
def test_what_is_not_yaml_is_told_where_it_goes_wrong(broken_text, text: str, words: str, message: str) -> None:
    broken = broken_text(text)
    assert broken.finding.code == "EM004"
    assert broken.place == broken.at(words)
    assert message in broken.finding.message


def test_a_duplicate_key_is_told_with_the_line_of_the_first(broken) -> None:
    wrong = broken("kind: Workflow\n", "kind: Workflow\nkind: Workflow\n")
    assert (wrong.finding.code, wrong.place) == ("EM006", wrong.at("kind", skip=1))
    assert "line 2" in wrong.finding.mend


def test_all_duplicate_keys_are_told_at_once(broken_text) -> None:
    assert [f.line for f in broken_text("a: 1\na: 2\nb: {c: 1, c: 2}\n").findings] == [2, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: {{ vars.x }}\n", "{{"),
        ("name: {{ vars.x }}-results\n", "{{"),
        ("a: {name: {{ vars.x }}-results}\n", "{{"),
        ("a:\n  - {{ vars.x }}\n", "{{"),
    ],
)
def test_a_template_without_quotes_is_told_as_that(broken_text, text: str, words: str) -> None:
    broken = broken_text(text)
    assert (broken.finding.code, broken.place) == ("EM008", broken.at(words))
    assert '"{{ vars.name }}"' in broken.finding.mend


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\n---\nb: 2\n", "---"),
        ("a: !python/object:os.system x\n", "!python"),
        ("a: !!timestamp 2026-01-02\n", "!!timestamp"),
        ("a: !!set {x, y}\n", "!!set"),
        ("a: &x [*x]\n", "&x"),
        ("? [a, b]\n: 1\n", "[a"),
    ],
)
def test_yaml_that_workflows_do_without_is_refused(broken_text, text: str, words: str) -> None:
    broken = broken_text(text)
    assert (broken.finding.code, broken.place) == ("EM009", broken.at(words))


@pytest.mark.parametrize("text", ["a: " + "[" * 50_000, "- " * 50_000, "a: " + "{b: " * 5000])
def test_deep_nesting_is_no_crash(broken_text, text: str) -> None:
    assert broken_text(text).finding.code in {"EM004", "EM009"}


def test_anchors_that_stand_for_billions_of_values_are_refused(broken_text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MOST_VALUES", 10_000)
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    assert broken_text(laughs).finding.code == "EM009"


def test_anchors_are_understood() -> None:
    assert values("a: &x {b: 1}\nc: *x\n") == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("NO", "NO"), ("y", "y"),
        ("true", True), ("False", False), ("12:30:45", "12:30:45"), ("2026-01-02", "2026-01-02"),
        ("0755", 755), ("0o17", 15), ("0x1f", 31), ("1_000", "1_000"), ("1.0", 1.0), ("1e3", 1000.0),
        ("1.0.0", "1.0.0"),
        ("-7", -7), (".5", 0.5), ("~", None), ("null", None), ("", None), ("=", "="), ("<<", "<<"),
        ('"1.0"', "1.0"), ("'on'", "on"), ("!!str 1.0", "1.0"), ("!!int 3", 3), (".inf", float("inf")),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_yaml_1_2_says(written: str, meant: object) -> None:
    value = values(f"key: {written}\n")["key"]
    assert value == meant
    assert type(value) is type(meant)


@pytest.mark.parametrize("written", ["on", "0755", "0o17", "1e3", "~", "", ".5", "-7", "12:30", "text", "nan", ".NaN"])
def test_both_parsers_and_the_command_line_read_a_scalar_alike(written: str) -> None:
    import yaml

    nodes = [yaml.compose(f"k: {written}", Loader=loader) for loader in (yaml12._Fast, yaml12._Slow)]
    tags = {node.value[0][1].tag.removeprefix(yaml12.TAG) for node in nodes if node}
    assert tags == {yaml12.resolve(written)}


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter() -> None:
    assert parse("t", b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: 2\r\n").value == {"a": 1, "b": {"c": 2}}


def test_a_finding_shows_its_line_with_a_caret_under_the_place(broken) -> None:
    wrong = broken("    name: scenes\n", "    nmae: scenes\n")
    line, column = wrong.at("nmae")
    assert wrong.place == (line, column)
    assert wrong.finding.snippet == f"{line} |     nmae: scenes\n{' ' * len(str(line))} | {' ' * (column - 1)}^^^^"


def test_a_cameras_password_is_not_shown(broken) -> None:
    wrong = broken("url: rtsp://camera/stream", "url: http://user:s3cr3t@camera/x")
    assert "s3cr3t" not in str(wrong.finding)
    assert "http://user:******@camera/x" in wrong.finding.snippet
