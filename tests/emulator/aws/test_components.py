"""Components: created once from a recipe, checked, digested, described, listed, deleted."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from emulator.aws.pieces import arn, recipe
from support import until


def with_artifact(name: str, uri: str, **more: Any) -> dict[str, Any]:
    manifest = {"Platform": {"os": "linux"}, "Lifecycle": {"run": "true"}, "Artifacts": [{"URI": uri, **more}]}
    return recipe(name, Manifests=[manifest])


def create(greengrass: Any, document: dict[str, Any], **params: Any) -> dict[str, Any]:
    answer: dict[str, Any] = greengrass.create_component_version(
        inlineRecipe=yaml.safe_dump(document).encode(), **params
    )
    return answer


def test_a_component_is_requested_and_some_time_later_deployable(greengrass: Any, fresh: Callable[[str], str]) -> None:
    name = fresh("com.example.New")
    made = create(greengrass, recipe(name, ComponentDescription="Says hello", ComponentPublisher="Me"))
    assert made["arn"] == arn("greengrass", f"components:{name}:versions:1.0.0")
    assert made["status"]["componentState"] == "REQUESTED"
    seen = []

    def deployable() -> bool:
        described = greengrass.describe_component(arn=made["arn"])
        seen.append(described["status"]["componentState"])
        return bool(seen[-1] == "DEPLOYABLE")

    until(deployable)
    assert set(seen) <= {"REQUESTED", "INITIATED", "DEPLOYABLE"}
    assert seen[0] != "DEPLOYABLE"
    described = greengrass.describe_component(arn=made["arn"])
    assert described["description"] == "Says hello"
    assert described["publisher"] == "Me"
    assert described["platforms"] == [{"name": "Linux", "attributes": {"os": "linux"}}]


def test_the_recipe_comes_back_as_json_or_yaml(greengrass: Any, fresh: Callable[[str], str]) -> None:
    document = recipe(fresh("com.example.Formats"))
    made = create(greengrass, document, tags={"team": "edge"})
    as_json = greengrass.get_component(arn=made["arn"])
    as_yaml = greengrass.get_component(arn=made["arn"], recipeOutputFormat="YAML")
    assert json.loads(as_json["recipe"]) == document
    assert yaml.safe_load(as_yaml["recipe"]) == document
    assert as_json["recipeOutputFormat"] == "JSON"
    assert as_yaml["tags"] == {"team": "edge"}


def test_the_keys_of_a_recipe_come_in_any_case_and_leave_as_documented(
    greengrass: Any, fresh: Callable[[str], str]
) -> None:
    name = fresh("com.example.Case")
    text = f"""
recipeformatversion: 2020-01-25
componentName: {name}
COMPONENTVERSION: '1.0.0'
componentdependencies:
  aws.greengrass.Nucleus: {{versionrequirement: '>=2.0.0', dependencytype: SOFT}}
manifests:
  - platform: {{OS: linux, Runtime: '*'}}
    lifecycle: {{run: echo hello}}
"""
    made = greengrass.create_component_version(inlineRecipe=text.encode())
    stored = json.loads(greengrass.get_component(arn=made["arn"])["recipe"])
    assert stored == {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": "1.0.0",
        "ComponentDependencies": {
            "aws.greengrass.Nucleus": {"VersionRequirement": ">=2.0.0", "DependencyType": "SOFT"}
        },
        "Manifests": [{"Platform": {"os": "linux", "runtime": "*"}, "Lifecycle": {"run": "echo hello"}}],
    }


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"RecipeFormatVersion": "2019-01-01"}, "RecipeFormatVersion", "has to be 2020-01-25"),
        ({"ComponentName": None}, "ComponentName", "is missing"),
        ({"ComponentName": "has space"}, "ComponentName", "letters, digits"),
        ({"ComponentVersion": 1.0}, "ComponentVersion", "in quotes"),
        ({"ComponentVersion": "1.0"}, "ComponentVersion", "no semantic version"),
        ({"ComponentType": "aws.greengrass.nucleus"}, "ComponentType", "AWS's own"),
        ({"ComponentDependencies": []}, None, ""),
        ({"ComponentDependencies": ["x"]}, "ComponentDependencies", "has to be a map"),
        (
            {"ComponentDependencies": {"a": {"VersionRequirement": "new"}}},
            "ComponentDependencies.a.VersionRequirement",
            "no version range",
        ),
        (
            {"ComponentDependencies": {"a": {"VersionRequirement": "^1.0.0", "DependencyType": "WEAK"}}},
            "ComponentDependencies.a.DependencyType",
            "neither HARD nor SOFT",
        ),
        ({"Manifests": []}, "Manifests", "one at least"),
        ({"Manifests": ["linux"]}, "Manifests", "has to be a list of manifests"),
        ({"Manifests": [{"Lifecycle": "run"}]}, "Manifests[0].Lifecycle", "has to be a map"),
        ({"Manifests": [{"Artifacts": [{}]}]}, "Manifests[0].Artifacts[0].Uri", "is missing"),
        (
            {"Manifests": [{"Artifacts": [{"URI": "s3://b/k", "Unarchive": "TAR"}]}]},
            "Manifests[0].Artifacts[0].Unarchive",
            "neither NONE nor ZIP",
        ),
        (
            {"Manifests": [{"Artifacts": [{"URI": "s3://b/k", "Permission": {"Read": "ME"}}]}]},
            "Manifests[0].Artifacts[0].Permission.Read",
            "none of NONE, OWNER, ALL",
        ),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_place(
    greengrass: Any, fresh: Callable[[str], str], change: dict[str, Any], field: str | None, words: str
) -> None:
    document = recipe(fresh("com.example.Wrong"), **change)
    if field is None:  # empty is as good as absent
        create(greengrass, document)
        return
    with pytest.raises(ClientError) as refused:
        create(greengrass, document)
    answer: Any = refused.value.response
    assert answer["Error"]["Code"] == "ValidationException"
    assert [each["name"] for each in answer["fields"]] == [field]
    assert words in answer["fields"][0]["message"]
    assert words in answer["Error"]["Message"]


def test_what_is_not_yaml_is_refused_with_line_and_column(greengrass: Any) -> None:
    with pytest.raises(ClientError, match="at line 2") as refused:
        greengrass.create_component_version(inlineRecipe=b"RecipeFormatVersion: x\n  ComponentName: [")
    assert dict(refused.value.response)["reason"] == "CANNOT_PARSE"


def test_the_names_of_awss_public_components_are_refused(greengrass: Any, fresh: Callable[[str], str]) -> None:
    with pytest.raises(ClientError, match="one of AWS's public components"):
        create(greengrass, recipe("aws.greengrass.Nucleus"))
    assert create(greengrass, recipe(fresh("aws.greengrass.labs.Mine")))


@pytest.mark.parametrize(
    "uri",
    [
        "s3://<YOUR BUCKET NAME>/artifacts/x/1.0.0/x.zip",
        "s3://YOUR BUCKET NAME/x.zip",
        "s3://[REPLACE]/x.zip",
        "s3://{BUCKET}/x.zip",
        "s3://$BUCKET/x.zip",
        "s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/x.zip",
        "s3://bucket/%zz",
        "s3://bucket",
        "file:///x.zip",
        5,
    ],
)
def test_an_artifact_at_an_impossible_address_is_refused_with_its_place(
    greengrass: Any, fresh: Callable[[str], str], uri: Any
) -> None:
    with pytest.raises(ClientError) as refused:
        create(greengrass, with_artifact(fresh("com.example.Placeholder"), uri))
    answer: Any = refused.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert [each["name"] for each in answer["fields"]] == ["Manifests[0].Artifacts[0].Uri"]


def test_a_version_is_created_once(greengrass: Any, component: Callable[..., Any]) -> None:
    made, name = component()
    words = r"already exists with state: \[DEPLOYABLE\]"
    with pytest.raises(greengrass.exceptions.ConflictException, match=words) as refused:
        create(greengrass, recipe(name, ComponentDescription="another"))
    answer: Any = refused.value.response
    assert (answer["resourceId"], answer["resourceType"]) == (made, "component")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 409


def test_the_same_request_under_the_same_token_happens_once(greengrass: Any, fresh: Callable[[str], str]) -> None:
    document, token = recipe(fresh("com.example.Token")), fresh("token")
    first = create(greengrass, document, clientToken=token)
    again = create(greengrass, document, clientToken=token)
    assert again["creationTimestamp"] == first["creationTimestamp"]
    with pytest.raises(greengrass.exceptions.ConflictException, match="other parameters"):
        create(greengrass, recipe(fresh("com.example.Token")), clientToken=token)


def test_artifacts_are_digested_as_they_are_at_creation(
    greengrass: Any, s3: Any, bucket: str, store: Callable[..., str], fresh: Callable[[str], str]
) -> None:
    uri = store(b"print('hello')", "hello.py")
    made = create(greengrass, with_artifact(fresh("com.example.Artifact"), uri, Unarchive="NONE"))
    s3.put_object(Bucket=bucket, Key=uri.removeprefix(f"s3://{bucket}/"), Body=b"changed since")
    stored = json.loads(greengrass.get_component(arn=made["arn"])["recipe"])
    assert stored["Manifests"][0]["Artifacts"] == [
        {
            "Uri": uri,
            "Unarchive": "NONE",
            "Digest": base64.b64encode(hashlib.sha256(b"print('hello')").digest()).decode(),
            "Algorithm": "SHA-256",
        }
    ]


def test_an_artifact_that_is_not_there_is_refused(greengrass: Any, bucket: str, fresh: Callable[[str], str]) -> None:
    uri, name = f"s3://{bucket}/nothing.zip", fresh("com.example.Missing")
    with pytest.raises(ClientError, match="Specified artifact resource cannot be accessed") as refused:
        create(greengrass, with_artifact(name, uri))
    assert f"{{{uri} = " in refused.value.response["Error"]["Message"]
    assert name not in [each["componentName"] for each in greengrass.list_components()["components"]]


def test_an_artifact_can_be_fetched_by_a_presigned_url(
    greengrass: Any, store: Callable[..., str], fresh: Callable[[str], str]
) -> None:
    made = create(greengrass, with_artifact(fresh("com.example.Fetched"), store(b"bytes", "file.bin")))
    url = greengrass.get_component_version_artifact(arn=made["arn"], artifactName="file.bin")["preSignedUrl"]
    with urllib.request.urlopen(url) as response:
        assert response.read() == b"bytes"
    with pytest.raises(greengrass.exceptions.ResourceNotFoundException):
        greengrass.get_component_version_artifact(arn=made["arn"], artifactName="other.bin")


def test_lists_come_in_pages_the_newest_version_first(greengrass: Any, component: Callable[..., Any]) -> None:
    _, name = component()
    for version in ("1.10.0", "1.9.0"):
        component(name, version)
    pages = greengrass.get_paginator("list_component_versions").paginate(
        arn=arn("greengrass", f"components:{name}"), PaginationConfig={"PageSize": 2}
    )
    assert [[each["componentVersion"] for each in page["componentVersions"]] for page in pages] == [
        ["1.10.0", "1.9.0"],
        ["1.0.0"],
    ]
    listed = {
        each["componentName"]: each
        for page in greengrass.get_paginator("list_components").paginate(PaginationConfig={"PageSize": 1})
        for each in page["components"]
    }
    assert listed[name]["latestVersion"]["componentVersion"] == "1.10.0"
    assert listed[name]["arn"] == arn("greengrass", f"components:{name}")


def test_a_token_is_good_for_its_own_list_only(greengrass: Any) -> None:
    token = greengrass.list_components(scope="PUBLIC", maxResults=1)["nextToken"]
    with pytest.raises(ClientError, match="pagination token is invalid"):
        greengrass.list_components(scope="PRIVATE", nextToken=token)
    with pytest.raises(ClientError, match="pagination token is invalid"):
        greengrass.list_components(nextToken="2")


def test_a_deleted_version_is_gone(greengrass: Any, component: Callable[..., Any]) -> None:
    made, _ = component()
    greengrass.delete_component(arn=made)
    for call in (greengrass.describe_component, greengrass.get_component, greengrass.delete_component):
        with pytest.raises(greengrass.exceptions.ResourceNotFoundException):
            call(arn=made)


def test_tags_can_be_changed_and_read(greengrass: Any, component: Callable[..., Any]) -> None:
    made, _ = component()
    greengrass.tag_resource(resourceArn=made, tags={"a": "1", "b": "2"})
    greengrass.untag_resource(resourceArn=made, tagKeys=["a"])
    assert greengrass.list_tags_for_resource(resourceArn=made)["tags"] == {"b": "2"}
    assert greengrass.describe_component(arn=made)["tags"] == {"b": "2"}
    with pytest.raises(greengrass.exceptions.ResourceNotFoundException):
        greengrass.list_tags_for_resource(resourceArn=arn("greengrass", "components:none:versions:1.0.0"))


@pytest.mark.parametrize(
    ("manifest", "field"),
    [
        ({"Platform": {"os": "/(/"}}, "Manifests[0].Platform.os"),
        ({"Lifecycle": {"Setenv": [1]}}, "Manifests[0].Lifecycle.Setenv"),
        ({"Lifecycle": {"run": {"Script": "x", "Setenv": "X=1"}}}, "Manifests[0].Lifecycle.run.Setenv"),
        ({"Lifecycle": {"run": {"Script": "x", "Timeout": "abc"}}}, "Manifests[0].Lifecycle.run.Timeout"),
        ({"Lifecycle": {"install": {"script": "x", "timeout": -1}}}, "Manifests[0].Lifecycle.install.Timeout"),
        ({"Lifecycle": {"install": {"script": "x", "timeout": 10**400}}}, "Manifests[0].Lifecycle.install.Timeout"),
    ],
)
def test_a_manifest_that_no_device_could_read_is_refused(
    greengrass: Any, fresh: Callable[[str], str], manifest: dict[str, Any], field: str
) -> None:
    with pytest.raises(ClientError) as refused:
        create(greengrass, recipe(fresh("com.example.Bad"), Manifests=[manifest]))
    answer: Any = refused.value.response
    assert [each["name"] for each in answer["fields"]] == [field]


def test_steps_that_no_device_knows_and_times_in_text_are_taken(greengrass: Any, fresh: Callable[[str], str]) -> None:
    lifecycle = {"5": "x", "Setenv": {"A": 1}, "run": {"Script": "x", "Timeout": "7", "Setenv": None}}
    assert create(greengrass, recipe(fresh("com.example.Odd"), Manifests=[{"Lifecycle": lifecycle}]))


@pytest.mark.parametrize("text", [b"[" * 5000, b"ComponentVersion: [", b"\xff", b"", b"a: &a [*a]", b"- a", b"x"])
def test_a_recipe_that_cannot_be_read_is_refused(greengrass: Any, text: bytes) -> None:
    with pytest.raises(ClientError, match="neither YAML nor JSON"):
        greengrass.create_component_version(inlineRecipe=text)
