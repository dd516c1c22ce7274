"""`--var-file` on the command line: every command that takes variables takes files of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from emflow.cli.options import load_workflow
from emflow.cli.parameters import command as make_command
from emflow.problems import WorkflowProblem

DEMO = Path(__file__).parents[2] / "workflows" / "demo.yaml"


@pytest.mark.parametrize(
    "command",
    [
        "emflow.cli.validate",
        "emflow.cli.render",
        "emflow.cli.plan",
        "emflow.cli.apply",
        "emflow.cli.destroy",
        "emflow_emulator.cli.up",
    ],
)
def test_a_command_with_variables_takes_files_of_them(command: str) -> None:
    import importlib

    function = getattr(importlib.import_module(command), command.rpartition(".")[2])
    options = {name for parameter in make_command("command", function).params for name in parameter.opts}
    assert {"--var", "--var-file"} <= options


def test_var_overrides_var_files_and_a_later_file_overrides_an_earlier_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.json"
    one.write_text("prefix: one\nthing: One\n")
    two.write_text('{"thing": "Two"}')
    workflow = load_workflow(DEMO, None, [one, two])
    assert workflow.cloud.buckets.components.name == "one-gg-components"
    assert workflow.cloud.fleet.devices == ("Two",)
    assert load_workflow(DEMO, ["thing=Three"], [one, two]).cloud.fleet.devices == ("Three",)


def test_an_error_in_a_file_of_variables_has_its_position(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("# site\nprefx: x\n")
    with pytest.raises(WorkflowProblem) as raised:
        load_workflow(DEMO, None, [path])
    wrong = [finding.where for finding in raised.value.findings if finding.severity == "error"]
    assert wrong == [f"{path}:2:1"]
