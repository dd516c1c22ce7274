"""What the host writes into a configuration is what the device reads, whatever the nucleus makes of numbers between."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import emflow_schema
from emflow_schema.configuration import Channels, from_configuration, to_configuration
from emflow_schema.edge_config import Boxes, Capture, Log, Metrics, ModelIO, Publish, Secret, Stream
from emflow_schema.errors import ConfigProblem
from emflow_schema.key import Shape, fields
from emflow_schema.units import DeviceDuration, Duration, Interval

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf"
SECTIONS = (Stream, Boxes, ModelIO, Publish, Capture, Log, Metrics)


def values(shape: Shape, name: str) -> st.SearchStrategy[Any]:
    """Values that a key may have."""
    low, high = shape.key.low, shape.key.high
    made: st.SearchStrategy[Any]
    if shape.section is Secret:
        made = st.just(Secret(ARN))
    elif shape.section:
        made = sections(shape.section)
    elif shape.choices:
        made = st.sampled_from(shape.choices)
    elif shape.items:
        of_rows = "box" in shape.items.choices
        several = [("boxes", "scores"), ("scores", "classes", "boxes", "count")]
        made = st.sampled_from([(), *([("box", "scores"), ("image", "class", "score", "box")] if of_rows else several)])
    elif shape.kind is bool:
        made = st.booleans()
    elif shape.kind is int:
        made = st.integers(int(low or 0), int(high or 0))
    elif shape.kind is float:
        made = st.floats(low, high)
    elif shape.is_a(Channels):
        number = st.floats(0.001, 1e6)
        made = st.one_of(number, st.lists(number, min_size=3, max_size=3)).map(Channels)
    elif shape.is_a(Interval):
        made = st.sampled_from(["5 frames", "1 frame", "0s", "250ms", "1.5h"]).map(Interval)
    elif shape.is_a(Duration):
        made = st.sampled_from(["1s", "2 m", "36h"]).map(DeviceDuration)
    else:
        made = st.just({"url": "rtsp://u:p/w@[::1]:554/a b", "pipeline": "imx8mp"}.get(name, "/x"))
    return st.none() | made if shape.optional else made


def sections(kind: type) -> st.SearchStrategy[Any]:
    keys = fields(kind)
    return st.fixed_dictionaries({key.name: values(key.shape, key.name) for key in keys}).map(lambda all_: kind(**all_))


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_section_arrives_as_it_was_sent(kind: type) -> None:
    schema = emflow_schema.load("edge-config")
    names = {"ModelIO": "modelIO", "Boxes": "", "Stream": "streams"}
    wire = names.get(kind.__name__, kind.__name__.lower())
    node = schema["properties"].get(wire)
    validator = Draft202012Validator({**node.get("items", node), "$defs": schema["$defs"]}) if node else None

    @given(sections(kind))
    def arrives(section: Any) -> None:
        written = json.loads(json.dumps(to_configuration(section)))
        if [fault for fault in getattr(section, "faults", tuple)() if not fault.tolerated]:
            with pytest.raises(ConfigProblem):
                from_configuration(kind, written, "here")
            return
        assert from_configuration(kind, written, "here") == section
        assert validator is None or list(validator.iter_errors(written)) == []

    arrives()


@given(sections(ModelIO))
def test_numbers_may_come_as_floats_and_true_as_itself(section: ModelIO) -> None:
    """As the classic nucleus hands numbers on."""
    written = to_configuration(section)
    for name in ("margin", "classOffset", "topK"):
        if name in written:
            written[name] = float(written[name])
    assert from_configuration(ModelIO, written, "modelIO") == section


def test_only_what_is_special_is_written() -> None:
    assert to_configuration(Stream("front", "rtsp://camera/1")) == {
        "name": "front",
        "url": "rtsp://camera/1",
        "every": "1s",
    }
    assert to_configuration(Publish()) == {"topic": "em/inference", "qos": "1"}
    assert to_configuration(Log()) == {}
    assert to_configuration(ModelIO(mean=Channels(127.5), std=Channels([1, 2.5, 3]))) == {
        **to_configuration(ModelIO()),
        "mean": "127.5",
        "std": "1,2.5,3",
    }


def test_no_message_repeats_what_may_be_a_password() -> None:
    secret = {"url": "hunter2", "pipeline": "hunter2", "credentials": {"secret": "hunter2 x"}}
    for key, value in secret.items():
        with pytest.raises(ConfigProblem) as caught:
            from_configuration(Stream, {"name": "a", "url": "rtsp://camera/1", key: value}, "streams[0]")
        assert str(caught.value).startswith(f"streams[0].{key}")
        assert "hunter2" not in str(caught.value)
