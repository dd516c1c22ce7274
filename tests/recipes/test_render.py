"""The application component's recipe: what a device goes by, and that odd texts do no harm."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

import emflow.recipes
from emflow.problems import Problem
from emflow.recipes.render import application_recipe
from emflow.workflow import Workflow

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
                        '--assets "{artifacts:decompressedPath}/emflow-edge"',
                    }
                },
                "Artifacts": [{"URI": URI, "Unarchive": "ZIP", "Permission": {"Read": "OWNER", "Execute": "NONE"}}],
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


def test_a_template_that_forgot_the_topic_does_not_get_out(
    workshop: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emflow.recipes import render

    template = Path(emflow.recipes.__file__).parent / "templates" / render.TEMPLATE
    environment = render._environment().overlay()
    from jinja2 import DictLoader

    environment.loader = DictLoader({render.TEMPLATE: template.read_text().replace("{{ topic | quoted }}", '"*"')})
    monkeypatch.setattr(render, "_environment", lambda: environment)
    with pytest.raises(Problem, match="comes out with another topics"):
        application_recipe(workshop, "1.0.0", URI)
