"""What a command says first, when several things are wrong: the file's fault, once, with its position and advice."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from emflow.problems import WorkflowProblem
from emflow.workflow.load import check

WORKFLOWS = Path(__file__).parents[2] / "workflows"


@pytest.mark.parametrize("command", ["validate", "render", "plan", "apply", "status", "destroy", "unlock"])
@pytest.mark.parametrize("exists", [False, True], ids=["missing", "a file"])
def test_a_root_that_is_no_folder_is_one_message(
    emflow, demo: Path, tmp_path: Path, command: str, exists: bool
) -> None:
    root = tmp_path / "rooot"
    if exists:
        root.write_text("x")
    files = [demo, demo.parent / "own-component.yaml"] if command == "validate" else [demo]
    ran = emflow(command, *files, "--root", root)
    assert (ran.code, ran.out) == (2, "")
    what = "is not a folder" if exists else "there is no such folder"
    assert ran.err.splitlines() == [
        f"emflow: --root {root}: {what}",
        "  give a folder that has the workflow's files in it",
    ]


PLANS = {
    "": "is no workflow: no line begins with a key of one",
    "hello": "is no workflow: no line begins with a key of one",
    "{": "neither a plan nor a workflow",
    '{"format": "emflow.plan/v1"': "neither a plan nor a workflow",
    '{"format": "emflow.plan/v0", "emflow": "0"}': "this plan is of another version",
    "apiVersion: emflow/v1\n": "EM021",
}


@pytest.mark.parametrize("command", ["apply", "destroy"])
@pytest.mark.parametrize("text", list(PLANS), ids=lambda text: text[:12] or "empty")
def test_a_bad_file_is_reported_before_the_terminal_that_is_missing(
    emflow, tmp_path: Path, command: str, text: str
) -> None:
    (tmp_path / "bad.plan").write_text(text)
    ran = emflow(command, "bad.plan")
    assert ran.code == 2
    assert "terminal" not in ran.err
    if command == "apply":
        assert PLANS[text] in ran.err
    assert "bad.plan" in ran.err


def test_a_right_file_without_a_terminal_asks_for_yes_before_it_calls_aws(emflow, demo: Path) -> None:
    for command in ("apply", "destroy"):
        ran = emflow(command, demo)
        assert (ran.code, f"emflow {command} --yes" in ran.err, ran.out) == (2, True, "")


def test_a_bad_file_in_json_is_said_in_json_too(emflow, demo: Path) -> None:
    ran = emflow("apply", demo, "--json")
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert (ran.code, [event["event"] for event in events]) == (2, ["finished"])
    assert "terminal" in events[-1]["problem"]["what"]


@pytest.mark.parametrize(
    "line",
    ["{% include 'other.yaml' %}", "{% extends 'other.yaml' %}", "{% import 'other.yaml' as x %}",
     "{% from 'other.yaml' import x %}", "{% include ['other.yaml', 'more.yaml'] %}"],
)  # fmt: skip
def test_a_template_that_is_not_there_is_named_with_what_can_be_included(emflow, tmp_path: Path, line: str) -> None:
    shutil.copytree(WORKFLOWS, tmp_path / "flows")
    template = tmp_path / "flows" / "components" / "heartbeat" / "recipe.yaml.j2"
    template.write_text(f"{template.read_text()}\n{line}\n")
    (tmp_path / "flows" / "components" / "heartbeat" / "other.yaml").write_text("x: 1\n")
    ran = emflow("validate", tmp_path / "flows" / "own-component.yaml")
    assert ran.code == 2
    assert "other.yaml" in ran.out
    assert "there is no template" in ran.out
    assert "files beside the workflow cannot: put the text into this file" in ran.out
    assert "known names" not in ran.out


def test_a_link_that_leads_outside_is_a_sentence(tmp_path: Path) -> None:
    shutil.copytree(WORKFLOWS, tmp_path / "flows")
    (tmp_path / "labels.txt").write_text("cat\n")
    labels = tmp_path / "flows" / "models" / "scenes_labels.txt"
    labels.unlink()
    labels.symlink_to(tmp_path / "labels.txt")
    with pytest.raises(WorkflowProblem) as refused:
        check(tmp_path / "flows" / "demo.yaml", environ={})
    (finding,) = [each for each in refused.value.findings if each.code == "EM078"]
    assert f"{labels}: a symbolic link leads out of the folder that the files of this workflow may be in" in (
        finding.message
    )


def test_init_takes_a_root_for_a_model_elsewhere(emflow, tmp_path: Path, scenes_model: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "models").mkdir()
    shutil.copy(scenes_model, tmp_path / "models" / "scenes.tflite")
    asked = ("init", "-o", "flows/new.yaml", "--yes", "--model", "../models/scenes.tflite")
    refused = emflow(*asked)
    assert refused.code == 2
    assert "--root DIR" in refused.err
    ran = emflow(*asked, "--root", ".")
    assert ran.code == 0, ran.err
    assert "emflow validate flows/new.yaml --root ." in ran.out
    assert emflow("validate", "flows/new.yaml", "--root", ".").code == 0


def test_the_example_workflows_checked_together_do_not_contradict_each_other(emflow) -> None:
    ran = emflow("validate", "--format", "json", *sorted(WORKFLOWS.glob("*.yaml")))
    found = {(Path(each["path"]).name, each["code"]) for each in json.loads(ran.out)["findings"]}
    assert ran.code == 0
    # Their provider is discontinued, and the workshop's model is not in the repository, as its first lines say.
    provider = {(path.name, "EM081") for path in WORKFLOWS.glob("*.yaml")}
    assert found == provider | {("imx8mplus-mobilenetv2.yaml", "EM072")}


def test_an_error_after_a_hundred_warnings_of_recipes_is_not_left_out(emflow, tmp_path: Path) -> None:
    shutil.copytree(WORKFLOWS, tmp_path / "flows")
    template = tmp_path / "flows" / "components" / "heartbeat" / "recipe.yaml.j2"
    numbers = "".join(f"    number{number}: 0x{number:02x}\n" for number in range(150))
    text = template.read_text().replace("  DefaultConfiguration:\n", f"  DefaultConfiguration:\n{numbers}", 1)
    assert numbers in text
    template.write_text(text)
    warned = emflow("validate", tmp_path / "flows" / "own-component.yaml")
    assert (warned.code, warned.out.count("EM076") >= 100) == (0, True)
    template.write_text(f"{text}\nManifests: []\n")
    assert emflow("validate", tmp_path / "flows" / "own-component.yaml").code == 2


def test_what_is_about_new_installations_is_said_by_validate_and_no_render(emflow, demo: Path, tmp_path: Path) -> None:
    assert "EM081" in emflow("validate", demo).out
    ran = emflow("render", demo, "-o", tmp_path / "out")
    assert (ran.code, "EM081" in ran.err + ran.out) == (0, False)
    assert stat.S_ISDIR((tmp_path / "out").stat().st_mode)
