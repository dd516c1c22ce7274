"""The rules: names that AWS would refuse, values that do not fit each other, files that are not what they should be."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from emflow.problems import WorkflowProblem
from emflow.workflow import load
from emflow.workflow.rules.registry import CODES, RULES

DEVICES = '["{{ vars.thing }}"]'
TARGET = '{thing: "{{ vars.thing }}"}'
CAPTURE = "    enabled: false"
STREAM = "    - {name: front, url: rtsp://camera/stream}"


def edge(text: str) -> tuple[str, str]:
    return "  capture:\n", f"  {text}\n  capture:\n"


def cloud(text: str) -> tuple[str, str]:
    return "  compile:", f"  {text}\n  compile:"


BUCKET = '"{{ vars.prefix }}-components"'


@pytest.mark.parametrize(
    ("code", "old", "new", "message"),
    [
        ("EM030", DEVICES, f"[§a_b, {DEVICES[1:]}", "an underscore is at character 2"),
        ("EM030", DEVICES, f"[§-a, {DEVICES[1:]}", "a dash cannot be its first or last character"),
        ("EM030", DEVICES, f"[§'', {DEVICES[1:]}", "it is empty"),
        ("EM030", DEVICES, f"[§{'a' * 64}, {DEVICES[1:]}", "it has 64 characters"),
        ("EM030", DEVICES, f"[§{'a' + '-' * 62 + 'a'}, {DEVICES[1:]}", "it has 64 characters"),
        ("EM031", BUCKET, "§Acme-components", "'A' is at character 1"),
        ("EM031", BUCKET, "§ab", "it has 2 characters"),
        ("EM031", BUCKET, "§a..b", "a dot stands beside"),
        ("EM031", BUCKET, "§10.0.0.1", "looks like an IP address"),
        ("EM031", BUCKET, "§xn--abc", "reserved by AWS"),
        ("EM032", '"{{ vars.prefix }}-sagemaker-results', '§"{{ vars.prefix }}-results', "has to contain `sagemaker`"),
        ("EM033", "  fleet:\n", "  fleet:\n    name: §green_fleet\n", "an underscore is at character 6"),
        ("EM033", *cloud("role: {name: §'my role'}"), "a space is at character 3"),
        ("EM033", *cloud("role: {alias: §a.b}"), "a dot is at character 2"),
        ("EM033", TARGET, "{thing_group: §a b}", "a space is at character 2"),
        ("EM034", "name: scenes\n", "name: §scenes_224\n", "an underscore is at character 7"),
        ("EM034", "name: scenes\n", "name: scenes\n    version: §1.0-rc1\n", "'-' is at character 4"),
        ("EM034", "name: scenes\n", f"name: scenes\n    version: §{'1.' * 16}\n", "it has 32 characters"),
        ("EM035", "scenes-compiled", "§scenes_compiled", "an underscore"),
        ("EM035", "scenes-packaged", "§" + "a" * 64, "it has 64 characters, at most 63"),
        ("EM036", "scenes_component", "§scenes component", "a space is at character 7"),
        ("EM036", "scenes_component", "§aws.greengrass.Nucleus", "AWS's own"),
        ("EM036", "scenes_component", "§..", "it has only dots"),
        ("EM036", *edge("component: {name: §'.'}"), "it has only dots"),
        ("EM036", *edge("component: {name: §aws.greengrass.LogManager}"), "AWS's own"),
        ("EM037", "{name: scenes_component}", "{name: x, version: §'1.0'}", "'1.0' is no component version"),
        ("EM037", "{name: scenes_component}", "{name: x, version: §1.0.01}", "no component version"),
        ("EM037", *edge("component: {version: §newest}"), "'newest' is no component version"),
        ("EM040", TARGET, "§{}", "has no target"),
        ("EM040", TARGET, '§{thing: "{{ vars.thing }}", thing_group: hall}', "has two targets"),
        ("EM041", TARGET, "{thing: §Core-002}", "'Core-002' is none of the devices of fleet"),
        ("EM042", DEVICES, "[Core-001, Core-002, §Core-001]", "'Core-001' is here twice"),
        ("EM042", STREAM, f"{STREAM}\n{STREAM.replace('front', '§front')}", "'front' is here twice"),
        ("EM042", *edge("component: {name: §scenes_component}"), "here twice"),
        ("EM044", BUCKET, "§acme-sagemaker-results", "both buckets are"),
        ("EM050", STREAM, f"{STREAM[:-1]}, every: §1 x}}", "'1 x' is no duration"),
        ("EM050", *cloud("role: {credential_duration: §14m}"), "between 900s and 43200s, this is 14m"),
        ("EM050", *cloud("role: {credential_duration: §13h}"), "between 900s and 43200s, this is 13h"),
        ("EM050", CAPTURE, "    push_period: §1500ms", "has to be whole seconds"),
        ("EM050", CAPTURE, "    push_period: §0s", "between 1s and"),
        ("EM051", CAPTURE, "    batch: §30", "a batch of 30 does not fit into a buffer of 30"),
        ("EM052", CAPTURE, "    embed_limit: §3073", "at most 3072 bytes"),
        ("EM055", CAPTURE, "    destination: §disk", "nothing says where"),
        ("EM060", *edge("publish: {topic: §em/+/x}"), "'+' cannot stand in a topic"),
        ("EM060", *edge("publish: {topic: §'em/*'}"), "'*' cannot stand in a topic"),
        ("EM060", *edge("publish: {topic: §$aws/things}"), "'$' cannot stand in a topic"),
        ("EM060", *edge("publish: {topic: §/em}"), "a level is empty"),
        ("EM060", *edge("publish: {topic: §a/b/c/d/e/f/g/h/i}"), "it has 8 slashes, AWS IoT takes 7"),
        ("EM060", *edge(f"publish: {{topic: §{'ü' * 129}}}"), "it has 258 bytes, AWS IoT takes 256"),
        ("EM061", "rtsp://camera/stream", "§ftp://camera/", "is an address with ftp:"),
        ("EM061", "rtsp://camera/stream", "§rtsp:///x", "has no host"),
        ("EM061", "rtsp://camera/stream", "§front", "is a path, which the component cannot read"),
        ("EM061", "rtsp://camera/stream", "§rtsp://camera:99999/x", "has no valid port"),
        ("EM062", *edge("agent: {socket: §agent.sock}"), "no absolute path"),
        ("EM062", *edge(f"agent: {{socket: §/{'a' * 107}}}"), "108 bytes, a socket takes 107"),
        ("EM070", "scenes.tflite", "§https://x/y.tflite", "not fetched from an address in this version"),
        ("EM070", "scenes.tflite", "§scenes.onnx", "neither a .tflite nor a .tar.gz"),
    ],
)
def test_one_mistake_gives_one_finding_at_its_place(broken, code: str, old: str, new: str, message: str) -> None:
    wrong = broken(old, new)
    assert (wrong.finding.code, wrong.place) == (code, wrong.marked)
    assert message in wrong.finding.message


def test_the_workshops_old_thing_name_is_refused_with_the_reason_and_a_better_one(broken) -> None:
    wrong = broken("thing: Core-001", "thing: iMX8MQEVK_GG_Core_001")
    assert {f.code for f in wrong.findings} == {"EM030"}
    assert [(f.line, f.column) for f in wrong.findings] == [wrong.at('"{{ vars.thing'), wrong.at('"{{ vars.thing', 1)]
    first = wrong.findings[0]
    assert "an underscore is at character 10 (from {{ vars.thing }})" in first.message
    assert first.mend == "for example: iMX8MQEVK-GG-Core-001"


def test_the_agents_component_has_to_be_deployed(broken) -> None:
    wrong = broken(TARGET, f"{TARGET}\n    components:\n      aws.greengrass.Nucleus: latest")
    assert (wrong.finding.code, wrong.place) == ("EM043", wrong.at("aws.greengrass.Nucleus"))


@pytest.mark.parametrize("version", ["2.12", "newest", "v2.12.6"])
def test_a_public_component_has_a_version_or_latest(broken, version: str) -> None:
    wrong = broken(
        TARGET,
        f"{TARGET}\n    components: {{aws.greengrass.SageMakerEdgeManager: latest, aws.greengrass.Cli: '{version}'}}",
    )
    assert (wrong.finding.code, wrong.place) == ("EM037", wrong.at(f"'{version}'"))


def test_a_component_that_is_not_awss_is_not_deployed_as_a_public_one(broken) -> None:
    wrong = broken(
        TARGET, f"{TARGET}\n    components: {{aws.greengrass.SageMakerEdgeManager: latest, com.example.X: 1.0.0}}"
    )
    assert wrong.finding.code == "EM036"


def test_things_at_their_limits_are_right(small: Path) -> None:
    text = small.read_text()
    text = text.replace("thing: Core-001", f"thing: {'a' * 63}").replace("name: scenes\n", f"name: {'m' * 63}\n")
    text = text.replace("scenes-compiled", "j" * 63).replace("enabled: false", "batch: 29\n    embed_limit: 0")
    text = text.replace("stream}", "stream, every: 0s}")
    small.write_text(text)
    assert load(small).edge.streams[0].every == "0s"


def archive(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


SCENES = Path(__file__).parents[2] / "workflows" / "models" / "scenes.tflite"
TFLITE = SCENES.read_bytes()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"readme": b""}, "holds no .tflite file"),
        ({"a__tflite": TFLITE, "b__tflite": TFLITE}, "holds 2 .tflite files (a.tflite, b.tflite)"),
        ({"a__tflite": b"no model at all"}, "a.tflite: no TFLite model"),
    ],
)
def test_an_archive_without_exactly_one_model_is_reported_when_it_is_there(
    small: Path, members: dict, message: str
) -> None:
    small.write_text(small.read_text().replace("scenes.tflite", "model.tgz"))
    archive(small.parent / "model.tgz", **members)
    with pytest.raises(WorkflowProblem) as raised:
        load(small)
    (finding,) = [finding for finding in raised.value.findings if finding.severity == "error"]
    assert finding.code == "EM070"
    assert message in finding.message


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"not tar" * 100), gzip.compress(bytes(9999))[:20]],
    ids=["nothing", "no gzip", "no tar", "cut off"],  # not of the bytes: gzip writes the time into them
)
def test_what_is_no_archive_is_reported_and_no_crash(small: Path, content: bytes) -> None:
    small.write_text(small.read_text().replace("scenes.tflite", "model.tgz"))
    (small.parent / "model.tgz").write_bytes(content)
    with pytest.raises(WorkflowProblem, match="EM070"):
        load(small)


def test_a_model_and_labels_that_are_not_there_yet_are_no_mistake_of_the_workflow(small: Path) -> None:
    small.write_text(small.read_text().replace("  capture:", "  model_io: {labels: none.txt}\n  capture:"))
    assert load(small).edge.model_io.labels == "none.txt"


@pytest.mark.parametrize("content", [b"", b"\n \n", b"caf\xe9\n"])
def test_labels_that_are_none_are_reported(small: Path, content: bytes) -> None:
    small.write_text(small.read_text().replace("  capture:", "  model_io: {labels: labels.txt}\n  capture:"))
    (small.parent / "labels.txt").write_bytes(content)
    with pytest.raises(WorkflowProblem, match="EM071"):
        load(small)


def test_a_right_archive_is_right(small: Path) -> None:
    small.write_text(small.read_text().replace("scenes.tflite", "model.tar.gz"))
    archive(small.parent / "model.tar.gz", readme=b"hello", a__tflite=TFLITE, labels=b"x")
    assert load(small).cloud.model.artifact == "model.tar.gz"


def test_every_rule_has_a_code_with_an_explanation() -> None:
    assert {code for code, _ in RULES} <= set(CODES)
    assert len({code for code, _ in RULES}) == len(RULES)
