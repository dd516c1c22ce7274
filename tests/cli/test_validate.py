"""`emflow validate`: what it prints and how it exits, for right files and for each way to be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_right_files_are_ok_and_the_exit_code_is_0(emflow, demo: Path) -> None:
    workshop = demo.with_name("imx8mplus-mobilenetv2.yaml")
    ran = emflow("validate", demo, workshop)
    assert (ran.code, ran.out, ran.err) == (0, f"{demo}: ok\n{workshop}: ok\n", "")


def test_a_missing_file_is_told_and_the_others_are_checked_all_the_same(emflow, demo: Path) -> None:
    ran = emflow("validate", "none.yaml", demo)
    assert (ran.code, ran.out) == (2, f"none.yaml: EM001 there is no such file\n{demo}: ok\n")


def test_what_is_not_yaml_is_told_with_line_and_column(emflow, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("kind: Workflow\nname: [never closed\n")
    ran = emflow("validate", "wrong.yaml")
    assert ran.code == 2
    assert ran.out.splitlines() == [
        "wrong.yaml:2:7: EM004 not YAML: this is never closed",
        "  2 | name: [never closed",
        "    |       ^",
    ]


def test_an_unknown_key_and_a_wrong_type_are_told_with_line_and_column(emflow, demo: Path, tmp_path: Path) -> None:
    text = demo.read_text().replace("  publish:\n", "  publsh:\n").replace('version: "1.0"', "version: 1.0")
    (tmp_path / "wrong.yaml").write_text(text)
    lines = text.splitlines()
    key = next(number for number, line in enumerate(lines, 1) if line == "  publsh:")
    value = next(number for number, line in enumerate(lines, 1) if line.startswith("    version: 1.0 "))
    ran = emflow("validate", "wrong.yaml")
    assert ran.code == 2
    told = [line for line in ran.out.splitlines() if line.startswith("wrong.yaml")]
    assert told == [
        f"wrong.yaml:{value}:14: EM022 cloud.model.version has to be a text, this is the number 1.0",
        f"wrong.yaml:{key}:3: EM020 unknown key `publsh` in edge",
    ]
    assert '  write "1.0", with quotes\n' in ran.out
    assert "  did you mean `publish`?\n" in ran.out


def test_variables_from_the_command_line_are_checked_too(emflow, demo: Path) -> None:
    ran = emflow("validate", demo, "--var", "thing=iMX8MQEVK_GG_Core_001")
    assert ran.code == 2
    assert "EM030 cloud.fleet.devices[0] cannot be 'iMX8MQEVK_GG_Core_001'" in ran.out
    assert "an underscore is at character 10 (from {{ vars.thing }})" in ran.out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("validate",), "Missing argument 'FILE'"),
        (("validate", "x.yaml", "--var", "nonsense"), "emflow: --var: 'nonsense' is no NAME=VALUE"),
        (("validate", "x.yaml", "--nonsense"), "No such option"),
    ],
)
def test_a_wrong_command_line_exits_with_2(emflow, args: tuple[str, ...], message: str) -> None:
    ran = emflow(*args)
    assert ran.code == 2
    assert message in ran.err


def test_nothing_of_aws_is_imported(emflow, demo: Path) -> None:
    ran = emflow("validate", demo, python=("-X", "importtime"))
    imported = {line.rpartition("|")[2].strip() for line in ran.err.splitlines()}
    assert "emflow.workflow.loading" in imported
    assert not [name for name in imported if name.partition(".")[0] in {"boto3", "botocore", "grpc", "cv2", "numpy"}]
