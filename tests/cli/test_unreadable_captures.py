"""`emflow captures` where batches or folders cannot be read: what was read before and beside them is still printed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from emflow.cli.capture_reader import MOST_UNREADABLE, CaptureReader
from emflow.problems import Problem
from emflow.resources.s3.captures import CaptureBucket
from emflow.results.capture_stores import MOST_BYTES, Children, FolderStore, batches
from emflow_emulator.aws import REGION, EmbeddedAws

NOT_TRIED = f"{MOST_UNREADABLE} batches in a row cannot be read; the rest was not tried"
OLDER = "there are older captures than these"


def line(name: str) -> str:
    tensor = {"name": "x", "observedContentType": "Tensor[UINT8; 1, 4]", "encoding": "BASE64", "data": "AAECAw=="}
    return json.dumps({"deviceFleetInputs": [tensor], "eventMetadata": {"eventId": name}}) + "\n"


def write(root: Path, day: int, name: str) -> Path:
    """A batch of one capture."""
    file = root / "fleet" / "net" / "2022" / "05" / f"{day:02}" / "07" / f"{name}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(line(name))
    return file


def make_unreadable(file: Path) -> None:
    """A batch that is larger than any that is read, without taking the disk."""
    os.truncate(file, MOST_BYTES + 1)


@pytest.fixture
def archived(tmp_path: Path) -> Path:
    """Two batches, and before them so many that cannot be read that the oldest batch is not tried."""
    root = tmp_path / "disk"
    write(root, 1, "oldest")
    for number in range(MOST_UNREADABLE):
        make_unreadable(write(root, 2, f"cold-{number:02}"))
    for day, name in ((3, "first"), (4, "second")):
        write(root, day, name)
    return root


def test_what_was_read_before_unreadable_batches_is_listed(emflow, archived: Path) -> None:
    ran = emflow("captures", "list", archived)
    assert (ran.code, [row.split()[-1] for row in ran.out.splitlines()]) == (0, ["second", "first"])
    assert ran.err.count(NOT_TRIED) == 1
    assert ran.err.count("cold-07.jsonl: cannot be read") == 1
    assert "Glacier" in ran.err
    as_json = emflow("captures", "list", archived, "--json")
    assert (as_json.code, [each["id"] for each in json.loads(as_json.out)]) == (0, ["second", "first"])
    assert NOT_TRIED in as_json.err


def test_what_was_exported_before_unreadable_batches_is_named(emflow, archived: Path, tmp_path: Path) -> None:
    ran = emflow("captures", "export", archived, tmp_path / "out", "--json")
    assert ran.code == 0
    assert NOT_TRIED in ran.err
    assert [Path(each).name for each in json.loads(ran.out)] == ["second.npz", "first.npz"]
    by_id = emflow("captures", "export", archived, tmp_path / "out", "--id", "first", "--id", "oldest", "--json")
    assert by_id.code == 1
    assert [Path(each).name for each in json.loads(by_id.out)] == ["first.npz"]
    assert NOT_TRIED in by_id.err


def test_one_capture_is_shown_or_its_absence_is_one_reason(emflow, archived: Path) -> None:
    assert emflow("captures", "show", archived, "first").code == 0
    ran = emflow("captures", "show", archived, "oldest")
    assert ran.code == 1
    assert f"no capture oldest so far: {NOT_TRIED}" in ran.err


def test_where_nothing_can_be_read_it_is_an_error(emflow, archived: Path) -> None:
    for file in archived.rglob("*.jsonl"):
        make_unreadable(file)
    for options in ((), ("--json",)):
        ran = emflow("captures", "list", archived, *options)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.count(NOT_TRIED) == 1
        assert "no captures in" not in ran.err


@pytest.mark.parametrize("command", ["list", "export"])
def test_the_look_for_older_captures_prints_nothing_else(emflow, archived: Path, tmp_path: Path, command: str) -> None:
    more = [tmp_path / "out"] if command == "export" else []
    ran = emflow("captures", command, archived, *more, "--limit", 2)
    assert ran.code == 0
    assert OLDER in ran.err
    assert "cold-" not in ran.err
    assert "not tried" not in ran.err


class Ending(FolderStore):
    """A store that does not answer any more after some reads."""

    def __init__(self, root: Path, reads: int) -> None:
        super().__init__(root)
        self._reads = reads

    def read(self, key: str) -> bytes | None:
        self._reads -= 1
        if self._reads < 0:
            raise Problem("the network is down")
        return super().read(key)


def test_the_look_for_older_captures_never_raises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day in (1, 2):
        write(tmp_path, day, f"at-{day}")
    reader = CaptureReader(Ending(tmp_path, 1), "", None)
    assert next(reader.captures()).id == "at-2"
    assert not reader.has_older()
    assert capsys.readouterr().err == ""


def test_objects_in_an_archive_do_not_hide_those_that_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedAws(port=0) as aws:
        session: Any = boto3.Session(aws.credentials.id, aws.credentials.secret, region_name=REGION)
        s3, name = session.client("s3", endpoint_url=aws.endpoint_url), "emflow-sagemaker-archived-captures"
        s3.create_bucket(Bucket=name)
        for number in range(MOST_UNREADABLE):
            key = f"fleet/net/2022/05/06/07/cold-{number:02}.jsonl"
            s3.put_object(Bucket=name, Key=key, Body=line("cold").encode(), StorageClass="GLACIER")
        s3.put_object(Bucket=name, Key="fleet/net/2022/05/07/07/warm.jsonl", Body=line("warm").encode())
        captures = CaptureReader(CaptureBucket(s3, name), "", None).captures()
        assert next(captures).id == "warm"
        with pytest.raises(Problem, match="the rest was not tried"):
            next(captures)
        said = capsys.readouterr().err
        assert said.count("InvalidObjectState") == MOST_UNREADABLE


@contextmanager
def as_another_user() -> Iterator[None]:
    """Without the rights of root, which reads everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def locked() -> Iterator[tuple[Path, Callable[[Path], None]]]:
    """A folder that every user of the machine reaches, and what takes a folder in it from all of them."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        taken = []

        def take(folder: Path) -> None:
            taken.append(folder)
            folder.chmod(0)

        yield root, take
        for folder in taken:
            folder.chmod(0o755)


@pytest.mark.parametrize("level", range(1, 6))
def test_a_folder_that_cannot_be_read_is_one_message_and_the_others_are_read(
    locked: tuple[Path, Callable[[Path], None]], capsys: pytest.CaptureFixture[str], level: int
) -> None:
    root, take = locked
    write(root, 1, "there")
    folders = ["fleet-2", "net", "2023", "05", "06", "07"]
    (root / Path(*folders)).mkdir(parents=True)
    take(root / Path(*folders[:level]))
    with as_another_user():
        reader = CaptureReader(FolderStore(root), "", None)
        for _ in range(2):
            assert [each.id for each in reader.captures()] == ["there"]
    place = "/".join(folders[:level])
    assert capsys.readouterr().err == f"{place}/: the folder cannot be read: Permission denied\n"


def test_a_source_that_cannot_be_read_is_one_message(
    emflow, locked: tuple[Path, Callable[[Path], None]], tmp_path: Path
) -> None:
    root, take = locked
    take(root)
    with as_another_user(), pytest.raises(Problem, match="cannot be read: Permission denied"):
        FolderStore(root)
    for source, what in (("missing", "there is no such folder"), ("x" * 300, "cannot be read: File name too long")):
        ran = emflow("captures", "list", tmp_path / source)
        assert (ran.code, ran.out) == (1, "")
        assert what in ran.err
        assert len(ran.err.strip().splitlines()) == 2


def test_a_folder_that_goes_while_it_is_read_has_nothing_in_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    write(tmp_path, 1, "there")
    assert store.children("fleet/gone/") == Children((), ())
    assert store.children("fleet/net/2022/05/01/07/there.jsonl/") == Children((), ())
    keys = batches(store)
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert list(keys) == []
