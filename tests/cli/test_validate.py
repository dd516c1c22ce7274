"""`emflow validate`: what it prints and how it exits, for right files and for each way to be wrong."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from emflow.workflow.rules.registry import CODES, WARNINGS


def test_right_files_are_ok_and_the_exit_code_is_0(emflow, demo: Path) -> None:
    workshop = demo.with_name("imx8mplus-mobilenetv2.yaml")
    ran = emflow("validate", demo, workshop)
    assert (ran.code, ran.err) == (0, "")
    assert [line for line in ran.out.splitlines() if line.endswith(": ok")] == [f"{demo}: ok", f"{workshop}: ok"]


def test_a_warning_is_reported_and_only_strict_makes_it_a_mistake(emflow, demo: Path) -> None:
    ran = emflow("validate", demo)
    assert ran.code == 0
    assert re.search(r":\d+:\d+: EM081 warning: AWS discontinued SageMaker Edge Manager", ran.out)
    strict = emflow("validate", "--strict", demo)
    assert (strict.code, strict.out) == (2, ran.out)


def test_a_missing_file_is_reported_and_the_others_are_checked_too(emflow, demo: Path) -> None:
    ran = emflow("validate", "none.yaml", demo)
    lines = ran.out.splitlines()
    assert ran.code == 2
    assert (lines[0], lines[-1]) == ("none.yaml: EM001 there is no such file", f"{demo}: ok")


def test_patterns_are_expanded_without_a_shell_and_each_file_is_checked_once(
    emflow, demo: Path, tmp_path: Path
) -> None:
    for name in ("a.yaml", "deep/er/b.yaml", "deep/c.yml", "[d].yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(demo.read_text())
    ran = emflow("validate", "**/*.yaml", "a.yaml", "[d].yaml")
    printed = [line for line in ran.out.splitlines() if line.endswith(": ok")]
    assert (ran.code, printed) == (0, ["[d].yaml: ok", "a.yaml: ok", "deep/er/b.yaml: ok"])


def test_a_pattern_that_fits_nothing_is_a_mistake(emflow) -> None:
    ran = emflow("validate", "nothing/*.yaml")
    assert ran.code == 2
    assert "no file matches 'nothing/*.yaml'" in ran.err


def test_two_files_that_want_the_same_are_reported(emflow, demo: Path, tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(demo.read_text())
    ran = emflow("validate", "a.yaml", "b.yaml")
    printed = re.findall(r"^(\S+):\d+:\d+: (EM04\d) warning: (\S+)", ran.out, re.MULTILINE)
    assert printed == [("b.yaml", "EM049", "a.yaml"), ("b.yaml", "EM048", "a.yaml"), ("b.yaml", "EM048", "a.yaml")]


def test_an_error_in_an_imported_file_makes_the_importing_file_not_ok(emflow, demo: Path, tmp_path: Path) -> None:
    (tmp_path / "part.yaml").write_text("edge:\n  publsh: {}\n")
    (tmp_path / "whole.yaml").write_text(demo.read_text().replace("metadata:", "imports: [part.yaml]\nmetadata:", 1))
    ran = emflow("validate", "whole.yaml")
    assert ran.code == 2
    assert "part.yaml:2:3: EM020 unknown key `publsh` in edge" in ran.out
    assert "whole.yaml: ok" not in ran.out


def test_a_code_is_explained_in_small_letters_too(emflow) -> None:
    ran = emflow("validate", "--explain", "em030")
    assert ran.code == 0
    assert ran.out.startswith("EM030 (error): device and thing names")
    assert "iMX8MQEVK_GG_Core_001" in ran.out


def test_all_codes_are_listed(emflow) -> None:
    ran = emflow("validate", "--explain", "all")
    lines = ran.out.splitlines()
    assert [line[:5] for line in lines] == sorted(CODES)
    assert [line[:5] for line in lines if line.endswith("(warning)")] == sorted(WARNINGS)


def test_an_unknown_code_is_reported(emflow) -> None:
    ran = emflow("validate", "--explain", "EM999")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "emflow: --explain: there is no code 'EM999'")


def test_what_is_not_yaml_is_reported_with_line_and_column(emflow, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("kind: Workflow\nname: [never closed\n")
    ran = emflow("validate", "wrong.yaml")
    assert ran.code == 2
    assert ran.out.splitlines() == [
        "wrong.yaml:2:7: EM004 not YAML: this is never closed",
        "  2 | name: [never closed",
        "    |       ^",
    ]


def test_an_unknown_key_and_a_wrong_type_are_reported_with_line_and_column(emflow, demo: Path, tmp_path: Path) -> None:
    text = demo.read_text().replace("  publish:\n", "  publsh:\n").replace('version: "1.0"', "version: 1.0")
    (tmp_path / "wrong.yaml").write_text(text)
    lines = text.splitlines()
    key = next(number for number, line in enumerate(lines, 1) if line == "  publsh:")
    value = next(number for number, line in enumerate(lines, 1) if line.startswith("    version: 1.0 "))
    ran = emflow("validate", "wrong.yaml")
    assert ran.code == 2
    printed = [line for line in ran.out.splitlines() if line.startswith("wrong.yaml") and " warning: " not in line]
    assert printed == [
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
        (("validate",), "no file to check"),
        (("validate", "x.yaml", "--var", "nonsense"), "emflow: --var: 'nonsense' is not NAME=VALUE"),
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
    assert "emflow.workflow.load" in imported
    assert not [name for name in imported if name.partition(".")[0] in {"boto3", "botocore", "grpc", "cv2", "numpy"}]


def test_the_nucleus_on_the_devices_decides_what_is_an_error(emflow, demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo.parent, tmp_path / "flows")
    template = tmp_path / "flows" / "components" / "heartbeat" / "recipe.yaml.j2"
    template.write_text(template.read_text().replace("exec python3", "echo ${HOME}; exec python3"))
    file = "flows/own-component.yaml"
    lite = r"EM077 (warning: )?com\.example\.Heartbeat would not work on the lite nucleus: .*: \$\{HOME\}"

    unsaid, classic = emflow("validate", file), emflow("validate", file, "--nucleus", "classic")
    assert (unsaid.code, classic.code) == (0, 0)
    assert re.search(lite, unsaid.out)
    assert "EM077" not in classic.out
    for nucleus in ("lite", "any"):
        ran = emflow("validate", file, "--nucleus", nucleus)
        assert ran.code == 2
        found = re.search(lite, ran.out)
        assert found
        assert found[1] is None  # no warning any more
    as_json = json.loads(emflow("validate", file, "--format", "json").out)
    assert {(each["code"], each["nucleus"]) for each in as_json["findings"]} >= {("EM077", "lite"), ("EM081", "")}
    assert emflow("validate", file, "--nucleus", "java").code == 2


def test_a_recipe_that_only_the_classic_nucleus_takes_is_ok(emflow, demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo.parent, tmp_path / "flows")
    template = tmp_path / "flows" / "components" / "heartbeat" / "recipe.yaml.j2"
    text = template.read_text().replace('runtime: "*"', "runtime: aws_nucleus_classic").replace("Uri:", "URI:")
    text = text.replace("      run:", '      Shutdown: {script: echo bye, Timeout: "30"}\n      Run:')
    template.write_text(
        text.replace("        Script: exec", '        SetEnv: {WORK: "{work:path}"}\n        script: exec')
    )
    ran = emflow("validate", "flows/own-component.yaml")
    assert ran.code == 0
    assert "EM07" not in ran.out
