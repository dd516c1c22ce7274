"""What the workflow says of the device reaches the component and the agent as it was meant: they read it themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from emflow.recipes.configuration import agent_settings, application_configuration
from emflow.workflow import Workflow, load
from emflow_agent.settings import config as of_agent
from emflow_agent.settings.config import Layer
from emflow_edge.settings.config import Settings, settings, unknown_keys
from emflow_schema.configuration import Channels
from emflow_schema.edge_config import Boxes, Capture, Log, Metrics, ModelIO, Publish, Secret, Stream
from emflow_schema.model_facts import ModelFacts, TensorFacts
from emflow_schema.units import DeviceDuration, Interval
from signed_packages import new_key, public_pem

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf"


def read(workflow: Workflow) -> Settings:
    """The configuration as the component takes it on its way through a deployment."""
    config = json.loads(json.dumps({"modelComponentName": "net", **application_configuration(workflow, "1.2.3")}))
    assert unknown_keys(config) == ()
    return settings(config, Path("/assets"), "Core-001")


def texts(value: Any) -> Iterator[Any]:
    """Every value at the ends of a configuration."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)
    else:
        yield value


@pytest.fixture
def with_edge(tmp_path: Path) -> Any:
    """The demo's workflow with another `edge`."""

    def make(**edge: Any) -> Workflow:
        values = yaml.safe_load((WORKFLOWS / "demo.yaml").read_text())
        values["edge"] = {"streams": [{"name": "front", "url": "rtsp://camera/1"}], **edge}
        values["cloud"]["model"]["artifact"] = str(WORKFLOWS / "models" / "scenes.tflite")
        path = tmp_path / "workflow.yaml"
        path.write_text(yaml.safe_dump(values))
        return load(path, root=Path("/"))

    return make


def test_what_the_workflow_leaves_out_is_as_the_component_has_it(with_edge) -> None:
    workflow = with_edge()
    found = read(workflow)
    assert found.streams == (Stream(name="front", url="rtsp://camera/1"),)
    assert (found.model_io, found.publish, found.log, found.metrics) == (
        ModelIO(byte_type="uint8"),
        Publish(),
        Log(),
        Metrics(),
    )
    assert found.capture == Capture()
    # Only what was always there, so that a deployment shows what is special about it.
    assert set(application_configuration(workflow, "1.0.0")["publish"]) == {"topic", "qos"}


def test_a_workflow_that_writes_out_every_default_gives_the_same_configuration(with_edge, demo) -> None:
    short = with_edge(model_io={"labels": str(WORKFLOWS / "models" / "scenes_labels.txt")})
    one, other = (application_configuration(each, "1.0.0") for each in (demo, short))
    assert {**one, "streams": 0} == {**other, "streams": 0}
    assert set(one["streams"][0]) == {"name", "url", "every"}
    assert agent_settings(demo) == agent_settings(short)


def test_every_setting_of_a_stream_arrives(with_edge) -> None:
    given: dict[str, Any] = {
        "name": "front",
        "url": "rtsp://camera/1",
        "every": "5 frames",
        "credentials": {"secret": SECRET},
        "transport": "udp",
        "backend": "gstreamer",
        "pipeline": "rtspsrc location={url} ! decodebin ! appsink",
        "open_timeout": "10s",
        "read_timeout": "1500ms",
        "frozen_after": "5m",
        "black_after": "0s",
    }
    workflow = with_edge(streams=[given])
    (stream,) = read(workflow).streams
    plain = {key: given[key] for key in ("name", "url", "transport", "backend", "pipeline")}
    names = ("open_timeout", "read_timeout", "frozen_after", "black_after")
    times: dict[str, Any] = {name: DeviceDuration(given[name]) for name in names}
    assert stream == Stream(**plain, **times, every=Interval("5 frames"), credentials=Secret(SECRET))
    assert [times[name].seconds for name in names] == [10.0, 1.5, 300.0, 0.0]
    assert (stream.every.seconds, stream.every.frames) == (0.0, 5)
    assert {type(value) for value in texts(application_configuration(workflow, "1.0.0"))} == {str}


def test_certificates_are_a_file_of_the_device(with_edge, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    stream = {"name": "front", "url": "rtsps://camera/1", "ca": str(tmp_path / "ca.pem")}
    assert read(with_edge(streams=[stream])).streams[0].ca == str(tmp_path / "ca.pem")


def test_every_setting_of_the_model_arrives(with_edge) -> None:
    boxes = {"outputs": ["scores", "boxes"], "order": "cxcywh", "units": "pixels", "most": 7, "iou": 0.45}
    found = read(
        with_edge(
            model_io={
                "task": "detection",
                "color": "bgr",
                "resize": "letterbox",
                "margin": 114,
                "mean": [123.675, 116.28, 103.53],
                "std": 127.5,
                "activation": "sigmoid",
                "byte_type": "int8",
                "class_offset": 1,
                "top_k": 5,
                "threshold": 0.6,
                "boxes": boxes,
            }
        )
    ).model_io
    assert found == ModelIO(
        task="detection",
        color="bgr",
        resize="letterbox",
        margin=114,
        mean=Channels((123.675, 116.28, 103.53)),
        std=Channels(127.5),
        activation="sigmoid",
        byte_type="int8",
        class_offset=1,
        top_k=5,
        threshold=0.6,
        boxes=Boxes(("scores", "boxes"), "cxcywh", "pixels", 7, 0.45),
    )
    assert read(with_edge(model_io={"confidence": "workshop"})).model_io.confidence == "workshop"


@pytest.mark.parametrize(("given", "sent"), [("", "uint8"), ("int8", "int8")])
def test_the_type_of_bytes_is_that_of_the_model_file_unless_the_workflow_says_it(with_edge, given, sent) -> None:
    assert read(with_edge(model_io={"byte_type": given})).model_io.byte_type == sent


@pytest.mark.parametrize(
    ("takes", "gives", "sent"),
    [
        (("uint8",), ("int8",), "uint8,int8"),
        (("int8",), ("uint8", "uint8"), "int8,uint8"),
        (("int8",), ("float32", "int8"), "int8"),
        (("uint8",), ("float32",), "uint8"),
        (("float32",), ("int8",), "int8"),
        (("float32",), ("float32",), ""),
        (("uint8",), ("int8", "uint8"), ""),
    ],
)
def test_bytes_of_input_and_outputs_have_the_types_of_the_model_file(
    with_edge, monkeypatch: pytest.MonkeyPatch, takes: tuple[str, ...], gives: tuple[str, ...], sent: str
) -> None:
    facts = ModelFacts(tuple(map(TensorFacts, takes)), tuple(map(TensorFacts, gives)), confidences=False)
    monkeypatch.setattr("emflow.recipes.configuration.model_in_file", lambda *_: facts)
    workflow = with_edge()
    workflow.cloud.model.input_types.clear()
    assert read(workflow).model_io.byte_type == sent


def test_a_threshold_that_is_not_given_is_the_tasks(with_edge) -> None:
    assert read(with_edge(model_io={"task": "detection"})).model_io.least_confidence == 0.5
    assert read(with_edge(model_io={"task": "detection", "threshold": 0})).model_io.least_confidence == 0.0


def test_every_setting_of_publishing_and_watching_arrives(with_edge) -> None:
    publish: dict[str, Any] = {
        "topic": "em/{thing}/{stream}/{model}",
        "qos": 0,
        "status_topic": "em/status/{thing}",
        "metrics_topic": "em/metrics/{model}",
        "on_change": True,
        "every": "10m",
        "threshold": 0.25,
        "mqtt": "5",
        "expiry": "1h",
    }
    found = read(
        with_edge(
            publish=publish,
            capture={"enabled": True, "every": "50 frames"},
            log={"format": "json", "level": "debug"},
            metrics={"every": "5m", "port": 9464},
        )
    )
    filled = {"status_topic": "em/status/Core-001", "metrics_topic": "em/metrics/scenes-224-quant"}
    assert found.publish == Publish(**{**publish, **filled})
    assert (found.publish.every.seconds, found.publish.expiry.seconds) == (600.0, 3600.0)
    assert (found.log, found.metrics.every.seconds, found.metrics.port) == (Log("json", "debug"), 300.0, 9464)
    assert (found.capture.enabled, found.capture.every.frames) == (True, 50)


def test_the_agents_own_settings_arrive_by_the_names_that_it_has(with_edge, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(public_pem(new_key()))
    as_text = f"# of 2027\nvalid-until: 2027-06-30\n{public_pem(new_key())}"
    made = agent_settings(
        with_edge(
            agent={
                "backend_options": {"TVM_TENSORRT_CACHE_DIR": "/var/cache/trt", "TVM_X": "a=b"},
                "database": True,
                "model_deployments": True,
                "open": {
                    "runtime": "onnx",
                    "threads": 3,
                    "delegate": "vx",
                    "delegate_options": {"device": "0", "cache": "on"},
                    "providers": ["VSINPUExecutionProvider a=1 b=2", "XnnpackExecutionProvider"],
                    "accelerator_required": True,
                    "graph_cache": "/var/cache/graphs",
                    "memory_limit": "1.5 GiB",
                    "queue_size": 7,
                    "trial": False,
                    "trust_keys": [str(tmp_path / "key.pem"), as_text],
                    "trust_state": "/var/lib/emflow",
                    "require_signature": True,
                    "socket_mode": "0600",
                    "socket_group": "video",
                    "capture_disk_budget": "2 GiB",
                    "metrics_period": "0s",
                },
            }
        )
    )
    assert {type(value) for value in made.values()} == {str}
    assert (made["DbEnable"], made["DeploymentEnable"]) == ("true", "true")
    found = of_agent.read([Layer("the workflow", made)])
    options = found.runtime
    assert options.dlr_options == {"TVM_TENSORRT_CACHE_DIR": "/var/cache/trt", "TVM_X": "a=b"}
    assert (options.runtime, options.threads, options.delegate) == ("onnx", 3, "vx")
    assert options.delegate_options == {"device": "0", "cache": "on"}
    names = [(provider.name, dict(provider.options)) for provider in options.providers]
    assert names == [("VSINPUExecutionProvider", {"a": "1", "b": "2"}), ("XnnpackExecutionProvider", {})]
    assert (options.accelerator_required, options.graph_cache) == (True, "/var/cache/graphs")
    assert (found.memory_limit, found.queue_size, found.probe) == (3 << 29, 7, False)
    assert (found.socket_mode, found.socket_group, found.capture.disk_budget) == (0o600, "video", 2 << 30)
    assert found.metrics_period == 0
    assert [str(key.valid_until or "") for key in found.trust.keys] == ["", "2027-06-30 23:59:59+00:00"]
    assert [note for note in found.notes if "is not a setting" in note] == []


def test_an_agent_without_special_settings_gets_the_workshops_twelve(demo: Workflow) -> None:
    assert len(agent_settings(demo)) == 12
    plain = of_agent.read([Layer("the workflow", agent_settings(demo))])
    bare = of_agent.read([])
    assert (plain.runtime, plain.socket_mode, plain.socket_group) == (bare.runtime, bare.socket_mode, bare.socket_group)
    assert (plain.capture.disk_budget, plain.metrics_period) == (bare.capture.disk_budget, bare.metrics_period)
    assert (plain.memory_limit, plain.queue_size, plain.probe) == (bare.memory_limit, bare.queue_size, bare.probe)
