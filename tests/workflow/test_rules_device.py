"""Rules for the model's way in and out, for the agent, for topics, and for the secrets of cameras."""

from __future__ import annotations

from pathlib import Path

import pytest

from emflow.problems import Finding
from emflow.workflow import load
from emflow.workflow.load import check
from emflow.workflow.redaction import masked, redacted

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"
CAPTURE = "  capture:\n"
TARGET = 'target: {thing: "{{ vars.thing }}"}'


def edge(text: str) -> tuple[str, str]:
    return CAPTURE, f"  {text}\n{CAPTURE}"


def warnings(path: Path, code: str) -> list[Finding]:
    return [finding for finding in check(path).warnings if finding.code == code]


def change(path: Path, *changes: tuple[str, str]) -> Path:
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("code", "text", "message"),
    [
        ("EM064", "model_io: {boxes: §{most: 5}}", "only a detector has boxes"),
        ("EM064", "model_io: {task: detection, confidence: §workshop}", "is a classification's"),
        ("EM064", "model_io: {resize: crop, margin: §1}", "crop leaves no margins"),
        ("EM064", "model_io: {task: detection, boxes: {outputs: §[boxes]}}", "boxes and scores at least"),
        ("EM064", "model_io: {task: detection, boxes: {outputs: §[boxes, scores, boxes]}}", "is here twice"),
        ("EM023", "model_io: {mean: §.nan}", "edge.model_io.mean cannot be .nan"),
        ("EM023", "publish: {threshold: §.nan}", "edge.publish.threshold cannot be .nan"),
        ("EM066", "agent: {model_deployments: §true}", "kept in the agent's database"),
        ("EM066", "agent: {open: {require_signature: §true}}", "there is no key"),
        (
            "EM066",
            r'agent: {open: {trust_keys: [§"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]}}',
            "it is a private key; a device must have the public key only",
        ),
        ("EM066", "agent: {open: {delegate_options: §{a: b}}}", "no delegate to have them"),
        ("EM066", "agent: {open: {delegate: xnnpack, accelerator_required: §true}}", "none is named"),
        ("EM066", "agent: {open: {providers: [A, B, §A x=1]}}", "A is here twice"),
        ("EM067", 'publish: {expiry: §1h, mqtt: "3.1.1"}', "MQTT 5 only"),
        ("EM060", 'publish: {topic: §"em/{Thing}"}', "{Thing} is no place for a name"),
        ("EM060", 'publish: {topic: §"em/{iot:thingName}"}', "{iot:thingName} is no place"),
        ("EM060", 'publish: {topic: §"em/{}"}', "{} is no place for a name"),
        ("EM060", 'publish: {topic: §"em/{thing"}', "'{' cannot stand"),
        ("EM060", 'publish: {topic: §"em/}{thing}"}', "'}' cannot stand"),
        ("EM060", 'publish: {topic: §"em/\\x85"}', "cannot stand in a topic"),
        ("EM060", 'publish: {metrics_topic: §"em/{stream}"}', "{stream} is no place for a name"),
        ("EM060", 'publish: {topic: "em/{thing}", status_topic: §"em/{thing}"}', "the topic of something else"),
        ("EM060", f'publish: {{topic: §"{"e" * 245}/{{thing}}/{{stream}}"}}', "with the longest names"),
        ("EM050", "metrics: {every: §999ms}", "between 1s and 366d"),
        ("EM050", "publish: {expiry: §1500ms}", "whole seconds"),
    ],
)
def test_one_mistake_gives_one_finding_at_its_place(broken, code: str, text: str, message: str) -> None:
    wrong = broken(*edge(text))
    found = [finding for finding in wrong.findings if message in finding.message]
    assert [(each.code, each.line, each.column) for each in found] == [(code, *wrong.marked)]
    assert {each.code for each in wrong.findings} <= {code, "EM067"}


@pytest.mark.parametrize(
    "text",
    [
        "model_io: {task: detection, boxes: {outputs: [scores, boxes, count, classes], iou: 1}}",
        "model_io: {resize: letterbox, margin: 114, mean: [1, 2.5, 3], std: 0.5, threshold: 1}",
        'publish: {topic: "{thing}/{stream}/{model}/x{stream}", status_topic: "{model}", metrics_topic: em/m}',
        'publish: {expiry: 1h, mqtt: "5"}',
        "publish: {expiry: 0s}",
        "agent: {open: {providers: [A x=1 y=2], accelerator_required: true}}",
        "agent: {open: {delegate: /usr/lib/libx.so, delegate_options: {a: b=c}, trust_keys: [/k.pem]}}",
        "log: {format: json}",
    ],
)
def test_what_fits_is_let_through(small: Path, text: str) -> None:
    load(change(small, edge(text)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_io: {mean: §[1, 2]}", "needs 3 items, this has 2"),
        ("model_io: {std: §0}", "has to be above 0"),
        ("model_io: {threshold: §1.5}", "at most 1"),
        ("agent: {backend_options: §{LD_PRELOAD: /x.so}}", "cannot be 'LD_PRELOAD'"),
        ("agent: {backend_options: {TVM_X: §'a;b'}}", "cannot be 'a;b'"),
        ('agent: {open: {socket_mode: §"0466"}}', "cannot be '0466'"),
        ("agent: {open: {memory_limit: §plenty}}", "cannot be 'plenty'"),
        ("agent: {open: {delegate: §npu}}", "cannot be 'npu'"),
        ("agent: {open: {trust_keys: [§'/a,/b']}}", "cannot be '/a,/b'"),
    ],
)
def test_a_value_that_the_device_would_refuse_is_outside_its_limits(broken, text: str, message: str) -> None:
    wrong = broken(*edge(text))
    assert (wrong.finding.code, wrong.place) == ("EM024", wrong.marked)
    assert message in wrong.finding.message


def test_a_detectors_labels_and_offset_are_not_counted_off_against_its_shapes(small: Path, scenes_model: Path) -> None:
    (small.parent / "scenes.tflite").write_bytes(scenes_model.read_bytes())
    (small.parent / "labels.txt").write_text("person\ncat\n")
    text = "model_io: {task: detection, labels: labels.txt, class_offset: 77}"
    load(change(small, edge(text)))


def test_a_thing_group_needs_a_nucleus_that_fills_in_the_name(small: Path) -> None:
    topic = edge('publish: {topic: "em/{thing}"}')
    change(small, topic)
    assert warnings(small, "EM065") == []  # one thing has one name
    change(small, (TARGET, "target: {thing_group: hall}\n    settings: []"))
    (finding,) = warnings(small, "EM065")
    assert "{iot:thingName}" in finding.message
    assert "interpolateComponentConfiguration: true" in finding.mend
    setting = "{component: aws.greengrass.Nucleus, configuration: {interpolateComponentConfiguration: true}}"
    change(small, ("settings: []", f"settings: [{setting}]"))
    assert warnings(small, "EM065") == []


def test_a_thing_group_without_names_in_topics_needs_nothing(small: Path) -> None:
    change(small, (TARGET, "target: {thing_group: hall}"), edge('publish: {topic: "em/{stream}"}'))
    assert warnings(small, "EM065") == []


@pytest.mark.parametrize("name", ["hall-camera", "hall-Camera", "hall-CAMERA", "hall-123456", "cameras/cam-front1"])
def test_a_secrets_name_that_ends_like_a_whole_arn_is_worth_a_word(small: Path, name: str) -> None:
    change(small, ("stream}", f"stream, credentials: {{secret: '{SECRET}{name}'}}}}"))
    (finding,) = warnings(small, "EM056")
    assert finding.severity == "warning"
    assert "six characters" in finding.message


@pytest.mark.parametrize(
    "name", ["camera-AbCdEf", "camera-x1Y2z3", "camera", "hall-cam", "camera-1a2b3c", "camera-camera1"]
)
def test_a_secrets_arn_as_aws_gives_it_and_a_plain_name_are_not(small: Path, name: str) -> None:
    change(small, ("stream}", f"stream, credentials: {{secret: '{SECRET}{name}'}}}}"))
    assert warnings(small, "EM056") == []


@pytest.mark.parametrize("place", ["rtspsrc user-id=me user-pw=s3cr3t ! appsink", "souphttpsrc proxy-pw = s3cr3t ! a"])
def test_a_password_in_a_pipeline_is_refused_and_not_shown(broken, place: str) -> None:
    wrong = broken("rtsp://camera/stream}", f'rtsp://camera/stream, pipeline: §"{place}"}}')
    assert (wrong.finding.code, wrong.place) == ("EM018", wrong.marked)
    assert "s3cr3t" not in str(wrong.finding)
    assert "s3cr3t" not in str(masked({"pipeline": place}))


def test_what_only_looks_like_a_password_in_a_pipeline_is_let_through(small: Path) -> None:
    pipeline = "rtspsrc location={url} latency=0 ! decodebin ! appsink"
    change(small, ("stream}", f'stream, pipeline: "{pipeline}"}}'))
    assert load(small).edge.streams[0].pipeline == pipeline == redacted(pipeline)


def test_a_place_between_braces_has_to_stand_in_quotes(broken) -> None:
    wrong = broken(*edge("publish: {topic: em/§{thing}}"))
    assert (wrong.finding.code, wrong.place) == ("EM004", wrong.marked)
    assert wrong.finding.mend == 'put the text in quotes, as in {topic: "em/{thing}"}'


@pytest.mark.parametrize(("most", "told"), [(100, 0), (1131, 0), (1132, 1), (2000, 1)])
def test_more_detections_than_a_message_can_hold_are_a_warning(small: Path, most: int, told: int) -> None:
    boxes = f"  model_io: {{task: detection, boxes: {{most: {most}}}}}\n  capture:"
    small.write_text(small.read_text().replace("  capture:", boxes))
    found = [finding for finding in check(small).warnings if finding.code == "EM068"]
    assert len(found) == told
    if most == 2000:
        assert "a result with 2000 detections has about 231 KB, AWS IoT takes 131: it is dropped" in found[0].message
        assert found[0].mend == "write 1131 at most; the lite nucleus takes about 54"
