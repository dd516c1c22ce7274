"""The application component's recipe: what a device goes by, and that odd texts do no harm."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from emflow.problems import Problem
from emflow.recipes import render
from emflow.recipes.render import application_recipe, as_json, plain, quoted
from emflow.workflow import Workflow
from emflow.workflow.model import Publish, Secret, Target
from emflow_emulator.core.ipc.access import MQTT_PROXY, allowed

URI = "s3://my-unique-prefix-gg-components/artifacts/x/abc/emflow-edge.zip"


def test_the_recipe_says_all_that_greengrass_needs(workshop: Workflow) -> None:
    recipe = yaml.safe_load(application_recipe(workshop, "1.2.3", URI))
    name, model = "aws.sagemaker.edgeManagerClientCameraIntegration", "mobilenetv2_224_quantized_model_component"
    assert recipe == {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": "1.2.3",
        "ComponentType": "aws.greengrass.generic",
        "ComponentDescription": "Captures RTSP, infers through the Edge Manager agent, publishes results over MQTT",
        "ComponentPublisher": "emflow",
        "ComponentDependencies": {
            model: {"VersionRequirement": "=1.0.0", "DependencyType": "HARD"},
            "aws.greengrass.SageMakerEdgeManager": {"VersionRequirement": ">=1.0.0", "DependencyType": "HARD"},
            "aws.greengrass.TokenExchangeService": {"VersionRequirement": ">=2.0.0", "DependencyType": "HARD"},
        },
        "ComponentConfiguration": {
            "DefaultConfiguration": {
                "accessControl": {
                    "aws.greengrass.ipc.mqttproxy": {
                        f"{name}:mqttproxy:1": {
                            "policyDescription": "Publish results, and nothing else",
                            "operations": ["aws.greengrass#PublishToIoTCore"],
                            "resources": ["em/inference"],
                        }
                    }
                }
            }
        },
        "Manifests": [
            {
                "Name": "Linux",
                "Platform": {"os": "linux", "runtime": "*"},
                "Lifecycle": {
                    "run": {
                        "RequiresPrivilege": False,
                        "Script": 'export PYTHONPATH="{artifacts:decompressedPath}/emflow-edge"\n'
                        f'exec python3 -u -m emflow_edge -c "{{kernel:rootPath}}/work/{model}" '
                        '--assets "{artifacts:decompressedPath}/emflow-edge" --work "{work:path}"',
                    }
                },
                "Artifacts": [{"Uri": URI, "Unarchive": "ZIP", "Permission": {"Read": "OWNER", "Execute": "NONE"}}],
            }
        ],
    }


@pytest.mark.parametrize(
    "text",
    [
        "on", "1.0", "", "a: b # c", 'say "hello"', "it's", "{{ 7 * 7 }}", "- x", "Zähler für Flaschen 🍾",
        "back\\slash", "two\nlines\n", "tab\tand\x07bell", "next\x85line and \x86", "x" * 500,
    ],
)  # fmt: skip
def test_a_description_comes_through_whatever_it_says(workshop: Workflow, text: str) -> None:
    component = dataclasses.replace(workshop.edge.component, description=text, publisher=text)
    workflow = dataclasses.replace(workshop, edge=dataclasses.replace(workshop.edge, component=component))
    recipe = yaml.safe_load(application_recipe(workflow, "1.0.0", URI))
    assert (recipe["ComponentDescription"], recipe["ComponentPublisher"]) == (text, text)


def test_only_the_topic_that_is_published_is_granted(changed) -> None:
    recipe = yaml.safe_load(application_recipe(changed(("topic: em/inference", "topic: hall/3")), "1.0.0", URI))
    (policies,) = recipe["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"].values()
    assert [policy["resources"] for policy in policies.values()] == [["hall/3"]]


@pytest.mark.parametrize(
    ("there", "instead", "why"),
    [
        ("{{ topic | quoted }}", '"*"', "lets it publish to every topic"),
        ("{{ topic | quoted }}", '"other"', "does not let it use em/inference"),
        ("{{ version | quoted }}", '"9.9.9"', "is '9.9.9' and has to be '1.0.0'"),
        ("{{ artifact.uri | quoted }}", '"s3://other/zip.zip"', f"does not name {URI}"),
        ('runtime: "*"', "architecture: amd64", "has none for linux aarch64"),
    ],
)
def test_a_template_with_an_error_does_not_get_out(
    workshop: Workflow, monkeypatch: pytest.MonkeyPatch, there: str, instead: str, why: str
) -> None:
    text = render._built_in()
    assert there in text
    monkeypatch.setattr(render, "_built_in", lambda: text.replace(there, instead))
    with pytest.raises(Problem, match=re.escape(why)):
        application_recipe(workshop, "1.0.0", URI)


def test_a_template_of_ones_own_stands_in_for_the_built_in_one(demo: Workflow, tmp_path: Path) -> None:
    text = render._built_in().replace("exec python3", "export NPU=1\n          exec python3")
    (tmp_path / "mine.j2").write_text(text)
    component = dataclasses.replace(demo.edge.component, recipe=str(tmp_path / "mine.j2"))
    workflow = dataclasses.replace(demo, root="/", edge=dataclasses.replace(demo.edge, component=component))
    built_in, mine = (yaml.safe_load(application_recipe(each, "1.0.0", URI)) for each in (demo, workflow))
    script = mine["Manifests"][0]["Lifecycle"]["run"].pop("Script")
    assert "export NPU=1\n" in script
    del built_in["Manifests"][0]["Lifecycle"]["run"]["Script"]
    assert mine == built_in


def test_a_missing_template_is_reported_with_its_key_and_path(demo: Workflow) -> None:
    component = dataclasses.replace(demo.edge.component, recipe="none.j2")
    workflow = dataclasses.replace(demo, edge=dataclasses.replace(demo.edge, component=component))
    with pytest.raises(Problem, match=r"workflows/none.j2: edge.component.recipe: there is no such file"):
        application_recipe(workflow, "1.0.0", URI)


def test_a_camera_whose_credentials_are_a_secret_may_read_that_secret_and_no_other(demo: Workflow) -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf"
    stream = dataclasses.replace(demo.edge.streams[0], credentials=Secret(secret=arn))
    workflow = dataclasses.replace(demo, edge=dataclasses.replace(demo.edge, streams=(stream, stream)))
    recipe = yaml.safe_load(application_recipe(workflow, "1.0.0", URI))
    assert recipe["ComponentDependencies"]["aws.greengrass.SecretManager"]["DependencyType"] == "HARD"
    control = recipe["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"]
    (policy,) = control["aws.greengrass.SecretManager"].values()
    assert (policy["operations"], policy["resources"]) == (["aws.greengrass#GetSecretValue"], [arn])
    assert len(control) == 2


def publishing(workflow: Workflow, publish: Publish, target: Target, *names: str) -> Mapping[str, Any]:
    """The configuration in the recipe of a workflow with these topics, target and streams."""
    streams = tuple(dataclasses.replace(workflow.edge.streams[0], name=name) for name in names)
    deployment = dataclasses.replace(workflow.cloud.deployment, target=target)
    workflow = dataclasses.replace(
        workflow,
        edge=dataclasses.replace(workflow.edge, publish=publish, streams=streams),
        cloud=dataclasses.replace(workflow.cloud, deployment=deployment),
    )
    recipe = yaml.safe_load(application_recipe(workflow, "1.0.0", URI))
    return recipe["ComponentConfiguration"]["DefaultConfiguration"]


def resources(configuration: Mapping[str, Any]) -> list[str]:
    (policy,) = configuration["accessControl"][MQTT_PROXY].values()
    assert policy["operations"] == ["aws.greengrass#PublishToIoTCore"]
    return policy["resources"]


TEMPLATES = Publish(topic="em/{thing}/{stream}/{model}", status_topic="em/status/{thing}", metrics_topic="em/metrics")


def test_the_component_may_publish_to_the_topics_of_its_streams_and_nowhere_else(demo: Workflow) -> None:
    configuration = publishing(demo, TEMPLATES, Target(thing="Core-7"), "front", "side")
    model = demo.cloud.model.name
    topics = [f"em/Core-7/front/{model}", f"em/Core-7/side/{model}", "em/status/Core-7", "em/metrics"]
    assert resources(configuration) == topics


def test_for_a_thing_group_each_device_may_publish_under_its_own_name_only(demo: Workflow) -> None:
    configuration = publishing(demo, TEMPLATES, Target(thing_group="hall-3"), "front")
    assert resources(configuration)[0] == f"em/{{iot:thingName}}/front/{demo.cloud.model.name}"

    def may(topic: str, operation: str = "aws.greengrass#PublishToIoTCore") -> bool:
        return allowed(configuration, MQTT_PROXY, operation, topic, "Core-7")

    assert may("em/status/Core-7")
    assert not may("em/status/Core-8")
    assert not may("em/status/Core-7", "aws.greengrass#SubscribeToIoTCore")


def test_one_topic_for_all_streams_is_granted_once(demo: Workflow) -> None:
    configuration = publishing(demo, Publish(topic="em/x", metrics_topic="em/x"), Target(thing="Core-7"), "a", "b")
    assert resources(configuration) == ["em/x"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_as_json_or_quoted_is_the_same_text_to_yaml(text: str) -> None:
    for written in (as_json([text]), f"[{quoted(text)}]", f"[{plain(text)}]"):
        assert yaml.safe_load(written) == [text]
        assert len(written.splitlines()) == 1
