"""Result messages: the schema, what it takes and refuses, and how they are shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import emflow_schema
from emflow.results.message import NotAResult, Result, format_line, read
from emflow_schema.result_message import Box, Class, Detection

WHOLE: dict[str, Any] = {
    "index": "950",
    "confidence": "0.8157",
    "performance": "19.77",
    "model_name": "mobilenetv2-224-10-quant",
    "label": "orange",
    "top": [{"index": 950, "label": "orange", "confidence": 0.8157}, {"index": -1, "label": None, "confidence": 0.1}],
    "stream": "front",
    "frame_time": "2026-01-02T03:04:05.678Z",
    "frame_age_ms": 45.2,
    "sequence": 41,
    "run": "5f2b9c01d7e4",
    "thing": "iMX8MPEVK-Core-001",
    "version": "1.0.0",
}
WORKSHOP = {name: WHOLE[name] for name in ("index", "confidence", "performance", "model_name")}


def encoded(**changes: Any) -> bytes:
    return json.dumps({**WHOLE, **changes}).encode()


def test_a_whole_message_becomes_typed_data() -> None:
    assert read(encoded()) == Result(
        index=950,
        confidence=0.8157,
        predict_ms=19.77,
        model_name="mobilenetv2-224-10-quant",
        label="orange",
        top=(Class(950, "orange", 0.8157), Class(-1, None, 0.1)),
        stream="front",
        frame_time=datetime(2026, 1, 2, 3, 4, 5, 678000, UTC),
        frame_age_ms=45.2,
        sequence=41,
        run="5f2b9c01d7e4",
        thing="iMX8MPEVK-Core-001",
        version="1.0.0",
    )


def test_a_result_keeps_the_message_as_it_came() -> None:
    message = read(encoded(something_new=1))
    assert isinstance(message, Result)
    assert message.payload == encoded(something_new=1)


def test_the_workshops_own_message_is_a_result_too() -> None:
    assert read(json.dumps(WORKSHOP).encode()) == Result(950, 0.8157, 19.77, "mobilenetv2-224-10-quant")


def test_keys_of_a_later_version_do_no_harm() -> None:
    assert isinstance(read(encoded(something_new=1)), Result)


@pytest.mark.parametrize("name", WORKSHOP)
def test_each_of_the_workshops_keys_is_needed(name: str) -> None:
    message = read(json.dumps({key: value for key, value in WHOLE.items() if key != name}).encode())
    assert isinstance(message, NotAResult)
    assert name in message.reason


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"index": 950}, "index"),
        ({"index": "orange"}, "index"),
        ({"confidence": "1.4"}, "confidence"),
        ({"confidence": 0.8}, "confidence"),
        ({"performance": "-3.0"}, "performance"),
        ({"label": 3}, "label"),
        ({"top": []}, "top"),
        ({"top": [{"index": 1, "label": "a", "confidence": 3}]}, "top[0].confidence"),
        ({"frame_time": "yesterday"}, "frame_time"),
        ({"frame_age_ms": -1}, "frame_age_ms"),
        ({"sequence": 1.5}, "sequence"),
    ],
)
def test_what_the_schema_refuses_is_reported_with_its_position(changes: dict[str, Any], place: str) -> None:
    message = read(encoded(**changes))
    assert isinstance(message, NotAResult)
    assert message.reason.startswith(f"{place}: ")
    assert message.payload == encoded(**changes)


@pytest.mark.parametrize("payload", [b"", b"hello", b"\xff\xfe", b"[]", b"null", b'{"index": ', b'"950"', b"NaN"])
def test_anything_else_is_reported_and_not_a_crash(payload: bytes) -> None:
    message = read(payload)
    assert isinstance(message, NotAResult)
    assert message.reason


def test_a_day_that_no_calendar_has_is_reported() -> None:
    assert isinstance(read(encoded(frame_time="2026-02-30T00:00:00.000Z")), NotAResult)


def test_the_schema_is_sound_and_explains_every_key_with_an_example() -> None:
    schema = emflow_schema.load("result")
    Draft202012Validator.check_schema(schema)

    def properties(part: dict[str, Any]) -> list[dict[str, Any]]:
        own = list(part.get("properties", {}).values()) + ([part["items"]] if "items" in part else [])
        return own + [below for one in own for below in properties(one)]

    for part in [schema, *properties(schema)]:
        assert part["title"]
        assert part["description"]
        for example in part["examples"]:
            Draft202012Validator(part).validate(example)
    assert schema["required"] == list(WORKSHOP)
    assert schema["properties"].keys() == WHOLE.keys() | {"detections"}


def test_an_unknown_schema_is_not_found() -> None:
    with pytest.raises(FileNotFoundError):
        emflow_schema.text("nothing")


def test_a_result_is_one_line() -> None:
    assert format_line(read(encoded())) == (
        "03:04:05.678Z  front  orange                81.6 %  predict  19.8 ms  age   45 ms"
    )


def test_a_line_leaves_out_what_was_not_said() -> None:
    assert format_line(read(json.dumps(WORKSHOP).encode())) == "class 950             81.6 %  predict  19.8 ms"


def test_a_message_that_is_not_a_result_is_one_line_too() -> None:
    shown = format_line(read(b"hello\nworld" + 100 * b"!"))
    assert shown.startswith("not a result (it is not JSON): hello\\nworld!!!")
    assert shown.endswith("!…")
    assert len(shown) < 100


def test_nothing_in_a_message_steers_the_terminal() -> None:
    shown = format_line(read(encoded(label="\x1b[2Jorange\n", stream="fr\ront")))
    assert shown.isprintable()
    assert "orange" in shown


def test_a_detectors_message_says_what_was_found_and_where() -> None:
    box = {"x": 0.25, "y": 0.1, "width": 0.5, "height": 0.6}
    thing = {"index": 17, "label": "dog", "confidence": 0.91, "box": box}
    result = read(json.dumps({**WHOLE, "detections": [thing]}).encode())
    assert isinstance(result, Result)
    assert result.detections == (Detection(17, "dog", 0.91, Box(0.25, 0.1, 0.5, 0.6)),)


def test_a_detector_that_found_nothing_says_so() -> None:
    nothing = {**WHOLE, "index": "-1", "confidence": "0.0000", "label": None, "top": [], "detections": []}
    result = read(json.dumps(nothing).encode())
    assert isinstance(result, Result)
    assert (result.index, result.top, result.detections) == (-1, (), ())
