"""`emflow captures` on a folder that an agent has written."""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path

import cv2
import numpy as np
import pytest

from emflow_agent.capture.jsonl import Capture, CapturedItem, make_batch
from emflow_agent.capture.settings import CaptureSettings
from emflow_agent.capture.spool import Spool

PICTURE = np.random.default_rng(3).integers(0, 256, (1, 32, 48, 3), np.uint8)
SCORES = np.array([[0.25, 0.5, 0.25]], np.float32)
IDS = [str(uuid.UUID(int=number)) for number in range(4)]


def capture(number: int, model: str = "scenes") -> Capture:
    picture = CapturedItem("input", "Tensor[UINT8; 1, 32, 48, 3]", PICTURE.tobytes())
    scores = CapturedItem("scores", "Tensor[FLOAT32; 1, 3]", SCORES.tobytes())
    words = CapturedItem("labels", "text/csv", b"cat,dog", "CSV")
    return Capture(IDS[number], model, 1_600_000_000.0 + number, (picture,), (scores,), (), (words,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three captures of one model, in two batches of two hours, and one of another between them."""
    disk = tmp_path / "disk"
    settings = CaptureSettings(fleet="orchard", device="board", to_cloud=False, folder=disk)
    spool = Spool(disk, "sme-capture/orchard", 1 << 30)
    spool.write(make_batch([capture(0), capture(1)], settings, 1_600_000_000))
    spool.write(make_batch([capture(2, "cats")], settings, 1_600_003_600))
    spool.write(make_batch([capture(3)], settings, 1_600_007_200))
    return disk


def test_the_list_has_the_newest_first_with_what_they_are(emflow, folder: Path) -> None:
    ran = emflow("captures", "list", folder)
    assert ran.code == 0
    assert [line.split() for line in ran.out.splitlines()] == [
        ["2020-09-13T12:26:43+00:00", "orchard", "scenes", "board", IDS[3]],
        ["2020-09-13T12:26:42+00:00", "orchard", "cats", "board", IDS[2]],
        ["2020-09-13T12:26:41+00:00", "orchard", "scenes", "board", IDS[1]],
        ["2020-09-13T12:26:40+00:00", "orchard", "scenes", "board", IDS[0]],
    ]


def test_the_list_can_be_of_one_model_short_and_json(emflow, folder: Path) -> None:
    found = json.loads(emflow("captures", "list", folder, "--model", "scenes", "--limit", 2, "--json").out)
    assert [(one["id"], one["model"]) for one in found] == [(IDS[3], "scenes"), (IDS[1], "scenes")]
    assert emflow("captures", "list", folder, "--model", "none").err.startswith("no captures in")


def test_one_capture_is_shown_with_its_tensors(emflow, folder: Path) -> None:
    shown = json.loads(emflow("captures", "show", folder, IDS[1].replace("-", ""), "--json").out)
    assert [(part["role"], part["name"], part["dtype"], part["shape"]) for part in shown["parts"]] == [
        ("input", "input", "UINT8", [1, 32, 48, 3]),
        ("output", "scores", "FLOAT32", [1, 3]),
        ("auxiliary output", "labels", None, None),
    ]
    assert shown["parts"][0]["statistics"]["mean"] == pytest.approx(PICTURE.mean())
    assert shown["parts"][1]["statistics"] | {"std": 0} == {"min": 0.25, "max": 0.5, "mean": pytest.approx(1 / 3)} | {
        "std": 0,
        "argmax": 1,
    }
    words = emflow("captures", "show", folder, "latest").out
    assert IDS[3] in words
    assert "Tensor[FLOAT32; 1, 3]  min 0.25, max 0.5" in words


def test_captures_become_arrays_and_pictures(emflow, folder: Path, tmp_path: Path) -> None:
    ran = emflow("captures", "export", folder, tmp_path / "out", "--id", IDS[0], "--json")
    assert json.loads(ran.out) == [str(tmp_path / "out" / f"{IDS[0]}{suffix}") for suffix in (".npz", ".png")]
    with np.load(tmp_path / "out" / f"{IDS[0]}.npz") as arrays:
        assert np.array_equal(arrays["input_input"], PICTURE)
        assert np.array_equal(arrays["output_scores"], SCORES)
    image = cv2.imread(str(tmp_path / "out" / f"{IDS[0]}.png"))
    assert image is not None
    assert np.array_equal(image[:, :, ::-1], PICTURE[0])
    assert len(emflow("captures", "export", folder, tmp_path / "all").out.splitlines()) == 8


def test_a_copy_of_the_folder_is_read_as_well(emflow, folder: Path, tmp_path: Path) -> None:
    copy = folder.rename(tmp_path / "elsewhere")
    shown = json.loads(emflow("captures", "show", copy, IDS[0], "--json").out)
    assert shown["parts"][0]["bytes"] == PICTURE.size


def test_a_missing_tensor_is_reported(emflow, folder: Path, tmp_path: Path) -> None:
    for raw in folder.rglob("raw-data/*/*"):
        raw.unlink()
    assert "not there any more" in emflow("captures", "show", folder, IDS[0]).out
    ran = emflow("captures", "export", folder, tmp_path / "out", "--id", IDS[0])
    assert "input input is not there any more" in ran.err
    assert [Path(line).suffix for line in ran.out.splitlines()] == [".npz"]


@pytest.mark.parametrize("reference", ["/etc/passwd", "s3://b/raw-data/../../../etc/passwd", "raw-data/x/../../notes"])
def test_a_line_that_names_something_else_opens_nothing(emflow, folder: Path, reference: str) -> None:
    about = {"eventId": IDS[0], "eventMetadata": {"eventId": IDS[0]}}
    entry = {"name": "x", "observedContentType": "Tensor[UINT8; 1]", "dataRef": reference}
    for file in folder.rglob("*.jsonl"):
        (file.parent / "notes").write_text("x")
        file.write_text(json.dumps({"deviceFleetInputs": [entry], **about}) + "\n")
    assert json.loads(emflow("captures", "show", folder, IDS[0], "--json").out)["parts"][0]["bytes"] is None


def test_lines_that_are_not_captures_are_reported_and_skipped(emflow, folder: Path) -> None:
    newest = max(folder.rglob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    odd = {"deviceFleetInputs": ["x", {"name": "\x1b[31m", "data": "!"}], "eventMetadata": {"eventId": "odd"}}
    newest.write_text("{\n[]\n" + json.dumps(odd) + "\n")
    ran = emflow("captures", "list", folder, "--limit", 1)
    assert ran.out.split()[-1] == "odd"
    assert "\x1b" not in emflow("captures", "show", folder, "odd").out
    assert "line 1: not a capture" in emflow("captures", "list", folder).err


def test_the_original_agent_s_line_is_read_too(emflow, tmp_path: Path) -> None:
    hour = tmp_path / "got" / "sme-capture" / "fleet" / "net" / "2022" / "05" / "06" / "07"
    hour.mkdir(parents=True)
    values = np.arange(600, dtype=np.float32)
    entry = {
        "name": "x",
        "observedContentType": "Tensor[FLOAT32; 1, 6, 10, 10]",
        "encoding": "BASE64",
        "data": base64.b64encode(values.tobytes()).decode(),
    }
    line = {"deviceFleetInputs": [entry], "deviceFleetOutputs": [], "eventMetadata": {"eventId": IDS[1]}}
    (hour / f"{uuid.uuid4().hex}.jsonl").write_text(json.dumps(line) + "\n")
    shown = json.loads(emflow("captures", "show", tmp_path / "got", IDS[1], "--json").out)
    assert (shown["fleet"], shown["model"], shown["time"]) == ("fleet", "net", None)
    assert shown["parts"][0]["statistics"]["max"] == 599


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [("nowhere", 1, "no such folder"), ("s3://", 2, "the bucket's name is missing"), ("none.yaml", 2, "none.yaml")],
)
def test_a_source_that_is_none(emflow, source: str, code: int, said: str) -> None:
    ran = emflow("captures", "list", source)
    assert (ran.code, said in ran.err) == (code, True), ran.err


def test_a_capture_that_is_not_there(emflow, folder: Path) -> None:
    ran = emflow("captures", "show", folder, str(uuid.uuid4()))
    assert (ran.code, "no capture" in ran.err) == (1, True)
