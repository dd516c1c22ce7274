"""YAML text to values and places: what is refused, where it is said to be, and what plain scalars mean."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from emflow.problems import WorkflowProblem
from emflow.workflow import load
from emflow.workflow.source import yaml12
from emflow.workflow.source.document import parse


def values(text: str) -> dict:
    return parse("test.yaml", text.encode()).value


def test_a_file_that_is_not_there_is_reported_without_a_place(tmp_path: Path) -> None:
    with pytest.raises(WorkflowProblem) as raised:
        load(tmp_path / "none.yaml")
    (finding,) = raised.value.findings
    assert (finding.code, finding.line) == ("EM001", 0)
    assert str(raised.value).startswith(f"{tmp_path}/none.yaml: EM001 there is no such file")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(WorkflowProblem, match=r"EM001 is a folder, not a file"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "\ufeff", "\ufeff\n"])
def test_an_empty_file_is_reported_as_empty(broken_text, text: str) -> None:
    finding = broken_text(text).finding
    assert (finding.code, finding.line) == ("EM003", 0)


def test_bytes_that_are_not_utf8_are_reported_with_their_positions(broken_text) -> None:
    broken = broken_text(b"kind: Workflow\nname: M\xfcnchen\n")
    assert (broken.finding.code, broken.place) == ("EM002", (2, 8))


@pytest.mark.parametrize(("text", "what"), [("- a\n- b\n", "a list"), ("just words\n", "a single text")])
def test_a_workflow_has_to_be_a_mapping(broken_text, text: str, what: str) -> None:
    broken = broken_text(text)
    assert (broken.finding.code, broken.place) == ("EM007", (1, 1))
    assert what in broken.finding.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cloud:\n\tfleet: x\n", "\t"),
        ("cloud:\n  fleet:\n  \tname: x\n", "\t"),
        ("\tcloud: x\n", "\t"),
        ("a:\n  - x\n\t- y\n", "\t"),
        ("a: x\n\t\nb: y\n", "\t"),
    ],
)
def test_a_tab_is_reported_where_it_is(broken_text, text: str, words: str) -> None:
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
def test_what_is_not_yaml_is_reported_where_it_goes_wrong(broken_text, text: str, words: str, message: str) -> None:
    broken = broken_text(text)
    assert broken.finding.code == "EM004"
    assert broken.place == broken.at(words)
    assert message in broken.finding.message


def test_a_duplicate_key_is_reported_with_the_line_of_the_first(broken) -> None:
    wrong = broken("kind: Workflow\n", "kind: Workflow\nkind: Workflow\n")
    assert (wrong.finding.code, wrong.place) == ("EM006", wrong.at("kind", skip=1))
    assert "line 2" in wrong.finding.mend


def test_all_duplicate_keys_are_reported_at_once(broken_text) -> None:
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
def test_a_template_without_quotes_is_reported_as_such(broken_text, text: str, words: str) -> None:
    broken = broken_text(text)
    assert (broken.finding.code, broken.place) == ("EM008", broken.at(words))
    assert '"{{ vars.name }}"' in broken.finding.mend


@pytest.mark.parametrize("text", ["a:\tx\n", "a: x\t# why\n", "a: [x,\ty]\n", 'a: "x\\ty"\n', "a: |\n  x\ty\n"])
def test_a_tab_that_does_not_indent_is_no_mistake(text: str) -> None:
    assert list(values(text)) == ["a"]


@pytest.mark.parametrize("head", ["", "# one\n", "%YAML 1.2\n---\n"])
def test_one_document_may_say_where_it_begins_and_ends(head: str) -> None:
    assert values(f"{head}a: 1\n...\n") == {"a": 1}


@pytest.mark.parametrize("text", ["a: 1\n---\nb: 2\n", "---\na: 1\n---\n", "a: 1\n...\n---\nb: 2\n"])
def test_a_second_document_is_reported_where_it_begins(broken_text, text: str) -> None:
    broken = broken_text(text)
    assert (broken.finding.code, broken.finding.message) == ("EM009", "a second document begins here")
    assert broken.place == (text.count("\n", 0, text.rindex("---")) + 1, 1)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\r\nb: \x07\r\n", (2, 4)),
        ("a: 1\rb: \x07\r", (2, 4)),
        ("a: '\u2028\x07'\n", (2, 1)),
        ("# \U0001f3a5 \x0c\n", (1, 5)),
        ("\ufeffa: \x07\n", (1, 4)),
    ],
)
def test_lines_and_columns_count_as_yaml_counts_them(broken_text, text: str, place: tuple[int, int]) -> None:
    assert broken_text(text).place == place


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


LAUGHS = {
    "lists": "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
    "mappings": "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 60)),
    "merge keys": "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60)),
}


@pytest.mark.parametrize("laughs", LAUGHS.values(), ids=LAUGHS)
def test_anchors_that_stand_for_billions_of_values_are_refused_at_once(broken_text, laughs: str) -> None:
    started = time.process_time()
    finding = broken_text(laughs).finding
    assert time.process_time() - started < 1
    assert (finding.code, finding.message) == ("EM009", "more than 200,000 values")
    assert "anchor" in finding.mend


def test_a_list_without_end_is_refused_before_it_is_all_read(broken_text) -> None:
    finding = broken_text("a: [" + "1," * 300_000 + "]").finding
    assert (finding.code, finding.message) == ("EM009", "more than 200,000 values")


def test_a_file_of_ten_megabytes_is_refused_at_once_with_the_limit(broken_text) -> None:
    started = time.process_time()
    finding = broken_text("a: x\n" + "# nothing\n" * 1_000_000).finding
    assert time.process_time() - started < 1
    assert (finding.code, finding.message) == ("EM009", "is larger than 4 MiB")


def test_ten_thousand_devices_are_read_quickly(small: Path) -> None:
    devices = "".join(f"\n      - Core-{number:05}" for number in range(10_000))
    small.write_text(small.read_text().replace('["{{ vars.thing }}"]', f'{devices}\n      - "{{{{ vars.thing }}}}"'))
    started = time.process_time()
    assert len(load(small).cloud.fleet.devices) == 10_001
    assert time.process_time() - started < 5  # under a second where nothing else runs


def test_a_device_that_never_ends_is_not_read_to_its_end() -> None:
    with pytest.raises(WorkflowProblem, match="not a file, but a device or a pipe"):
        load(Path("/dev/zero"))


def test_an_error_late_in_a_long_file_is_reported_soon_and_in_its_position(broken_text) -> None:
    text = "".join(f"key{number}: value\n" for number in range(60_000)) + "last: [\n"
    started = time.process_time()
    broken = broken_text(text)
    assert time.process_time() - started < 3
    assert (broken.finding.code, broken.finding.line) == ("EM004", 60_002)


def test_anchors_are_understood() -> None:
    assert values("a: &x {b: 1}\nc: *x\n") == {"a": {"b": 1}, "c": {"b": 1}}


def test_what_is_wrong_behind_an_anchor_is_reported_where_it_stands_and_once(broken) -> None:
    wrong = broken('devices: ["{{ vars.thing }}"]', 'devices: ["{{ vars.thing }}", &x no_good, *x]')
    assert [(finding.code, finding.line, finding.column) for finding in wrong.findings[:2]] == [
        ("EM030", *wrong.at("&x")),
        ("EM030", *wrong.at("&x")),
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n", {"b": 1, "c": 3}),
        ("a: &x {b: 1, c: 2}\nd: {c: 3, <<: *x}\n", {"b": 1, "c": 3}),
        ("a: &x {b: 1}\nz: &y {b: 2, c: 2}\nd:\n  <<: [*x, *y]\n  e: 5\n", {"b": 1, "c": 2, "e": 5}),
        ("a: &x {b: 1}\nz: &y {<<: *x, c: 2}\nd: {<<: *y}\n", {"b": 1, "c": 2}),
        ('d: {"<<": 1}\n', {"<<": 1}),
    ],
    ids=["own key last", "own key first", "several", "merge of a merge", "in quotes it is a key"],
)
def test_merge_keys_bring_what_a_mapping_does_not_have_itself(text: str, meant: dict) -> None:
    assert values(text)["d"] == meant


def test_a_merged_value_is_reported_where_it_stands(broken) -> None:
    wrong = broken("  fleet:\n", "  fleet:\n    <<: &common {name: §no_good}\n")
    assert (wrong.finding.code, wrong.place) == ("EM033", wrong.marked)


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        ("a: {<<: 3}\n", "3}", "EM009"),
        ("a: {<<: [x]}\n", "x]", "EM009"),
        ("a: &x {<<: *x}\n", "&x", "EM009"),
        ("a: &x {b: 1}\nd:\n  <<: *x\n  <<: *x\n", "<<: *x", "EM006"),
    ],
)
def test_a_merge_key_that_cannot_be_meant_is_refused(broken_text, text: str, words: str, code: str) -> None:
    broken = broken_text(text)
    assert (broken.finding.code, broken.place) == (code, broken.at(words, skip=code == "EM006"))


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

    nodes = [yaml.compose(f"k: {written}", Loader=loader) for loader in (yaml12._LibyamlLoader, yaml12._PythonLoader)]
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
    wrong = broken("url: rtsp://camera/stream", "url: ftp://user:s3cr3t@camera/x")
    assert [finding.code for finding in wrong.findings] == ["EM018", "EM061"]
    for finding in wrong.findings:
        assert "s3cr3t" not in str(finding)
        assert "ftp://user:***@camera/x" in finding.snippet


@pytest.mark.parametrize(
    ("key", "written", "code", "mend"),
    [
        ("version", "1.0", "EM022", 'write "1.0", with quotes'),
        ("version", "0755", "EM022", 'write "0755", with quotes'),
        ("version", "1e3", "EM022", 'write "1e3", with quotes'),
        ("name", "true", "EM022", 'write "true", with quotes'),
        ("name", "~", "EM022", "write its value, or remove the line"),
    ],
)
def test_a_number_where_a_text_is_due_is_reported_with_the_quotes_that_it_needs(
    broken, key: str, written: str, code: str, mend: str
) -> None:
    old, new = (
        ("    artifact", f"    version: §{written}\n    artifact")
        if key == "version"
        else ("    name: scenes\n", f"    name: §{written}\n")
    )
    wrong = broken(old, new)
    assert wrong.finding.code == code
    assert wrong.finding.mend == mend
    assert wrong.place in (wrong.marked, wrong.at(f"{key}: {written}"))


@pytest.mark.parametrize(("written", "meant"), [("on", "true"), ("yes", "true"), ("Off", "false"), ("n", "false")])
def test_on_and_yes_are_texts_and_reported_where_a_boolean_is_needed(broken, written: str, meant: str) -> None:
    wrong = broken("enabled: false", f"enabled: §{written}")
    assert (wrong.finding.code, wrong.place) == ("EM022", wrong.marked)
    assert wrong.finding.mend == f"YAML 1.2 knows only true and false: write {meant}"


def test_a_megabyte_in_one_line_makes_no_megabyte_of_message(broken) -> None:
    wrong = broken("name: small", "name: " + "s" * 1_000_000)
    assert len(str(wrong.finding)) < 3000


def test_a_long_line_is_shown_around_the_place(broken) -> None:
    wrong = broken("    name: scenes\n", f"    description: {'x' * 10}\n    name: scenes\n    nmae: {'y' * 1000}\n")
    caret = wrong.findings[-1].snippet.splitlines()[1]
    assert len(caret) < 200


def test_a_thousand_mistakes_are_reported_as_a_hundred(broken) -> None:
    wrong = broken("kind: Workflow\n", "kind: Workflow\n" + "".join(f"key{number}: 1\n" for number in range(1000)))
    assert len(wrong.findings) == 100


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000, "0o" + "7" * 5000])
def test_a_number_with_too_many_digits_is_reported_at_its_position(broken, number: str) -> None:
    wrong = broken("  capture:", f"  model_io: {{top_k: §{number}}}\n  capture:")
    assert (wrong.finding.code, wrong.place) == ("EM009", wrong.marked)
    assert "digits" in wrong.finding.message
