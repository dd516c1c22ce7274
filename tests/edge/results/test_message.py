import dataclasses
import json
from importlib import resources

import jsonschema

from emflow_edge.outcome import Box, ClassScore, Detection, Outcome
from emflow_edge.results.message import Result

RESULT = Result(
    stream="front",
    sequence=41,
    captured_at=1767323045.678,
    captured_monotonic=500.0,
    predict_ms=19.7749,
    model_name="mobilenetv2-224-10-quant",
    thing="iMX8MPEVK-Core-001",
    version="1.0.3",
    outcome=Outcome((ClassScore(950, "orange", 0.81571), ClassScore(-1, None, 0.0000049))),
)


def test_a_message_has_the_workshops_four_keys_as_text_and_ours_beside_them() -> None:
    assert json.loads(RESULT.message(now=500.0452)) == {
        "index": "950",
        "confidence": "0.8157",
        "performance": "19.77",
        "model_name": "mobilenetv2-224-10-quant",
        "label": "orange",
        "top": [
            {"index": 950, "label": "orange", "confidence": 0.8157},
            {"index": -1, "label": None, "confidence": 0.0},
        ],
        "stream": "front",
        "frame_time": "2026-01-02T03:04:05.678Z",
        "frame_age_ms": 45.2,
        "sequence": 41,
        "thing": "iMX8MPEVK-Core-001",
        "version": "1.0.3",
    }


def test_a_message_names_the_start_of_the_process_that_made_it() -> None:
    message = json.loads(dataclasses.replace(RESULT, run="5f2b9c01d7e4").message(now=500))
    assert (message["run"], message["sequence"]) == ("5f2b9c01d7e4", 41)


def test_a_message_is_what_its_schema_says() -> None:
    schema = json.loads((resources.files("emflow_schema") / "result.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(RESULT.message(now=500.322)))


def test_an_age_is_never_negative() -> None:
    assert json.loads(RESULT.message(now=499.9))["frame_age_ms"] == 0


def test_a_detectors_message_says_what_was_found_and_where_and_that_nothing_was() -> None:
    thing = Detection(17, "dog", 0.91239, Box(0.25, 0.1, 0.50004, 0.6))
    for outcome in (Outcome((ClassScore(17, "dog", 0.91239),), (thing,)), Outcome((), ())):
        message = json.loads(dataclasses.replace(RESULT, outcome=outcome).message(RESULT.captured_monotonic))
        jsonschema.validate(message, json.loads((resources.files("emflow_schema") / "result.schema.json").read_text()))
        box = {"x": 0.25, "y": 0.1, "width": 0.5, "height": 0.6}
        listed = [{"index": 17, "label": "dog", "confidence": 0.9124, "box": box}]
        assert message["detections"] == (listed if outcome.top else [])
        assert (message["index"], message["label"]) == (("17", "dog") if outcome.top else ("-1", None))
