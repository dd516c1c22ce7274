"""What `emflow validate` says about keys that do nothing on the virtual core: a warning, and no more."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click
import pytest

from emflow.cli.validate import validate
from emflow.problems import Finding
from emflow.recipes import virtual_core
from emflow.recipes.lint.findings import findings
from emflow.workflow.load import check
from emflow.workflow.rules import registry

validate_module = sys.modules[validate.__module__]
WORKFLOWS = Path(__file__).parents[2] / "workflows"
TEMPLATE = Path("components") / "heartbeat" / "recipe.yaml.j2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("own-component.yaml", "demo.yaml"):
        shutil.copy(WORKFLOWS / name, tmp_path)
    for name in ("components", "models"):
        shutil.copytree(WORKFLOWS / name, tmp_path / name)
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def told(path: Path) -> list[Finding]:
    return list(virtual_core.findings(check(path)))


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_have_nothing_without_effect(path: Path) -> None:
    assert told(path) == []


def test_a_step_with_privilege_is_a_warning_at_the_recipe_it_comes_from(folder: Path) -> None:
    change(folder / TEMPLATE, "RequiresPrivilege: false", "RequiresPrivilege: true")
    (finding,) = told(folder / "own-component.yaml")

    assert (finding.code, finding.severity) == ("EM079", "warning")
    assert finding.message == (
        "Manifests[0].Lifecycle.run.RequiresPrivilege of the recipe does nothing on the virtual core of `emflow up`: "
        "every step runs as the user who started the device"
    )
    assert "recipe: components/heartbeat/recipe.yaml.j2" in finding.snippet
    assert not list(findings(check(folder / "own-component.yaml")))


def test_an_attribute_that_the_device_does_not_have_is_a_warning(folder: Path) -> None:
    change(folder / TEMPLATE, "      os: linux\n", "      os: linux\n      com.example.radio: lora\n")
    (finding,) = told(folder / "own-component.yaml")

    assert "radio" in finding.message
    assert finding.message.endswith("the device does not have this attribute, and never uses this manifest")


SETTINGS = "settings: [{component: aws.greengrass.Nucleus, run_with: {user: ggc_user, cpus: 0.5, memory_kb: 2048}}]"
ROLLOUT = "rollout: {max_per_minute: 50}"


def test_users_limits_and_rollouts_are_warnings_at_their_keys(folder: Path) -> None:
    change(folder / "demo.yaml", "  deployment:\n", f"  deployment:\n    {SETTINGS}\n    {ROLLOUT}\n")
    change(folder / "demo.yaml", "target: {thing: ", "target: {thing_group: ")
    found = told(folder / "demo.yaml")

    what = "does nothing on the virtual core of `emflow up`:"
    settings = "cloud.deployment.settings[0].run_with"
    assert [finding.message for finding in found] == [
        f"{settings}.user {what} every component runs as the user who started the device",
        f"{settings}.cpus {what} no component is limited",
        f"{settings}.memory_kb {what} no component is limited",
        f"cloud.deployment.rollout {what} its one device takes the deployment at once, without a limit of time",
    ]
    assert [finding.snippet.count("run_with") for finding in found] == [1, 1, 1, 0]
    assert len({finding.column for finding in found[:3]}) == 3


@pytest.mark.parametrize(
    ("component", "warned"),
    [("aws.greengrass.Nucleus", True), ("aws.greengrass.Cli", True), ("aws.greengrass.TokenExchangeService", False)],
)
def test_settings_of_a_component_that_is_there_by_name_only_are_a_warning(
    folder: Path, component: str, warned: bool
) -> None:
    settings = f"settings: [{{component: {component}, configuration: {{mqtt: {{port: 443}}}}}}]"
    change(folder / "demo.yaml", "  deployment:\n", f"  deployment:\n    {settings}\n")
    change(folder / "demo.yaml", "# aws.greengrass.Cli: latest", "aws.greengrass.Cli: latest")
    what = f"does nothing on the virtual core of `emflow up`: it has no {component} of AWS's"

    found = [finding.message for finding in told(folder / "demo.yaml")]
    assert found == [f"cloud.deployment.settings[0].configuration {what}"] * warned


def test_it_is_a_warning_of_validate_that_strict_lets_pass(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder / TEMPLATE, "RequiresPrivilege: false", "RequiresPrivilege: true")
    file = str(folder / "own-component.yaml")
    # Without the rule that warns about every workflow with Edge Manager.
    monkeypatch.setattr(registry, "RULES", [rule for rule in registry.RULES if rule[0] != "EM081"])
    validate([file], strict=True)
    assert " EM079 warning: " in capsys.readouterr().out

    monkeypatch.setattr(validate_module, "NOTES", frozenset())
    with pytest.raises(click.exceptions.Exit) as refused:
        validate([file], strict=True)
    assert refused.value.exit_code == 2
