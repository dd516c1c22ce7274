"""What is a model file is decided in one place: host, embedded Neo, agent and edge component agree about each name."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import pytest

from emflow.problems import Problem
from emflow.workflow.rules.files import check_model
from emflow_agent.errors import CannotLoad
from emflow_agent.runtimes import choose_runtime
from emflow_emulator.aws.sagemaker import neo
from emflow_emulator.aws.sagemaker.jobs import JobFailed
from emflow_schema.model_facts import model_file

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "workflows" / "models" / "scenes.tflite"
# What macOS writes as `._name`: https://www.rfc-editor.org/rfc/rfc1740.
APPLE_DOUBLE = b"\x00\x05\x16\x07" + bytes(100)


def archived(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def verdicts(tmp_path: Path, names: list[str]) -> dict[str, bool]:
    """Whether each part of the product sees exactly one model in these files."""
    files = {name: APPLE_DOUBLE if "._" in name else SCENES.read_bytes() for name in names}
    folder = tmp_path / "folder"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (tmp_path / "model.tar.gz").write_bytes(archived({f"./{name}": content for name, content in files.items()}))
    found = {"edge component": model_file(folder) is not None}
    try:
        check_model(tmp_path / "model.tar.gz")
        found["workflow"] = True
    except Problem:
        found["workflow"] = False
    try:
        neo.read((tmp_path / "model.tar.gz").read_bytes(), "s3://bucket/model.tar.gz")
        found["embedded Neo"] = True
    except JobFailed:
        found["embedded Neo"] = False
    try:
        found["agent"] = len(choose_runtime(names)[1]) == 1
    except CannotLoad:
        found["agent"] = False
    return found


@pytest.mark.parametrize(
    ("names", "one"),
    [
        (["net.tflite"], True),
        (["NET.TFLITE"], True),
        (["Net.TfLite", "labels.txt"], True),
        (["._net.tflite", "net.tflite"], True),
        (["__MACOSX/._net.tflite", "net.tflite", ".DS_Store"], True),
        (["__MACOSX/net.tflite", "net.tflite"], True),
        (["._net.tflite"], False),
        (["net.tflite", "other.TFLITE"], False),
        (["net.tflite.txt"], False),
        (["labels.txt"], False),
    ],
)
def test_host_neo_agent_and_edge_component_see_the_same_model(names: list[str], one: bool, tmp_path: Path) -> None:
    assert set(verdicts(tmp_path, names).values()) == {one}, verdicts(tmp_path, names)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["._net.onnx", "net.onnx"], ["net.onnx"]),
        (["NET.ONNX"], ["NET.ONNX"]),
        (["libdlr.so", "._libdlr.so", "compiled.params"], ["libdlr.so", "compiled.params"]),
    ],
)
def test_models_of_other_runtimes_are_found_beside_files_of_macos(names: list[str], chosen: list[str]) -> None:
    assert choose_runtime(names)[1] == chosen


def test_no_other_module_decides_by_the_ending_of_a_name() -> None:
    decides = re.compile(r"(endswith|glob|removesuffix|suffix ==)[^\n]*(tflite|onnx|libdlr)")
    sources = [path for package in ("runner", "edge_component", "schema") for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 100
    told = [path.name for path in sources if decides.search(path.read_text())]
    assert told == []


def test_an_archive_with_files_of_macos_only_says_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(archived({"./._scenes.tflite": APPLE_DOUBLE}))
    with pytest.raises(Problem, match=r"no \.tflite file, but for what macOS added: \./\._scenes\.tflite"):
        check_model(tmp_path / "model.tar.gz")
