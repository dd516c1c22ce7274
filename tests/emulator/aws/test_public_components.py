"""AWS's own components are known by name, with recipes that a device can run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from emulator.aws.pieces import arn

EDGE_MANAGER = "aws.greengrass.SageMakerEdgeManager"


def test_they_are_listed_with_their_versions(greengrass: Any) -> None:
    listed = {each["componentName"]: each for each in greengrass.list_components(scope="PUBLIC")["components"]}
    assert {
        "aws.greengrass.Nucleus",
        "aws.greengrass.Cli",
        "aws.greengrass.TokenExchangeService",
        EDGE_MANAGER,
    } <= listed.keys()
    nucleus = listed["aws.greengrass.Nucleus"]
    assert nucleus["arn"] == arn("greengrass", "components:aws.greengrass.Nucleus", account="aws")
    versions = greengrass.list_component_versions(arn=nucleus["arn"])["componentVersions"]
    assert "2.12.6" in [each["componentVersion"] for each in versions]
    described = greengrass.describe_component(arn=versions[0]["arn"])
    assert described["publisher"] == "AWS"
    assert described["status"]["componentState"] == "DEPLOYABLE"


def test_edge_manager_is_answered_by_our_agent_with_the_documented_settings(greengrass: Any) -> None:
    versions = greengrass.list_component_versions(arn=arn("greengrass", f"components:{EDGE_MANAGER}", account="aws"))
    recipe = json.loads(greengrass.get_component(arn=versions["componentVersions"][0]["arn"])["recipe"])
    settings = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    assert settings["UnixSocketName"] == "/tmp/aws.greengrass.SageMakerEdgeManager.sock"
    assert settings["CaptureDataBufferSize"] == "30"
    assert all(isinstance(value, str) for value in settings.values())
    # Settings are read over IPC; in a script they would be a part of it.
    assert recipe["Manifests"][0]["Lifecycle"]["run"]["Script"] == (
        "exec python3 -u -m emflow_agent --greengrass --clean-stale-socket"
    )
    needs = recipe["ComponentDependencies"]
    assert needs["aws.greengrass.TokenExchangeService"]["DependencyType"] == "HARD"
    assert needs["aws.greengrass.Nucleus"]["DependencyType"] == "SOFT"


def test_they_cannot_be_deleted(greengrass: Any) -> None:
    public = arn("greengrass", "components:aws.greengrass.Nucleus:versions:2.12.6", account="aws")
    with pytest.raises(ClientError, match="AccessDenied"):
        greengrass.delete_component(arn=public)
    assert greengrass.describe_component(arn=public)["componentName"] == "aws.greengrass.Nucleus"
