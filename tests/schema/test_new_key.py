"""A key that is added to a stream is one field: schemas, reference, and both sides' checks follow from it."""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from emflow.workflow.json_schema import edge_config_schema, workflow_schema
from emflow.workflow.model import Edge, Workflow
from emflow.workflow.rules.walk import walk
from emflow.workflow.schema_docs import keys
from emflow_schema.configuration import from_configuration, limit, to_configuration
from emflow_schema.edge_config import EdgeConfiguration, Stream
from emflow_schema.errors import ConfigProblem
from emflow_schema.key import Key
from emflow_schema.units import DeviceDuration

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class WithPause(Stream):
    """A stream with two keys more."""

    night_pause: Annotated[
        DeviceDuration, Key("Pause at night", "How long nothing is read at night.", ("8h",), low=60, high=86_400)
    ] = DeviceDuration("1h")
    lens: Annotated[
        str | None,
        Key("Lens", "What is mounted.", ("wide",), pattern="[a-z]+", message="Small letters."),
    ] = None


def with_streams(kind: type, field: str = "streams") -> Any:
    """A copy of a section's class whose streams are such."""
    return dataclasses.make_dataclass(
        f"New{kind.__name__}",
        [(field, Annotated[tuple[WithPause, ...], Key("Cameras", "Some.", ([],))], dataclasses.field(default=()))],
        bases=(kind,),
        frozen=True,
        kw_only=True,
    )


NEW_EDGE = with_streams(Edge)
NEW_WORKFLOW = dataclasses.make_dataclass(
    "NewWorkflow",
    [("edge", Annotated[NEW_EDGE, Key("Device side", "All of it.", ({},))])],
    bases=(Workflow,),
    frozen=True,
    kw_only=True,
)
NEW_CONFIGURATION = with_streams(EdgeConfiguration)
STREAM = {"name": "front", "url": "rtsp://camera/1"}


def test_it_is_in_the_schema_of_workflows_and_checked_there() -> None:
    schema = workflow_schema(NEW_WORKFLOW)
    items = schema["properties"]["edge"]["properties"]["streams"]["items"]
    assert items["properties"]["night_pause"]["description"] == "How long nothing is read at night."
    assert items["properties"]["night_pause"]["default"] == "1h"
    validator = Draft202012Validator({**items, "$defs": schema["$defs"]})
    assert validator.is_valid({**STREAM, "night_pause": "8h", "lens": "wide"})
    assert not validator.is_valid({**STREAM, "night_pause": "8 hours"})
    assert not validator.is_valid({**STREAM, "lens": "WIDE"})
    assert not Draft202012Validator(workflow_schema()["properties"]["edge"]["properties"]["streams"]["items"]).is_valid(
        {**STREAM, "lens": "wide"}
    )


def test_it_is_in_the_reference() -> None:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "tools" / "make_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.reference(keys(workflow_schema(NEW_WORKFLOW)))
    assert "`edge.streams[].night_pause`" in made
    assert "**Pause at night.** How long nothing is read at night." in made
    assert "`edge.streams[].night_pause`" not in module.reference(keys())


@pytest.mark.parametrize(("text", "wrong"), [("30s", "has to lie between 60s and 86400s"), ("8h", "")])
def test_the_rule_for_durations_knows_its_limits(text: str, wrong: str) -> None:
    values = {"streams": [{**STREAM, "night_pause": text}]}
    edge = msgspec.convert(values, NEW_EDGE, dec_hook=lambda kind, value: kind(value))
    found = {place: limit(value, key) for place, value, key in walk(edge) if isinstance(value, DeviceDuration)}
    assert found["streams", 0, "night_pause"] == wrong


def test_host_writes_it_and_device_reads_it() -> None:
    stream = WithPause("front", "rtsp://camera/1", night_pause=DeviceDuration("8h"), lens="wide")
    written = to_configuration(stream)
    assert (written["nightPause"], written["lens"]) == ("8h", "wide")
    config = {"modelName": "m", "modelComponentName": "c", "streams": [written]}
    read = from_configuration(NEW_CONFIGURATION, config, "")
    assert read.streams == (stream,)
    assert read.streams[0].night_pause.seconds == 8 * 3600
    assert "nightPause" not in to_configuration(WithPause("front", "rtsp://camera/1"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"nightPause": "8"}, "streams[0].nightPause: '8' is no duration"),
        ({"nightPause": "30s"}, "streams[0].nightPause: '30s' has to lie between 60s and 86400s"),
        ({"lens": "WIDE"}, "streams[0].lens: 'WIDE' is not valid: Small letters."),
    ],
)
def test_the_device_checks_it(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigProblem) as caught:
        from_configuration(WithPause, {**STREAM, **given}, "streams[0]")
    assert str(caught.value).startswith(message)


def test_it_is_in_the_schema_of_the_devices_configuration() -> None:
    schema = edge_config_schema(NEW_CONFIGURATION)
    pause = schema["properties"]["streams"]["items"]["properties"]["nightPause"]
    assert (pause["title"], pause["default"]) == ("Pause at night", "1h")
