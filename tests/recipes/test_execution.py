"""Scripts that execute an artifact by its path: its `Permission` has to allow that, on both nuclei."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from emflow.recipes.lint.check import check


def told(script: Any, permission: dict[str, str] | None = None, *, key: str = "Script", **steps: Any) -> list[str]:
    """What the check says of a recipe with this script, a plain program and a zip."""
    rights = {"Permission": permission} if permission is not None else {}
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "com.example.Program",
        "ComponentVersion": "1.0.0",
        "Manifests": [
            {
                "Platform": {"os": "linux", "runtime": "*"},
                "Lifecycle": {"run": {key: script} if key else script, **steps},
                "Artifacts": [
                    {"URI": "s3://bucket/folder/program", **rights},
                    {"URI": "s3://bucket/folder/tools.zip", "Unarchive": "ZIP", **rights},
                ],
            }
        ],
    }
    found = check(yaml.safe_dump(recipe, sort_keys=False))
    return [str(finding) for finding in found if "executes" in finding.message]


PLAIN, ZIPPED = "{artifacts:path}/program", "{artifacts:decompressedPath}/tools/bin/run.sh"


@pytest.mark.parametrize("path", [PLAIN, ZIPPED])
@pytest.mark.parametrize(
    "script",
    [
        "%s",
        "exec %s 600",
        '"%s" --flag',
        "exec '%s'",
        "cd /tmp && %s",
        "sleep 1; %s",
        "if true; then %s; fi",
        "X=1 Y='a b' %s",
        "first\n  %s\nlast",
        "echo x | %s",
        "(%s)",
        "%s &",
    ],
)
@pytest.mark.parametrize("permission", [None, {}, {"Read": "ALL"}, {"Read": "OWNER", "Execute": "NONE"}])
def test_a_command_that_is_a_path_into_an_artifact_needs_the_permission_to_execute(
    path: str, script: str, permission: dict[str, str] | None
) -> None:
    (finding,) = told(script % path, permission)

    assert finding.startswith("Manifests[0].Lifecycle.run.Script (line ")
    assert f"executes {path}, which its Permission does not allow; write Permission: {{Execute: OWNER}}" in finding


@pytest.mark.parametrize("execute", ["OWNER", "ALL"])
@pytest.mark.parametrize("path", [PLAIN, ZIPPED])
def test_with_the_permission_it_is_right(path: str, execute: str) -> None:
    assert told(f"exec {path}", {"Execute": execute}) == []


@pytest.mark.parametrize(
    "script",
    [
        f"sh {PLAIN}",
        f"python3 -u {ZIPPED}",
        f". {PLAIN}",
        f"cat < {PLAIN}",
        f"cp {PLAIN} {{work:path}}",
        f"export TOOLS={ZIPPED}",
        f'test -e "{PLAIN}" && echo there',
        f"chmod +x {PLAIN} && {PLAIN}",
    ],
)
def test_a_file_that_is_only_read_needs_no_permission_to_execute(script: str) -> None:
    assert told(script) == []


def test_a_step_that_gives_itself_the_permission_is_right_for_the_others() -> None:
    assert told(PLAIN, install=f"chmod u+x {PLAIN}") == []


def test_a_script_without_a_map_is_checked_too() -> None:
    (finding,) = told(PLAIN, key="")

    assert finding.startswith("Manifests[0].Lifecycle.run (line ")
