"""The example workflows: right as they are, complete, and the workshop to the letter."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import emflow_schema
from emflow.workflow import load
from emflow.workflow.source.document import read

WORKFLOWS = Path(__file__).parents[2] / "workflows"
EXAMPLES = sorted(WORKFLOWS.glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_right_as_it_is(path: Path) -> None:
    assert load(path).metadata.name == path.stem


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_editor_finds_the_schema_and_no_fault_before_variables_are_filled_in(path: Path) -> None:
    header = path.read_text().splitlines()[0]
    match = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", header)
    assert match
    assert (path.parent / match[1]).resolve().name == "workflow.schema.json"
    assert (path.parent / match[1]).is_file()
    assert list(Draft202012Validator(emflow_schema.load("workflow")).iter_errors(read(path).value)) == []


def keys(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, node in schema.get("properties", {}).items():
        yield (*path, name)
        yield from keys(node.get("items", node), (*path, name))


def test_the_demo_shows_every_key() -> None:
    document = read(WORKFLOWS / "demo.yaml")
    shown = {tuple(step for step in place if isinstance(step, str)) for place in document.keys}
    commented = {
        ("imports",),
        ("edge", "streams", "credentials"),
        ("edge", "streams", "credentials", "secret"),
        ("edge", "streams", "pipeline"),
        ("edge", "streams", "ca"),
        ("edge", "board"),
        ("aws", "profile"),
        ("cloud", "role", "from_alias"),
        ("cloud", "fleet", "devices_file"),
        ("cloud", "fleet", "thing_group"),
        ("cloud", "deployment", "target", "thing_group"),
        ("edge", "component", "recipe"),
    }
    hidden = {key for key in keys(emflow_schema.load("workflow")) if key not in shown}
    elsewhere = {key for key in hidden if key[0] == "components"}  # workflows/own-component.yaml
    shortened = {("cloud", "deployment", "rollout"), ("cloud", "deployment", "settings")}
    elsewhere |= {key for key in hidden if key[:2] == ("edge", "board") and len(key) > 2}  # docs/board.md
    assert {key for key in hidden - elsewhere if key[:3] not in shortened} == commented
    text = (WORKFLOWS / "demo.yaml").read_text()
    for key in (
        "profile",
        "from_alias",
        "devices_file",
        "thing_group",
        "rollout",
        "settings",
        "recipe",
        "components",
        "credentials",
        "pipeline",
        "ca",
        "board",
        "imports",
    ):
        assert f"# {key}:" in text
    assert "thing_group: …" in text


def test_the_workshops_names_and_settings_are_all_there() -> None:
    workflow = load(WORKFLOWS / "imx8mplus-mobilenetv2.yaml")
    cloud, edge = workflow.cloud, workflow.edge
    assert cloud.buckets.inference_results.name == "my-unique-prefix-sagemaker-inference-results"
    assert cloud.buckets.components.name == "my-unique-prefix-gg-components"
    assert (cloud.role.name, cloud.role.alias) == ("SageMaker-IoTRole", "SageMakerEdge-greengrassv2fleet")
    assert (cloud.fleet.name, cloud.fleet.devices) == ("greengrassv2fleet", ("iMX8MPEVK-Core-001",))
    assert (cloud.model.name, cloud.model.version) == ("mobilenetv2-224-10-quant", "1.0")
    assert (cloud.model.framework, cloud.model.inputs) == ("TFLITE", {"input": (1, 224, 224, 3)})
    assert (cloud.compile.job, cloud.compile.target_device) == ("mobilenetv2-Quantized-model", "imx8mplus")
    assert cloud.package.job == "imx8mplus-mobilenetv2-packaging-001"
    assert cloud.package.component.name == "mobilenetv2_224_quantized_model_component"
    assert cloud.package.component.version == "1.0.0"
    assert cloud.package.component.description == "Packaged Mobilenetv2 uint8 quantized model"
    assert cloud.deployment.name == "Deployment for ML using EM"
    assert cloud.deployment.target.arn_suffix == "thing/iMX8MPEVK-Core-001"
    assert edge.component.name == "aws.sagemaker.edgeManagerClientCameraIntegration"
    assert edge.agent.socket == "/tmp/sagemaker_edge_agent_example.sock"
    assert (edge.publish.topic, edge.streams[0].every, edge.model_io.class_offset) == ("em/inference", "1s", 1)


def test_the_workshop_can_be_pointed_at_other_things_from_the_command_line() -> None:
    given = {"prefix": "acme", "thing": "Core-7", "camera": "rtsp://cam/1", "model_archive": "m.tflite", "labels": "l"}
    workflow = load(WORKFLOWS / "imx8mplus-mobilenetv2.yaml", given)
    assert workflow.cloud.buckets.components.name == "acme-gg-components"
    assert workflow.cloud.fleet.devices == ("Core-7",)
    assert workflow.cloud.deployment.target.thing == "Core-7"
    assert workflow.edge.streams[0].url == "rtsp://cam/1"
    assert (workflow.cloud.model.artifact, workflow.edge.model_io.labels) == ("m.tflite", "l")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_what_an_example_spells_out_as_the_default_is_the_default(path: Path, tmp_path: Path) -> None:
    """Taking out everything that says what the default says changes nothing but the vars."""
    schema, document = emflow_schema.load("workflow"), read(path)
    short = copy.deepcopy(document.value)
    removed = strip(schema, short)
    assert removed > 5
    import yaml

    (tmp_path / "short.yaml").write_text(yaml.safe_dump(short, sort_keys=False))
    whole, stripped = load(path), load(tmp_path / "short.yaml")
    assert (whole.cloud, whole.edge, whole.aws) == (stripped.cloud, stripped.edge, stripped.aws)


def strip(schema: Mapping[str, Any], values: dict[str, Any]) -> int:
    count = 0
    for name, node in schema.get("properties", {}).items():
        if name in values and "default" in node and values[name] == node["default"]:
            del values[name]
            count += 1
        elif isinstance(values.get(name), dict):
            count += strip(node, values[name])
    return count


def test_the_demos_inputs_and_labels_are_its_models() -> None:
    from ai_edge_litert.interpreter import Interpreter

    workflow = load(WORKFLOWS / "demo.yaml")
    interpreter = Interpreter(str(Path(workflow.folder, workflow.cloud.model.artifact)))
    inputs = {tensor["name"]: tuple(tensor["shape"]) for tensor in interpreter.get_input_details()}
    (scores,) = interpreter.get_output_details()
    labels = Path(workflow.folder, str(workflow.edge.model_io.labels)).read_text().splitlines()
    assert inputs == workflow.cloud.model.inputs
    assert len(labels) == scores["shape"][-1] - workflow.edge.model_io.class_offset
