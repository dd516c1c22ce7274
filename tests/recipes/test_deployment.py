"""The deployment: the workshop's settings to the letter, and components as CreateDeployment takes them."""

from __future__ import annotations

import dataclasses
import json

import botocore.session
import pytest
from botocore.validate import ParamValidator

from emflow.recipes.configuration import agent_settings, application_configuration
from emflow.recipes.deployment import deployment_components
from emflow.workflow import Workflow
from emflow.workflow.model import OwnComponent, Secret

APPLICATION = "aws.sagemaker.edgeManagerClientCameraIntegration"


def test_the_agents_twelve_settings_are_the_workshops(workshop: Workflow) -> None:
    assert agent_settings(workshop) == {
        "CaptureDataPeriodicUpload": "false",
        "CaptureDataPeriodicUploadPeriodSeconds": "8",
        "DeviceFleetName": "greengrassv2fleet",
        "BucketName": "my-unique-prefix-sagemaker-inference-results",
        "CaptureDataBase64EmbedLimit": "3072",
        "CaptureDataPushPeriodSeconds": "4",
        "SagemakerEdgeLogVerbose": "false",
        "CaptureDataBatchSize": "10",
        "CaptureDataDestination": "Cloud",
        "FolderPrefix": "sme-capture",
        "UnixSocketName": "/tmp/sagemaker_edge_agent_example.sock",
        "CaptureDataBufferSize": "30",
    }


def test_the_agents_settings_follow_the_workflow(changed) -> None:
    settings = agent_settings(
        changed(
            ("push_period: 4s", "push_period: 2m"), ("verbose: false", "verbose: true"), ("buffer: 30", "buffer: 99")
        )
    )
    assert settings["CaptureDataPushPeriodSeconds"] == "120"
    assert settings["SagemakerEdgeLogVerbose"] == "true"
    assert settings["CaptureDataBufferSize"] == "99"


def test_captures_to_disk_and_how_often_follow_the_workflow(changed) -> None:
    workflow = changed(
        ("every: 10s ", "every: 50 frames "),
        ("destination: cloud", "destination: disk"),
        ("disk_path: null", "disk_path: /var/lib/captures"),
        ("capture:\n    enabled: false", "capture:\n    enabled: true"),
    )
    settings = agent_settings(workflow)
    assert (settings["CaptureDataDestination"], settings["CaptureDataDiskPath"]) == ("Disk", "/var/lib/captures")
    configuration = application_configuration(workflow, "1.0.0")
    assert configuration["capture"] == {"enabled": "true", "every": "50 frames"}
    assert configuration["captureData"] == "True"


def test_the_applications_configuration_has_no_numbers(workshop: Workflow) -> None:
    assert application_configuration(workshop, "1.0.3") == {
        "modelName": "mobilenetv2-224-10-quant",
        "agentSocket": "/tmp/sagemaker_edge_agent_example.sock",
        "captureData": "False",
        "streams": [{"name": "front", "url": "rtspt://192.168.1.20/stream1", "every": "1s"}],
        "modelIO": {"color": "rgb", "resize": "stretch", "labels": "labels.txt", "classOffset": "1", "topK": "3"},
        "publish": {"topic": "em/inference", "qos": "1"},
        "capture": {"enabled": "false", "every": "10s"},
        "version": "1.0.3",
    }


def test_without_labels_the_configuration_names_none(changed) -> None:
    workflow = changed(("labels: models/scenes_labels.txt", "labels: null"))
    assert "labels" not in application_configuration(workflow, "1.0.0")["modelIO"]


def test_every_component_of_the_workshop_is_deployed_with_its_version(workshop: Workflow) -> None:
    versions = {"aws.greengrass.Nucleus": "2.12.6", "aws.greengrass.SageMakerEdgeManager": "1.3.5"}
    components = deployment_components(workshop, versions, "1.0.3")
    assert {name: component["componentVersion"] for name, component in components.items()} == {
        "aws.greengrass.Nucleus": "2.12.6",
        "aws.greengrass.TokenExchangeService": "latest",
        "aws.greengrass.SageMakerEdgeManager": "1.3.5",
        "mobilenetv2_224_quantized_model_component": "1.0.0",
        APPLICATION: "1.0.3",
    }


def test_what_is_configured_is_reset_first_so_that_nothing_old_stays(workshop: Workflow) -> None:
    components = deployment_components(workshop, {}, "1.0.3")
    updates = {name: c["configurationUpdate"] for name, c in components.items() if "configurationUpdate" in c}
    assert {name: update["reset"] for name, update in updates.items()} == {
        "aws.greengrass.SageMakerEdgeManager": [""],
        APPLICATION: [""],
    }
    assert json.loads(updates["aws.greengrass.SageMakerEdgeManager"]["merge"]) == agent_settings(workshop)
    assert json.loads(updates[APPLICATION]["merge"]) == application_configuration(workshop, "1.0.3")


@pytest.mark.parametrize("fixture", ["workshop", "demo"])
def test_aws_takes_the_components_as_they_are(fixture: str, request: pytest.FixtureRequest) -> None:
    workflow = request.getfixturevalue(fixture)
    shape = (
        botocore.session.get_session().get_service_model("greengrassv2").operation_model("CreateDeployment").input_shape
    )
    given = {
        "targetArn": "arn:aws:iot:us-east-1:123456789012:" + workflow.cloud.deployment.target.arn_suffix,
        "deploymentName": workflow.cloud.deployment.name,
        "components": deployment_components(workflow, {}, "1.0.0"),
    }
    assert shape
    report = ParamValidator().validate(given, shape)
    assert not report.has_errors(), report.generate_report()


def test_a_secret_is_brought_to_the_device_by_reference_and_only_once(demo: Workflow) -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf"
    stream = dataclasses.replace(demo.edge.streams[0], credentials=Secret(secret=arn))
    workflow = dataclasses.replace(demo, edge=dataclasses.replace(demo.edge, streams=(stream, stream)))
    components = deployment_components(workflow, {"aws.greengrass.SecretManager": "2.1.7"}, "1.0.0")
    manager = components["aws.greengrass.SecretManager"]
    assert manager["componentVersion"] == "2.1.7"
    assert json.loads(manager["configurationUpdate"]["merge"]) == {"cloudSecrets": [{"arn": arn}]}
    (first, _) = application_configuration(workflow, "1.0.0")["streams"]
    assert first["credentials"] == {"secret": arn}


def test_without_secrets_nothing_is_said_of_them(demo: Workflow) -> None:
    assert "aws.greengrass.SecretManager" not in deployment_components(demo, {}, "1.0.0")
    assert "credentials" not in application_configuration(demo, "1.0.0")["streams"][0]


def test_components_of_the_users_own_are_deployed_with_their_configuration(demo: Workflow) -> None:
    own = OwnComponent(name="com.example.X", recipe="x.j2", configuration={"every": "5s"})
    components = deployment_components(
        dataclasses.replace(demo, components=(own,)), {"com.example.X": "1.0.7"}, "1.0.0"
    )
    assert components["com.example.X"] == {
        "componentVersion": "1.0.7",
        "configurationUpdate": {"reset": [""], "merge": '{"every": "5s"}'},
    }
