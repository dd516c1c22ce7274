"""Every documented key of a recipe and of a deployment: what it changes on the virtual core, or that it is nothing.

Recipes: https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html
Deployments: https://docs.aws.amazon.com/greengrass/v2/APIReference/API_CreateDeployment.html, as botocore has it.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
import yaml

from conftest import ROOT
from emflow.recipes import virtual_core
from emflow.recipes.lint.check import check as check_recipe
from emflow.workflow.load import check


class Changes(NamedTuple):
    """What the key changes on the virtual core, and a test that shows it (`file::test`, below tests/emulator)."""

    what: str
    shown_by: str


class Kept(NamedTuple):
    """The key is for people and for the cloud, which gives it back; no device does anything with it."""

    shown_by: str


class Warned(NamedTuple):
    """The key changes nothing on the virtual core, and `emflow validate` says so when `new` stands for `old`."""

    old: str
    new: str


class Refused(NamedTuple):
    """No workflow can have the key, and why."""

    why: str


Entry = Changes | Kept | Warned | Refused

HEARTBEAT = "components/heartbeat/recipe.yaml.j2"
NO_PRIVILEGE, PRIVILEGE = "RequiresPrivilege: false", "RequiresPrivilege: true"
PERMISSIONS = "core/test_artifacts.py::test_permission_decides_who_reads_and_executes_whatever_a_zip_says"
TIMES = "core/test_component.py::test_a_step_that_takes_too_long_is_an_error"
SETENV = "core/test_environment.py::test_setenv_of_the_step_goes_over_that_of_the_component"
PLATFORMS = "core/test_recipe.py::test_platforms"
SELECTIONS = "core/test_recipe.py::test_a_lifecycle_for_all_manifests_is_narrowed_by_selections"
ANY_CASE = "aws/test_components.py::test_the_keys_of_a_recipe_come_in_any_case_and_leave_as_documented"
FOR_EVER = "core/test_component.py::test_a_component_that_runs_for_ever"
DEFERS = "core/test_device_settings.py::test_a_component_defers_a_deployment_unless_nobody_asks"
DESCRIBED = "aws/test_components.py::test_a_component_is_requested_and_some_time_later_deployable"

RECIPE: dict[str, Entry] = {
    "RecipeFormatVersion": Changes(
        "another one is refused by the cloud", "aws/test_components.py::test_a_wrong_recipe_is_refused_with_the_place"
    ),
    "ComponentName": Changes("the component's folders and log", "core/test_recipe.py::test_json_and_yaml_say_the_same"),
    "ComponentVersion": Changes(
        "another one is installed again", "core/test_supervisor.py::test_a_new_version_is_installed_again"
    ),
    "ComponentDescription": Kept(DESCRIBED),
    "ComponentPublisher": Kept(DESCRIBED),
    "ComponentType": Changes(
        "parts of the device run without a process",
        "core/test_supervisor.py::test_a_component_of_the_device_itself_runs_while_it_is_deployed",
    ),
    "ComponentConfiguration.DefaultConfiguration": Changes(
        "what the component reads", "core/test_configuration.py::test_a_merge_goes_over_the_defaults_key_by_key"
    ),
    "ComponentDependencies.*.VersionRequirement": Changes(
        "the version that is chosen", "core/test_resolve.py::test_all_who_ask_have_to_agree"
    ),
    "ComponentDependencies.*.DependencyType": Changes(
        "HARD restarts the dependent",
        "core/test_supervisor.py::test_dependents_restart_with_a_hard_dependency_that_fails",
    ),
    "Manifests[].Name": Kept(
        "aws/test_components.py::test_the_keys_of_a_recipe_come_in_any_case_and_leave_as_documented"
    ),
    "Manifests[].Platform.os": Changes("the manifest that is used", PLATFORMS),
    "Manifests[].Platform.architecture": Changes("the manifest that is used", PLATFORMS),
    "Manifests[].Platform.runtime": Changes("the manifest that is used", PLATFORMS),
    "Manifests[].Platform.*": Warned("os: linux", "os: linux\n      com.example.radio: lora"),
    "Manifests[].Selections": Changes("the part of the recipe-wide lifecycle", SELECTIONS),
    "Manifests[].Artifacts[].URI": Changes(
        "the file that is downloaded", "core/test_artifacts.py::test_a_zip_is_unpacked_into_a_folder_of_its_name"
    ),
    "Manifests[].Artifacts[].Unarchive": Changes(
        "the zip is unpacked", "core/test_artifacts.py::test_a_file_that_is_not_to_be_unpacked_stays_as_it_is"
    ),
    "Manifests[].Artifacts[].Permission.Read": Changes("the files' mode", PERMISSIONS),
    "Manifests[].Artifacts[].Permission.Execute": Changes("the files' mode", PERMISSIONS),
    "Lifecycle": Changes("what runs where a manifest has no lifecycle", SELECTIONS),
    "Lifecycle.Setenv": Changes("the environment of all steps", SETENV),
    "Lifecycle.bootstrap": Changes(
        "runs while all is stopped; 100 and 101 are successes",
        "core/test_bootstrap.py::test_after_a_bootstrap_everything_is_installed_and_started_anew",
    ),
    "Lifecycle.install": Changes(
        "runs before the component starts", "core/test_component.py::test_a_component_that_runs_for_ever"
    ),
    "Lifecycle.startup": Changes(
        "RUNNING when it has ended", "core/test_component.py::test_a_startup_that_ends_leaves_a_running_component"
    ),
    "Lifecycle.run": Changes(
        "RUNNING as long as it runs", "core/test_component.py::test_a_component_that_runs_for_ever"
    ),
    "Lifecycle.shutdown": Changes(
        "runs when it stops, and before BROKEN",
        "core/test_component.py::test_what_was_started_is_shut_down_before_it_is_broken",
    ),
    "Lifecycle.recover": Changes(
        "runs after an error", "core/test_component.py::test_an_error_is_recovered_from_and_shut_down_after"
    ),
    "Lifecycle.uninstall": Changes(
        "runs when a deployment removes it",
        "core/test_component.py::test_what_a_deployment_removes_is_uninstalled_after_it_was_shut_down",
    ),
    "Lifecycle.*.Script": Changes("what the step runs", "core/test_recipe.py::test_json_and_yaml_say_the_same"),
    "Lifecycle.*.RequiresPrivilege": Warned(NO_PRIVILEGE, PRIVILEGE),
    "Lifecycle.*.Skipif": Changes(
        "the step is left out", "core/test_component.py::test_a_step_is_skipped_when_its_condition_holds"
    ),
    "Lifecycle.*.Timeout": Changes("a longer step is an error", TIMES),
    "Lifecycle.*.Setenv": Changes("the environment of the step", SETENV),
    "Lifecycle.bootstrap.BootstrapOnRollback": Changes(
        "a rollback runs it too",
        "core/test_bootstrap.py::test_a_rollback_from_another_version_runs_the_bootstraps_that_say_so",
    ),
    "ComponentSource": Refused("it names a Lambda function, and the check of recipes does not know it"),
}

ROLLOUT = Warned("    target: {thing: ", "    rollout: {max_per_minute: 50}\n    target: {thing_group: ")


def limits(key: str) -> Warned:
    settings = f"settings: [{{component: aws.greengrass.Nucleus, run_with: {{{key}}}}}]"
    return Warned("    target: {thing: ", f"    {settings}\n    target: {{thing: ")


DEPLOYMENT: dict[str, Entry] = {
    "targetArn": Changes(
        "which devices take it", "core/test_device.py::test_a_deployment_to_a_group_reaches_its_things_beside_their_own"
    ),
    "deploymentName": Kept("aws/test_deployments.py::test_what_is_asked_is_what_is_kept_and_the_rest_is_aws_defaults"),
    "components.*.componentVersion": Changes(
        "what runs", "core/test_device.py::test_a_deployment_replaces_the_one_before"
    ),
    "components.*.configurationUpdate.merge": Changes(
        "the configuration",
        "core/test_device.py::test_a_changed_setting_restarts_its_component_only_and_a_reset_takes_it_back",
    ),
    "components.*.configurationUpdate.reset[]": Changes(
        "the configuration", "core/test_configuration.py::test_a_reset_gives_the_default_back"
    ),
    "components.*.runWith.posixUser": limits("user: ggc_user"),
    "components.*.runWith.systemResourceLimits.memory": limits("memory_kb: 2048"),
    "components.*.runWith.systemResourceLimits.cpus": limits("cpus: 0.5"),
    "components.*.runWith.windowsUser": Refused("workflows are for Linux"),
    "iotJobConfiguration": ROLLOUT,
    "deploymentPolicies.failureHandlingPolicy": Changes(
        "whether it is rolled back", "core/test_device.py::test_three_errors_are_broken_and_the_deployment_failed"
    ),
    "deploymentPolicies.componentUpdatePolicy.timeoutInSeconds": Changes(
        "how long a component may defer it",
        "core/test_ipc_lifecycle.py::test_all_that_listen_are_asked_and_asked_again_after_the_time_that_one_wanted",
    ),
    "deploymentPolicies.componentUpdatePolicy.action": Changes(
        "whether components are asked",
        "core/test_device_settings.py::test_a_component_defers_a_deployment_unless_nobody_asks",
    ),
    "deploymentPolicies.configurationValidationPolicy.timeoutInSeconds": Changes(
        "how long it waits for the answers",
        "core/test_device_settings.py::test_a_deployment_that_changes_a_component_that_never_answers_too_fails",
    ),
    "parentTargetArn": Refused("workflows make no subdeployments"),
    "tags.*": Kept("aws/test_deployments.py::test_deployments_have_tags"),
    "clientToken": Changes(
        "a request that is sent again is one deployment",
        "aws/test_deployments.py::test_the_same_request_under_the_same_token_is_one_deployment",
    ),
}


def of_the_api() -> Iterator[str]:
    """Every member of CreateDeployment's request, as botocore has it."""
    greengrass = boto3.client("greengrassv2", region_name="us-east-1")
    yield from _leaves(greengrass.meta.service_model.operation_model("CreateDeployment").input_shape)


def _leaves(shape: Any, path: str = "") -> Iterator[str]:
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield from _leaves(member, f"{path}.{name}" if path else name)
    elif shape.type_name == "map":
        yield from _leaves(shape.value, f"{path}.*")
    elif shape.type_name == "list":
        yield from _leaves(shape.member, f"{path}[]")
    else:
        yield path


def test_every_member_of_a_deployment_is_in_the_table() -> None:
    # The members of a job's configuration are about the way over a fleet, all of them.
    assert {path if not path.startswith("iotJob") else "iotJobConfiguration" for path in of_the_api()} == set(
        DEPLOYMENT
    )


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / "emulator" / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("key", "entry"), [*RECIPE.items(), *DEPLOYMENT.items()])
def test_what_a_key_changes_is_shown_by_a_test(key: str, entry: Entry) -> None:
    if isinstance(entry, Changes | Kept):
        file, _, test = entry.shown_by.partition("::")
        assert test in functions_of(file), key


@pytest.mark.parametrize("key", [key for key, entry in (RECIPE | DEPLOYMENT).items() if isinstance(entry, Warned)])
def test_validate_warns_about_what_changes_nothing_here(tmp_path: Path, key: str) -> None:
    entry = (RECIPE | DEPLOYMENT)[key]
    assert isinstance(entry, Warned)
    shutil.copytree(ROOT / "workflows", tmp_path / "w")
    workflow = tmp_path / "w" / "own-component.yaml"
    changed = tmp_path / "w" / HEARTBEAT if key in RECIPE else workflow
    assert entry.old in changed.read_text()
    assert not list(virtual_core.findings(check(workflow)))
    changed.write_text(changed.read_text().replace(entry.old, entry.new, 1))
    (finding,) = virtual_core.findings(check(workflow))
    assert (finding.code, finding.severity) == ("EM079", "warning")
    assert "does nothing on the virtual core" in finding.message


def as_recipe(path: str) -> dict[str, Any]:
    """A recipe with this key of the table."""
    step = {"Script": "exec sleep 600"}
    values: dict[str, Any] = {"Skipif": "exists /none", "Timeout": 5, "Setenv": {"A": "b"}, "Name": "Linux"}
    recipe: dict[str, Any] = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "com.example.X",
        "ComponentVersion": "1.0.0",
        "Manifests": [{"Platform": {"os": "linux", "runtime": "aws_nucleus_classic"}, "Artifacts": []}],
    }
    top, _, rest = path.partition(".")
    lifecycle: dict[str, Any] = {"run": dict(step)}
    if top == "Lifecycle" and rest:
        name, _, key = rest.replace("*", "run").partition(".")
        target = lifecycle if name == "Setenv" else lifecycle.setdefault(name, dict(step))
        if name == "startup":
            del lifecycle["run"]
        if name == "Setenv" or key:
            target[key or name] = values.get(key or name, key == "RequiresPrivilege" or step["Script"])
    elif "Artifacts" in path:
        recipe["Manifests"][0]["Artifacts"] = [
            {"URI": "s3://bucket/a.zip", "Unarchive": "ZIP", "Permission": {"Read": "ALL", "Execute": "OWNER"}}
        ]
    elif path == "Manifests[].Name":
        recipe["Manifests"][0]["Name"] = "Linux"
    elif top == "ComponentDependencies":
        recipe[top] = {"other": {"VersionRequirement": ">=1.0.0", "DependencyType": "SOFT"}}
    elif top == "ComponentConfiguration":
        recipe[top] = {"DefaultConfiguration": {"key": "value"}}
    elif path in ("ComponentDescription", "ComponentPublisher"):
        recipe[top] = "text"
    recipe["Manifests"][0]["Lifecycle"] = lifecycle
    return recipe


@pytest.mark.parametrize("path", [path for path, entry in RECIPE.items() if not isinstance(entry, Refused)])
def test_the_check_of_recipes_knows_every_documented_key(path: str) -> None:
    found = check_recipe(yaml.safe_dump(as_recipe(path), sort_keys=False))

    assert not [str(finding) for finding in found if "unknown key" in finding.message]
