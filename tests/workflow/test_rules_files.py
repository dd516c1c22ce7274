"""The rules about files beside a workflow: the model and labels that are there, and those that are not."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from pathlib import Path

import pytest

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow.load import check
from emflow.workflow.rules.files import check_labels
from emflow_edge.vision.labels import read_lines
from emflow_schema.model_facts import ModelFacts
from emflow_schema.tflite import read as read_tflite

SCENES = Path(__file__).parents[2] / "workflows" / "models" / "scenes.tflite"
LABELS = SCENES.with_name("scenes_labels.txt").read_text().splitlines()


def findings(path: Path, code: str, root: Path | None = None) -> list[Finding]:
    try:
        told = check(path, root=root).warnings
    except WorkflowProblem as problem:
        told = problem.findings
    return [finding for finding in told if finding.code == code]


@pytest.fixture
def modelled(small: Path) -> Path:
    """The small workflow with its model and labels."""
    (small.parent / "scenes.tflite").write_bytes(SCENES.read_bytes())
    (small.parent / "labels.txt").write_text("\n".join(LABELS))
    small.write_text(small.read_text().replace("  capture:", "  model_io: {labels: labels.txt}\n  capture:"))
    return small


def rewrite(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_model_and_labels_that_fit_the_workflow_are_right(modelled: Path) -> None:
    rewrite(
        modelled,
        "inputs: {input: [1, 224, 224, 3]}",
        "inputs: {input: [1, 224, 224, 3]}\n    input_types: {input: uint8}",
    )
    assert [finding.code for finding in check(modelled).warnings] == ["EM081"]


def test_a_path_that_no_file_can_have_is_reported(small: Path) -> None:
    long = "a" * 300
    rewrite(small, "scenes.tflite", f"{long}.tflite")
    rewrite(small, "  capture:", f"  model_io: {{labels: {long}.txt}}\n  component: {{recipe: {long}.j2}}\n  capture:")
    for code in ("EM070", "EM071", "EM072"):
        (told,) = findings(small, code)
        assert "cannot be read: File name too long" in told.message


def test_a_path_with_nothing_but_a_null_is_refused(small: Path) -> None:
    rewrite(small, "artifact: scenes.tflite", 'artifact: "scenes\\0.tflite"')
    (told,) = findings(small, "EM009")
    assert "U+0000" in told.message


def test_what_is_not_there_is_a_warning_each(small: Path) -> None:
    rewrite(small, "  capture:", "  model_io: {labels: none.txt}\n  capture:")
    told = findings(small, "EM072")
    assert [finding.severity for finding in told] == ["warning", "warning"]
    assert ["scenes.tflite is not there" in told[0].message, "none.txt is not there" in told[1].message] == [True, True]


@pytest.mark.parametrize(
    ("inputs", "message", "mend"),
    [
        ("{inptu: [1, 224, 224, 3]}", "the model has no input 'inptu'", "did you mean `input`?"),
        ("{image: [1, 224, 224, 3]}", "no input 'image'", "the model has 'input' [1, 224, 224, 3] of type uint8"),
        ("{input: [1, 3, 224, 224]}", "'input' [1, 224, 224, 3] is declared as [1, 3, 224, 224]", "write [1, 224,"),
        ("{input: [224, 224, 3]}", "is declared as [224, 224, 3]", "write [1, 224, 224, 3]"),
        ("{input: [1, 224, 224, 3], b: [1]}", "the model has no input 'b'", "the model has 'input'"),
    ],
)
def test_declared_inputs_are_held_against_the_models(modelled: Path, inputs: str, message: str, mend: str) -> None:
    rewrite(modelled, "{input: [1, 224, 224, 3]}", inputs)
    (finding,) = findings(modelled, "EM073")
    assert message in finding.message
    assert finding.mend.startswith(mend)


def test_a_type_is_held_against_the_models_even_when_the_input_is_misnamed(modelled: Path) -> None:
    rewrite(modelled, "{input: [1, 224, 224, 3]}", "{input: [1, 224, 224, 3]}\n    input_types: {input: float32}")
    (finding,) = findings(modelled, "EM074")
    assert finding.message == "the model's input 'input' is uint8, declared as float32"
    rewrite(modelled, "{input: float32}", "{inptu: uint8}")
    (finding,) = findings(modelled, "EM074")
    assert finding.mend == "did you mean `input`?"


@pytest.mark.parametrize(
    ("count", "offset", "right"),
    [(10, 0, True), (9, 0, False), (11, 0, False), (10, 1, True), (9, 1, True), (8, 1, False), (1, 9, True)],
)
def test_labels_are_counted_as_the_device_counts_them(modelled: Path, count: int, offset: int, right: bool) -> None:
    (modelled.parent / "labels.txt").write_text("\n".join([*LABELS, "more"][:count]) + "\n\n")
    rewrite(modelled, "{labels: labels.txt}", f"{{labels: labels.txt, class_offset: {offset}}}")
    assert (findings(modelled, "EM075") == []) == right


def test_the_model_in_an_archive_is_read_too(modelled: Path) -> None:
    with tarfile.open(modelled.parent / "model.tgz", "w:gz") as archive:
        info = tarfile.TarInfo("deep/model.tflite")
        info.size = SCENES.stat().st_size
        archive.addfile(info, io.BytesIO(SCENES.read_bytes()))
    rewrite(modelled, "scenes.tflite", "model.tgz")
    rewrite(modelled, "{input: [1, 224, 224, 3]}", "{input: [1, 96, 96, 3]}")
    assert [finding.code for finding in findings(modelled, "EM073")] == ["EM073"]


@pytest.mark.parametrize("prefix", ["\ufeff", "numbers"])
def test_labels_are_read_as_the_device_reads_them(modelled: Path, prefix: str) -> None:
    lines = (
        [f"{at} {label}" for at, label in enumerate(LABELS)]
        if prefix == "numbers"
        else [prefix + LABELS[0], *LABELS[1:]]
    )
    (modelled.parent / "labels.txt").write_text("\n".join(lines))
    found = check_labels(modelled.parent / "labels.txt")
    assert found == tuple(LABELS) == read_lines(modelled.parent / "labels.txt")
    assert findings(modelled, "EM075") == []


def test_a_file_that_macos_stores_beside_the_model_is_no_model(modelled: Path) -> None:
    rewrite(modelled, "scenes.tflite", "._scenes.tflite")
    (finding,) = findings(modelled, "EM070")
    assert "'._scenes.tflite' is no model: macOS stores a file's attributes there" in finding.message
    assert finding.mend == "give the file that it stands beside: scenes.tflite"


def test_a_file_that_changed_is_read_again(modelled: Path) -> None:
    assert findings(modelled, "EM075") == []
    (modelled.parent / "labels.txt").write_text("one\n")
    assert len(findings(modelled, "EM075")) == 1


def test_the_reader_says_what_the_runtime_says(shared_data: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    for path in (SCENES, shared_data / "models" / "mobilenet_v2_1.0_224_quant.tflite"):
        interpreter = Interpreter(str(path))
        read = read_tflite(path.read_bytes())
        for tensors, details in (
            (read.inputs, interpreter.get_input_details()),
            (read.outputs, interpreter.get_output_details()),
        ):
            told = [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]
            shapes = [tuple(map(int, one["shape_signature"])) for one in details]
            names = [(one["name"], one["dtype"].__name__) for one in details]
            assert told == [(*name, shape) for name, shape in zip(names, shapes, strict=True)]
            assert [(one.scale, one.zero_point) for one in tensors] == [one["quantization"] for one in details]


def test_a_damaged_model_is_refused_and_nothing_else_happens() -> None:
    whole = SCENES.read_bytes()
    chance = random.Random(0)
    outcomes: set[object] = set()
    for _ in range(3000):
        damaged = bytearray(whole[: chance.choice((len(whole), 60, 400, 5000))])
        for _ in range(chance.randrange(6)):
            damaged[chance.randrange(8, min(len(damaged), 3000))] = chance.randrange(256)
        # The graph lies at the file's end: without offsets that lead there, damage would seldom be met.
        if chance.random() < 0.7:
            at = chance.randrange(max(9, len(damaged) - 4000), len(damaged))
            damaged[at] = chance.randrange(256)
        try:
            outcomes.add(type(read_tflite(bytes(damaged))))
        except ValueError as error:
            outcomes.add(str(error))
    assert outcomes == {ModelFacts, "a damaged TFLite model"}


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", b"\0\0\0\0TFL3", b"\xff" * 4 + b"TFL3" + b"\xff" * 100, b"not a model at all"]
)
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no TFLite model|a damaged TFLite model"):
        read_tflite(data)


@pytest.mark.parametrize(("key", "code"), [("artifact", "EM070"), ("labels", "EM071")])
def test_what_can_be_read_without_end_is_not_read(small: Path, key: str, code: str) -> None:
    (small.parent / "endless.tflite").symlink_to("/dev/zero")
    rewrite(small, "  capture:", "  model_io: {labels: labels.txt}\n  capture:")
    rewrite(small, {"artifact": "scenes.tflite", "labels": "labels.txt"}[key], "endless.tflite")
    (finding,) = findings(small, code, root=Path("/"))
    assert finding.message.endswith("endless.tflite: is not a file, but a device or a pipe")


def test_an_archive_that_unpacks_to_gigabytes_is_not_unpacked(small: Path) -> None:
    rewrite(small, "scenes.tflite", "model.tgz")
    path = small.parent / "model.tgz"
    # Headers are enough: what they promise is refused before it is read.
    info = tarfile.TarInfo("a.tflite")
    info.size = 1 << 40
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    (finding,) = findings(small, "EM070")
    assert "unpacks to more than 512 MiB" in finding.message


def test_every_file_that_a_workflow_names_and_that_is_not_there_is_a_warning(small: Path) -> None:
    rewrite(small, "  fleet:\n", "  fleet:\n    devices_file: devices.txt\n")
    rewrite(small, "  capture:", "  component: {recipe: app.yaml.j2}\n  capture:")
    own = "components:\n  - {name: com.example.X, recipe: x.yaml.j2, artifacts: files}\n"
    small.write_text(small.read_text() + own)
    told = [finding.message.split(" is not there")[0].rpartition("/")[2] for finding in findings(small, "EM072")]
    assert told == ["devices.txt", "scenes.tflite", "app.yaml.j2", "x.yaml.j2", "files"]
