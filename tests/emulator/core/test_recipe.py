"""Recipes: the first manifest for the platform, keys in any case, times as documented."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import yaml

from emflow.recipes.reader.lifecycles import skip_condition
from emflow.recipes.reader.platforms import fits
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.recipe import device_platform, parse
from emulator.core.pieces import LINUX, recipe

BOARD = {"os": "linux", "architecture": "aarch64"}


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_json_and_yaml_say_the_same(write: Any) -> None:
    found = parse(write(recipe("a.b", lifecycle={"run": "sleep 1"}, dependencies={"c": ">=1.0.0"})), LINUX)

    assert (found.name, found.version) == ("a.b", "1.0.0")
    assert found.steps["run"].script == "sleep 1"
    assert found.dependencies["c"].requirement == ">=1.0.0"
    assert found.dependencies["c"].hard


def test_keys_are_read_in_any_case_but_names_of_the_user_are_kept() -> None:
    text = """
    recipeformatversion: "2020-01-25"
    COMPONENTNAME: a
    componentVersion: 1.0.0
    componentconfiguration: {defaultconfiguration: {camelCase: 1}}
    componentdependencies: {b: {versionrequirement: ~1.0.0, dependencytype: soft}}
    manifests:
      - platform: {OS: linux}
        artifacts: [{uri: "s3://b/some.zip", unarchive: zip, digest: abc, algorithm: SHA-256, permission: {read: all}}]
        lifecycle:
          Setenv: {LowerAndUpper: all}
          Run: {script: echo, REQUIRESPRIVILEGE: true, setenv: {mY_vAR: x}, timeout: 7, skipif: onpath nothing}
    """
    found = parse(text, LINUX)

    assert found.defaults == {"camelCase": 1}
    assert not found.dependencies["b"].hard
    assert found.artifacts[0].unarchive
    assert found.artifacts[0].digest == "abc"
    assert (found.artifacts[0].read, found.artifacts[0].execute) == ("ALL", "NONE")
    assert found.setenv == {"LowerAndUpper": "all"}
    run = found.steps["run"]
    assert (run.script, run.privileged, run.timeout, run.setenv) == ("echo", True, 7.0, {"mY_vAR": "x"})
    assert run.key == "run.script"


def test_the_first_manifest_that_fits_is_used() -> None:
    document = recipe("a")
    document["Manifests"] = [
        {"Platform": {"os": "windows"}, "Lifecycle": {"run": "windows"}},
        {"Platform": {"os": "linux", "architecture": "aarch64"}, "Lifecycle": {"run": "board"}},
        {"Platform": {"os": "linux"}, "Lifecycle": {"run": "linux"}},
        {"Lifecycle": {"run": "anything"}},
    ]
    text = json.dumps(document)

    assert parse(text, BOARD).steps["run"].script == "board"
    assert parse(text, LINUX).steps["run"].script == "linux"
    assert parse(text, {"os": "darwin"}).steps["run"].script == "anything"


def test_no_manifest_for_the_platform_is_a_failure_that_says_both_sides() -> None:
    text = json.dumps(recipe("a", platform={"os": "windows"}))

    with pytest.raises(DeploymentFailure, match=r"os=linux.*windows") as caught:
        parse(text, LINUX)
    assert caught.value.stack[0] == "DEPLOYMENT_FAILURE"


@pytest.mark.parametrize(
    ("wanted", "fitting"),
    [
        ({}, True),
        ({"os": "*", "runtime": "*"}, True),
        ({"os": "linux", "architecture": "/amd64|aarch64/"}, True),
        ({"os": "linux", "architecture": "/arm|x86/"}, False),
        ({"os": "linux", "runtime": "aws_nucleus_lite"}, False),
        ({"os": "linux", "runtime": "aws_nucleus_classic"}, True),
        ({"os": "linux", "runtime": "/aws_nucleus_classic|aws_nucleus_lite/"}, True),
        ({"os": "linux", "colour": "*"}, True),
        ({"os": "linux", "colour": "red"}, False),
        ({"os": "lin"}, False),
    ],
)
def test_platforms(wanted: dict[str, str], fitting: bool) -> None:
    assert fits(wanted, LINUX) is fitting


def test_this_machine_has_attributes_that_recipes_know() -> None:
    platform = device_platform()

    assert platform["os"] == "linux"
    assert platform["architecture"] in ("amd64", "aarch64", "arm", "x86")


def test_times_are_the_documented_ones_unless_the_recipe_says_so() -> None:
    lifecycle = {
        step: {"Script": "x"} for step in ("bootstrap", "install", "startup", "run", "shutdown", "recover", "uninstall")
    }
    lifecycle["install"]["Timeout"] = 300  # type: ignore[assignment]
    steps = parse(json.dumps(recipe("a", lifecycle=lifecycle)), LINUX).steps

    assert {name: step.timeout for name, step in steps.items()} == {
        "bootstrap": 120,
        "install": 300,
        "startup": 120,
        "run": None,
        "shutdown": 15,
        "recover": 60,
        "uninstall": 120,
    }


def test_a_lifecycle_for_all_manifests_is_narrowed_by_selections() -> None:
    document = recipe("a")
    document["Lifecycle"] = {
        "run": {"tall": {"script": "tall"}, "all": {"script": "whatever"}},
        "install": {"script": "same"},
    }
    document["Manifests"] = [
        {"Platform": {"architecture": "aarch64"}, "Selections": ["tall"]},
        {"Platform": {"os": "linux"}},
    ]
    text = json.dumps(document)

    assert parse(text, BOARD).steps["run"].script == "tall"
    assert parse(text, LINUX).steps["run"].script == "whatever"
    assert parse(text, LINUX).steps["install"].script == "same"


@pytest.mark.parametrize("text", ["{", "- a list", "{}"])
def test_what_is_no_recipe_is_a_failure(text: str) -> None:
    with pytest.raises(DeploymentFailure) as caught:
        parse(text, LINUX)
    assert caught.value.types == ["COMPONENT_RECIPE_ERROR"]


def test_conditions_for_skipping() -> None:
    assert skip_condition("onpath git") == (False, "onpath", "git")
    assert skip_condition("! exists /a/b") == (True, "exists", "/a/b")
    assert skip_condition("") is None


@pytest.mark.parametrize(
    "change",
    [
        {"ComponentDependencies": ["b"]},
        {"ComponentConfiguration": "x"},
        {"Manifests": {"Platform": {}}},
        {"Manifests": [{"Platform": {"os": "/(/"}}]},
        {"Manifests": [{"Artifacts": ["s3://bucket/key"]}]},
        {"Manifests": [{"Lifecycle": {"Setenv": [1]}}]},
        {"Manifests": [{"Lifecycle": {"run": {"Script": "x", "Timeout": "abc"}}}]},
        {"Manifests": [{"Lifecycle": {"run": {"Script": "x", "Timeout": 10**400}}}]},
        {"Manifests": [{"Lifecycle": {"run": {"Script": "x", "Timeout": -1}}}]},
    ],
)
def test_a_recipe_in_a_wrong_shape_is_a_failure_that_names_the_component(change: dict[str, Any]) -> None:
    with pytest.raises(DeploymentFailure, match=r"Failed to parse recipe of a\b") as caught:
        parse(json.dumps(recipe("a") | change), LINUX)
    assert caught.value.stack[-1] == "RECIPE_PARSE_ERROR"


def test_a_recipe_that_is_nested_too_deeply_is_a_failure() -> None:
    with pytest.raises(DeploymentFailure, match="Failed to parse recipe"):
        parse("[" * 5000, LINUX)


def test_a_step_may_take_as_long_as_it_is_possible_to_wait() -> None:
    text = json.dumps(recipe("a", lifecycle={"run": {"Script": "x", "Timeout": 10**15}}))

    assert parse(text, LINUX).steps["run"].timeout == threading.TIMEOUT_MAX


def test_steps_that_nobody_knows_are_ignored() -> None:
    assert parse(json.dumps(recipe("a", lifecycle={"5": "x", "run": "y"})), LINUX).steps.keys() == {"run"}


def test_time_and_privilege_may_come_from_the_configuration() -> None:
    step = {"Script": "x", "Timeout": "{configuration:/time}", "RequiresPrivilege": "{configuration:/root}"}
    install = parse(json.dumps(recipe("a", lifecycle={"install": step})), LINUX).steps["install"]
    values = {"{configuration:/time}": "7.0", "{configuration:/root}": "true"}

    filled = install.filled(lambda text: values.get(text, text))

    assert (filled.timeout, filled.privileged, filled.timeout_text) == (7.0, True, "")
    with pytest.raises(DeploymentFailure, match=r"Timeout of the step install, \{configuration:/time\}: 'soon'"):
        install.filled(lambda text: "soon")


def test_environment_variables_are_spelt_as_the_java_nucleus_spells_them() -> None:
    lifecycle = {"run": {"Script": "x", "Setenv": {"DEBUG": True, "PORT": 8080, "NAME": "x"}}}

    assert parse(json.dumps(recipe("a", lifecycle=lifecycle)), LINUX).steps["run"].setenv == {
        "DEBUG": "true",
        "PORT": "8080",
        "NAME": "x",
    }
