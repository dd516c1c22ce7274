"""Components of the user's own: uploaded, made and deployed with the application, and anew only when they changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from botocore.exceptions import ClientError

from emflow.engine.destroy import plan_removal, remove
from emflow.problems import Problem
from emflow.recipes.bundle import reproducible_zip
from emflow.resources import removable_resources
from emflow.resources.greengrass.published import wanted_content
from emflow.workflow import load

RECIPE = """\
RecipeFormatVersion: "2020-01-25"
ComponentName: {{ component.name | quoted }}
ComponentVersion: {{ version | quoted }}
Manifests:
  - Platform: {os: linux, runtime: "*"}
    Lifecycle: {run: 'sh "{{ artifact.folder }}/run.sh"'}
    Artifacts: [{Uri: {{ artifact.uri | quoted }}, Unarchive: ZIP}]
"""
DEPLOYMENT = "deployment/target"


@pytest.fixture
def name(workflow):
    return f"com.example.X-{workflow.metadata.name}"


@pytest.fixture
def write(file, name):
    """Write the workflow with a component of its own, and load it."""
    (file.parent / "files").mkdir()
    original = file.read_text()

    def make(script="echo hello", version="auto"):
        (file.parent / "files" / "run.sh").write_text(script)
        (file.parent / "recipe.j2").write_text(RECIPE)
        own = {"name": name, "version": version, "recipe": "recipe.j2", "artifacts": "files"}
        file.write_text(original + yaml.safe_dump({"components": [{**own, "configuration": {"every": "5s"}}]}))
        return load(file)

    return make


def component(name):
    return f"component/{name}"


def test_it_is_uploaded_made_and_deployed(rollout, write, name, client):
    workflow = write()
    applied = rollout.apply(workflow)
    assert applied.outputs[component(name)] == {"version": "1.0.0"}
    arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{name}:versions:1.0.0"
    recipe = json.loads(client("greengrassv2").get_component(arn=arn, recipeOutputFormat="JSON")["recipe"])
    uri = recipe["Manifests"][0]["Artifacts"][0]["Uri"]
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    assert client("s3").get_object(Bucket=bucket, Key=key)["ContentLength"] > 100
    tags = client("greengrassv2").describe_component(arn=arn)["tags"]
    assert tags["emflow:workflow"] == workflow.metadata.name
    deployment = client("greengrassv2").get_deployment(deploymentId=applied.outputs[DEPLOYMENT]["id"])
    deployed = deployment["components"][name]
    assert deployed["componentVersion"] == "1.0.0"
    assert json.loads(deployed["configurationUpdate"]["merge"]) == {"every": "5s"}


def test_a_second_time_changes_nothing_and_other_files_make_the_next_patch(rollout, write, name):
    rollout.apply(write())
    rollout.apply(write())
    assert rollout.changing_calls == []
    applied = rollout.apply(write("echo other"))
    assert applied.outputs[component(name)] == {"version": "1.0.1"}
    # What was there before is what is wanted again: no third version.
    assert rollout.apply(write()).outputs[component(name)] == {"version": "1.0.0"}


def test_an_explicit_version_whose_content_changed_is_refused_with_the_way_out(rollout, write):
    rollout.apply(write(version="2.0.0"))
    rollout.apply(write(version="2.0.0"))
    assert rollout.changing_calls == []
    with pytest.raises(Problem, match=r"2\.0\.0 exists already, with other content") as told:
        rollout.apply(write("echo other", version="2.0.0"))
    assert told.value.mend == "Set components[0].version to 2.0.1, or to auto."
    assert rollout.changing_calls == []


def test_a_recipe_that_would_not_work_never_leaves(rollout, write, file: Path):
    workflow = write()
    (file.parent / "recipe.j2").write_text(RECIPE.replace('runtime: "*"', "runtime: java"))
    with pytest.raises(Problem, match=r"Platform\.runtime \(line 5\)"):
        rollout.apply(workflow)
    assert rollout.changing_calls == []


def test_destroy_removes_every_version_even_when_the_recipe_is_broken(rollout, write, name, file: Path, client):
    rollout.apply(write())
    workflow = write("echo other")
    rollout.apply(workflow)
    (file.parent / "recipe.j2").write_text("{{ nothing }}")
    clients = rollout.own(workflow)
    removal = plan_removal(removable_resources(workflow), clients)
    assert component(name) in {resource.id for resource in removal.to_remove}
    remove(removal, clients)
    with pytest.raises(ClientError, match="NotFound"):
        client("greengrassv2").list_component_versions(
            arn=f"arn:aws:greengrass:us-east-1:123456789012:components:{name}"
        )


@pytest.mark.parametrize("flag", [1, 8], ids=["encrypted", "unknown method"])
def test_a_published_zip_that_cannot_be_read_costs_the_comparison_only(flag):
    data = bytearray(reproducible_zip([("a.txt", b"text of two words")]))
    head = data.rindex(b"PK\x01\x02")
    for at in (0, head):
        at += (6 if at == 0 else 8) if flag == 1 else (8 if at == 0 else 10)
        data[at] = 1 if flag == 1 else 99
    assert wanted_content("{}", bytes(data)).files is None


def test_files_that_may_be_secrets_are_shown_by_their_digest():
    data = reproducible_zip(
        [("a.txt", b"two words"), ("k.pem", b"two words"), ("b", b"-----BEGIN KEY"), ("token", b"oneword\n")]
    )
    files = wanted_content("{}", data).files
    assert files
    assert [name for name, text in files.items() if not text.startswith("sha256:")] == ["a.txt"]
