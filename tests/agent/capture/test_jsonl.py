"""A batch as it is stored: whatever is captured, every byte is found again by what the line says of it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from emflow_agent.capture.jsonl import Capture, CapturedItem, make_batch
from emflow_agent.capture.settings import CaptureSettings
from emflow_agent.capture.spool import Spool
from support import zip_strict

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
PART = st.builds(
    CapturedItem,
    name=TEXT,
    content_type=TEXT,
    data=st.binary(max_size=60),
    encoding=st.sampled_from(["NONE", "CSV", "JSON"]),
)
PARTS = st.lists(PART, max_size=3).map(tuple)
CAPTURE = st.builds(
    Capture,
    id=st.uuids().map(str),
    model=st.just("net"),
    time=st.floats(0, 4e9),
    inputs=PARTS,
    outputs=PARTS,
    auxiliary_inputs=PARTS,
    auxiliary_outputs=PARTS,
)
SECTIONS = ("deviceFleetInputs", "deviceFleetOutputs", "auxiliaryInputs", "auxiliaryOutputs")


def bytes_of(entry: dict[str, str], raw: dict[str, bytes]) -> bytes:
    if "dataRef" in entry:
        return raw[entry["dataRef"].removeprefix("s3://bucket/")]
    return base64.b64decode(entry["data"]) if entry["encoding"] == "BASE64" else entry["data"].encode()


@given(st.lists(CAPTURE, min_size=1, max_size=4), st.integers(0, 60), st.floats(0, 4e9))
@settings(max_examples=200, deadline=None)
def test_everything_is_found_again(captures: list[Capture], limit: int, now: float) -> None:
    batch = make_batch(captures, CaptureSettings(fleet="fleet", bucket="bucket", embed_limit=limit), now)
    lines = [json.loads(line) for line in batch.lines.decode().splitlines()]
    raw = dict(batch.raw)
    assert [line["eventMetadata"]["eventId"] for line in lines] == [capture.id for capture in captures]
    for line, capture in zip_strict(lines, captures):
        kinds = (capture.inputs, capture.outputs, capture.auxiliary_inputs, capture.auxiliary_outputs)
        for place, parts in zip_strict(SECTIONS, kinds):
            entries = line.get(place, [])
            assert [bytes_of(entry, raw) for entry in entries] == [part.data for part in parts]
            assert [entry["name"] for entry in entries] == [part.name for part in parts]
            assert all(("data" in entry) == (len(part.data) <= limit) for entry, part in zip_strict(entries, parts))
    folder = batch.key.rpartition("/")[0]
    assert re.fullmatch(r"sme-capture/fleet/net/\d{4}/\d\d/\d\d/\d\d", folder)
    assert all(key.startswith(f"{folder}/raw-data/") for key in raw)


@given(captures=st.lists(CAPTURE, min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_from_disk_a_batch_comes_back_as_it_was(tmp_path_factory: object, captures: list[Capture]) -> None:
    folder: Path = tmp_path_factory.mktemp("spool")  # type: ignore[attr-defined]
    batch = make_batch(captures, CaptureSettings(fleet="fleet", bucket="bucket", embed_limit=20), 1e9)
    Spool(folder, "sme-capture/fleet", 1 << 20).write(batch)
    again = Spool(folder, "sme-capture/fleet", 1 << 20)
    assert again.batches() == [batch.key]
    found = again.read(batch.key)
    assert found is not None
    assert (found.lines, found.raw, found.ids) == (batch.lines, batch.raw, batch.ids)
    again.remove(batch.key)
    assert not list((folder / "sme-capture" / "fleet").iterdir())


def test_what_somebody_laid_beside_a_batch_s_large_tensors_is_not_of_it(tmp_path: Path) -> None:
    capture = Capture("0" * 32, "net", 1e9, (CapturedItem("a", "Tensor[UINT8; 30]", bytes(30)),), ())
    batch = make_batch([capture], CaptureSettings(fleet="fleet", bucket="bucket", embed_limit=20), 1e9)
    spool = Spool(tmp_path, "sme-capture/fleet", 1 << 20)
    spool.write(batch)
    (tmp_path / f"{batch.raw[0][0]}.bak").write_text("mine")
    found = spool.read(batch.key)
    assert found is not None
    assert found.raw == batch.raw
