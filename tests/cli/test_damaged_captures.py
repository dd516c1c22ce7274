"""`emflow captures` on what others damaged: one message for each, and all that is whole is still there."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.test_captures import IDS, folder  # noqa: F401 a fixture
from emflow.results.capture_export import export, statistics
from emflow.results.capture_stores import FolderStore, batches
from emflow.results.captures import Capture, NotACapture, read_batch

GOOD = {
    "deviceFleetInputs": [
        {"name": "x", "observedContentType": "Tensor[UINT8; 1, 4]", "encoding": "BASE64", "data": "AAECAw=="}
    ],
    "deviceFleetOutputs": [
        {"name": "y", "observedContentType": "Tensor[FLOAT32; 1]", "encoding": "BASE64", "data": "AACAPw=="}
    ],
    "eventMetadata": {"eventId": "good", "modelName": "net", "inferenceTime": "2022-05-06T07:08:09Z"},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from(["\ud800", "BASE64", "9" * 999]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KINDS = st.sampled_from(
    ["Tensor[UINT8; 1,,4]", "Tensor[UINT8; ]", "Tensor[UINT8; 1 4]", f"Tensor[UINT8; {'9' * 5000}]", "Tensor[BOOL; 1]",
     "Tensor[UINT8; " + ", ".join(["1"] * 90) + "]", "Tensor[FLOAT32; 0]", "Tensor[UINT8; ٤]", "Tensor[INT64; 1, 4]"]
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    made = dict(value) if isinstance(value, dict) else list(value)
    made[path[0]] = put(value[path[0]], path[1:], new)
    return made


@st.composite
def damaged_lines(draw: st.DrawFn) -> bytes:
    """A line of a batch that was changed in one place, or in its bytes."""
    how = draw(st.sampled_from(["value", "kind", "cut", "bytes", "deep"]))
    if how == "deep":
        return draw(st.sampled_from([b"[" * 50_000, b'{"eventMetadata":' * 50_000, b'{"a": 1e999}', b'{"a": NaN}']))
    if how in ("value", "kind"):
        place = draw(st.sampled_from(list(places(GOOD))))
        new = draw(JSON) if how == "value" else draw(KINDS)
        return json.dumps(put(GOOD, place, new)).encode()
    line = json.dumps(GOOD).encode()
    where = draw(st.integers(0, len(line) - 1))
    if how == "cut":
        return line[:where]
    return (
        line[:where] + draw(st.binary(min_size=1, max_size=4)).replace(b"\n", b" ").replace(b"\r", b" ") + line[where:]
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(damaged_lines(), min_size=1, max_size=3))
def test_beside_any_damaged_line_the_whole_ones_are_read(tmp_path: Path, damaged: list[bytes]) -> None:
    hour = tmp_path / "fleet" / "net" / "2022" / "05" / "06" / "07"
    hour.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(GOOD).encode(), *damaged, json.dumps(GOOD).encode()]
    (hour / "batch.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    store = FolderStore(tmp_path)
    (key,) = batches(store)
    entries = list(read_batch(store, key))
    assert len(entries) >= len(lines) - sum(not line.strip() for line in lines)
    assert [entry.id for entry in (entries[0], entries[-1]) if isinstance(entry, Capture)] == ["good", "good"]
    for entry in entries:
        if isinstance(entry, NotACapture):
            assert entry.reason
            assert "\n" not in entry.reason.strip()
            continue
        for part in entry.parts(store):
            json.dumps(statistics(part), allow_nan=False)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        assert all(path.is_file() for path in export(entry, entry.parts(store), tmp_path / "out"))


def test_no_damage_is_called_a_mistake_in_emflow(emflow, folder: Path, tmp_path: Path) -> None:  # noqa: F811
    newest = max(folder.rglob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    odd = [
        "{", "null", "[]", '"text"', "7", "[" * 100_000, '{"eventMetadata": []}', '{"eventMetadata": "eventId"}',
        '{"eventMetadata": {}}', '{"eventMetadata": {"eventId": "a"}, "deviceFleetInputs": 7}',
        '{"eventMetadata": {"eventId": "\\ud800"}, "deviceFleetOutputs": {"a": 1}}',
    ]  # fmt: skip
    newest.write_text("\n".join(odd) + "\n")
    refused = {"list": 9, "show": 9}
    for command, more in (("list", ()), ("show", (IDS[0],)), ("export", (tmp_path / "out",))):
        ran = emflow("captures", command, folder, *more)
        assert ran.code == 0, ran.err
        assert "bug in emflow" not in ran.err
        assert len(re.findall(r", line \d+: not a capture \(.+\)$", ran.err, re.MULTILINE)) == refused.get(command, 9)
        as_json = emflow("captures", command, folder, *more, "--json")
        json.loads(as_json.out)


def test_a_batch_that_cannot_be_read_is_reported_and_the_others_are_read(emflow, folder: Path) -> None:  # noqa: F811
    newest = max(folder.rglob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    newest.unlink()
    (newest.parent / "loop.jsonl").symlink_to("loop.jsonl")
    os.mkfifo(newest.parent / "pipe.jsonl")
    (newest.parent / "folder.jsonl").mkdir()
    secret = newest.parent / "locked.jsonl"
    secret.write_bytes(b"x")
    secret.chmod(0)
    ran = emflow("captures", "list", folder)
    assert (ran.code, len(ran.out.splitlines())) == (0, 3)
    if os.getuid():  # root reads it
        assert "locked.jsonl: cannot be read: Permission denied" in ran.err


def test_numbers_that_are_none_are_counted_and_leave_the_others_known(emflow, tmp_path: Path) -> None:
    hour = tmp_path / "got" / "fleet" / "net" / "2022" / "05" / "06" / "07"
    hour.mkdir(parents=True)

    def line(name: str, *values: float) -> str:
        data = base64.b64encode(struct.pack(f"<{len(values)}d", *values)).decode()
        kind = f"Tensor[FLOAT64; {len(values)}]"
        part = {"name": "y", "observedContentType": kind, "encoding": "BASE64", "data": data}
        return json.dumps({"deviceFleetOutputs": [part], "eventMetadata": {"eventId": name}})

    nan, inf = float("nan"), float("inf")
    lines = [line("some", nan, 2.0, inf, 1.0), line("none", nan, -inf), line("huge", 1.7e308, 1.7e308)]
    (hour / "batch.jsonl").write_text("\n".join(lines) + "\n")
    found = {}
    for name in ("some", "none", "huge"):
        shown = json.loads(
            emflow("captures", "show", tmp_path / "got", name, "--json").out,
            parse_constant=lambda text: pytest.fail(text),
        )
        found[name] = shown["parts"][0]["statistics"]
        assert "parts" in shown
    assert found["some"] == {"min": 1.0, "max": 2.0, "mean": 1.5, "std": 0.5, "argmax": 1, "not_finite": 2}
    assert found["none"] is None
    assert found["huge"]["mean"] is None
    said = emflow("captures", "show", tmp_path / "got", "some")
    assert "largest at 1, 2 values are NaN or infinite" in said.out
    assert said.err == ""
    assert "mean not known" in emflow("captures", "show", tmp_path / "got", "huge").out


def test_more_captures_than_the_limit_are_not_left_unsaid(emflow, folder: Path, tmp_path: Path) -> None:  # noqa: F811
    older = "there are older captures than these"
    assert f"{older} 2" in emflow("captures", "list", folder, "--limit", 2).err
    assert f"{older} 2" in emflow("captures", "list", folder, "--limit", 2, "--json").err
    assert f"{older} 1" in emflow("captures", "export", folder, tmp_path / "out", "--limit", 1).err
    for command in (("list", folder, "--limit", 4), ("export", folder, tmp_path / "out", "--id", IDS[0])):
        assert older not in emflow("captures", *command).err


def test_two_tensors_that_have_the_same_name_as_files_are_both_exported(emflow, tmp_path: Path) -> None:
    hour = tmp_path / "got" / "fleet" / "net" / "2022" / "05" / "06" / "07"
    hour.mkdir(parents=True)
    parts = [
        {"name": name, "observedContentType": "Tensor[UINT8; 1]", "data": base64.b64encode(bytes([number])).decode()}
        for number, name in enumerate(("a b", "a_b"))
    ]
    about = {"eventMetadata": {"eventId": "two"}}
    (hour / "batch.jsonl").write_text(json.dumps({"deviceFleetOutputs": parts, **about}) + "\n")
    assert emflow("captures", "export", tmp_path / "got", tmp_path / "out").code == 0
    with np.load(tmp_path / "out" / "two.npz") as arrays:
        assert sorted(int(arrays[name][0]) for name in arrays) == [0, 1]
