"""A device without a network, for long: what is kept, what goes, and that everything arrives once when it is back."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.capture.conftest import PICTURE, request
from agent.capture.s3_proxy import S3Proxy, StoredCaptures
from emflow_agent.capture import spool
from emflow_agent.capture.buffer import CaptureBuffer
from emflow_agent.capture.jsonl import Batch, Capture, CapturedItem
from emflow_agent.capture.retries import ProblemLog
from emflow_agent.capture.s3 import CaptureBucket, UploadNotConfigured
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from support import until

Agent = Callable[..., AgentStub]
Make = Callable[..., CaptureBuffer]
Status = m.CaptureDataStatus


def capture(data: bytes = b"", size: int = 10) -> Capture:
    sent = request()
    tensor = CapturedItem("picture", f"Tensor[UINT8; {len(data) or size}]", data or bytes(size))
    return Capture(sent.capture_id, "scenes", 1e9, (tensor,), ())


def ids_on(folder: Path) -> list[str]:
    """The capture ids of all lines under a folder, which others may work in."""
    texts = [path.read_text() for path in files_in(folder) if path.suffix == ".jsonl" and path.exists()]
    return [json.loads(line)["eventMetadata"]["eventId"] for text in texts for line in text.splitlines()]


def files_in(folder: Path) -> list[Path]:
    # Not rglob: folders vanish under it while they are emptied.
    return [Path(place) / name for place, _, names in os.walk(folder) for name in names]


def put_all(capturing: CaptureBuffer, captures: list[Capture]) -> None:
    """Hand over one after the other, as the buffer takes them."""
    for one in captures:
        until(lambda one=one: taken(capturing, one), what="room in the buffer")


def taken(capturing: CaptureBuffer, one: Capture) -> bool:
    from emflow_agent.errors import BufferFull

    try:
        capturing.put(one)
    except BufferFull:
        return False
    return True


def test_what_comes_while_the_network_is_away_waits_on_disk_and_arrives_once(
    capturing: Make, network: S3Proxy, bucket: StoredCaptures, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    one = capturing(bucket=bucket.name, folder=disk)
    captures = [capture(size=5000) for _ in range(24)]
    put_all(one, captures[:6])
    until(lambda: len(bucket.events()) == 6)
    assert not files_in(disk), "nothing is written while the network is there"
    network.down()
    put_all(one, captures[6:18])
    until(lambda: len(ids_on(disk)) == 12)
    assert {one.status(each.id) for each in captures[6:18]} == {Status.IN_PROGRESS}
    network.up()
    put_all(one, captures[18:])
    until(lambda: len(bucket.events()) == 24)
    assert sorted(bucket.events()) == sorted(each.id for each in captures)
    until(lambda: not files_in(disk), what="an empty folder")
    assert {one.status(each.id) for each in captures} == {Status.SUCCESS}
    # A line's large tensors are there too, each where its line says.
    for key in bucket.lines():
        for line in bucket.read(key).splitlines():
            reference = json.loads(line)["deviceFleetInputs"][0]["dataRef"]
            assert len(bucket.read(reference.removeprefix(f"s3://{bucket.name}/"))) == 5000


def test_what_an_earlier_run_left_on_disk_is_uploaded_under_its_old_keys(
    capturing: Make, network: S3Proxy, bucket: StoredCaptures, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    network.down()
    one = capturing(bucket=bucket.name, folder=disk)
    captures = [capture(size=5000) for _ in range(7)]
    put_all(one, captures)
    one.close(5.0)
    keys = {path.relative_to(disk).as_posix() for path in files_in(disk)}
    assert sorted(ids_on(disk)) == sorted(each.id for each in captures)
    again = capturing(bucket=bucket.name, folder=disk)
    assert {again.status(each.id) for each in captures} == {Status.IN_PROGRESS}
    network.up()
    until(lambda: not files_in(disk))
    assert set(bucket.keys()) == keys
    until(lambda: {again.status(each.id) for each in captures} == {Status.SUCCESS})


@pytest.mark.parametrize("kept", [True, False], ids=["on disk", "in memory"])
def test_an_upload_whose_answer_was_lost_is_repeated_to_the_same_place(
    capturing: Make, network: S3Proxy, bucket: StoredCaptures, tmp_path: Path, kept: bool
) -> None:
    settings = {"bucket": bucket.name, "folder": tmp_path / "disk", "to_cloud": False, "upload": True}
    one = capturing(**settings) if kept else capturing(bucket=bucket.name)
    network.deaf = True
    sent = capture()
    put_all(one, [sent])
    until(lambda: bucket.events() == [sent.id], what="the upload, whose answer is lost")
    network.down()
    network.deaf = False
    if kept:
        one.close(1.0)
        one = capturing(**settings)
    network.up()
    until(lambda: not files_in(tmp_path / "disk") and (kept or one.status(sent.id) == Status.SUCCESS))
    assert bucket.events() == [sent.id]


def test_disk_is_the_destination_and_is_uploaded_now_and_then(
    capturing: Make, network: S3Proxy, bucket: StoredCaptures, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    one = capturing(bucket=bucket.name, folder=disk, to_cloud=False, upload=True)
    network.down()
    captures = [capture() for _ in range(5)]
    put_all(one, captures)
    until(lambda: {one.status(each.id) for each in captures} == {Status.SUCCESS}, what="all on disk")
    network.up()
    until(lambda: sorted(bucket.events()) == sorted(each.id for each in captures))
    until(lambda: not files_in(disk))


def test_the_oldest_go_when_the_disk_budget_is_used_and_it_is_reported_once(
    capturing: Make, network: S3Proxy, bucket: StoredCaptures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = tmp_path / "disk"
    network.down()
    # A batch takes a block for its lines and two for each of its large tensors.
    one = capturing(bucket=bucket.name, folder=disk, batch=1, disk_budget=5 * 3 * 4096)
    captures = [capture(size=5000) for _ in range(20)]
    put_all(one, captures)
    until(lambda: one.counts["dropped"] == 15)
    until(lambda: sorted(ids_on(disk)) == sorted(each.id for each in captures[15:]))
    assert sum(path.stat().st_size for path in files_in(disk)) <= 5 * 3 * 4096
    assert {one.status(each.id) for each in captures[:15]} == {Status.FAILURE}
    assert len([each for each in caplog.records if "the oldest captures are removed" in each.getMessage()]) == 1
    network.up()
    until(lambda: sorted(bucket.events()) == sorted(each.id for each in captures[15:]))


def test_trouble_that_comes_and_goes_is_reported_every_ten_minutes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    now = 0.0
    bout = ProblemLog(lambda: now)
    for second in range(3600):
        now = float(second)
        bout.report("offline", "no network")
        bout.resolved("network")
    assert [each.getMessage() for each in caplog.records] == ["captured data: no network", "captured data: network"] * 6
    caplog.clear()
    for second in range(3600, 7200):
        now = float(second)
        bout.report("offline", "no network")
    assert len(caplog.records) == 1, "once for as long as it lasts"


def test_captured_pictures_are_not_for_everybody(capturing: Make, tmp_path: Path) -> None:
    one = capturing(folder=tmp_path / "disk", to_cloud=False)
    put_all(one, [capture(size=5000)])
    until(lambda: one.counts["stored"])
    for path in (tmp_path / "disk").rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO, path


def test_ending_uploads_what_waits(capturing: Make, network: S3Proxy, bucket: StoredCaptures) -> None:
    one = capturing(bucket=bucket.name, push_period=60.0)
    captures = [capture(), capture()]
    put_all(one, captures)
    one.close(20.0)
    assert sorted(bucket.events()) == sorted(each.id for each in captures)


def test_ending_without_network_or_a_folder_tells_what_is_lost(
    capturing: Make, network: S3Proxy, bucket: StoredCaptures, caplog: pytest.LogCaptureFixture
) -> None:
    network.down()
    one = capturing(bucket=bucket.name, push_period=60.0)
    lost = capture()
    put_all(one, [lost])
    one.close(20.0)
    assert one.status(lost.id) == Status.FAILURE
    assert "1 captures are lost" in caplog.text


def test_a_slow_s3_holds_up_neither_clients_nor_the_end(
    agent: Agent, capturing: Make, network: S3Proxy, bucket: StoredCaptures, tmp_path: Path
) -> None:
    network.delay = 60.0
    one = capturing(bucket=bucket.name, folder=tmp_path / "disk", batch=3, buffer=9)
    captures = [capture() for _ in range(9)]
    for each in captures:
        one.put(each)
    assert not taken(one, capture())
    one.close(0.3)
    assert sorted(ids_on(tmp_path / "disk")) == sorted(each.id for each in captures)


def test_several_models_get_an_object_each(capturing: Make, tmp_path: Path) -> None:
    one = capturing(folder=tmp_path / "disk", to_cloud=False, push_period=0.2)
    for model in ("cats", "dogs", "cats"):
        one.put(Capture(request().capture_id, model, 1e9, capture().inputs, ()))
    until(lambda: one.counts["stored"] == 3)
    lines = {file.parts[-6]: len(file.read_text().splitlines()) for file in (tmp_path / "disk").rglob("*.jsonl")}
    assert lines == {"cats": 2, "dogs": 1}


@pytest.mark.parametrize("size", [PICTURE, 10])
def test_a_batch_that_the_budget_cannot_hold_is_a_failure(capturing: Make, tmp_path: Path, size: int) -> None:
    one = capturing(folder=tmp_path / "disk", to_cloud=False, disk_budget=0)
    lost = capture(size=size)
    put_all(one, [lost])
    until(lambda: one.status(lost.id) == Status.FAILURE)
    assert not files_in(tmp_path / "disk")


def test_without_credentials_only_the_oldest_batch_is_tried(
    capturing: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def store(_: object, batch: Batch) -> None:
        tried.append(batch.key)
        raise UploadNotConfigured("there are no AWS credentials")

    monkeypatch.setattr(CaptureBucket, "store", store)
    one = capturing(to_cloud=False, bucket="a-sagemaker", folder=tmp_path, batch=1, upload=True)
    put_all(one, [capture() for _ in range(5)])
    until(lambda: len(ids_on(tmp_path)) == 5 and len(tried) > 5)
    assert set(tried) == {tried[0]}


def test_a_disk_that_is_slow_for_a_while_makes_no_batch_smaller(
    capturing: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, go_on = spool.Spool.write, threading.Event()

    def slow_write(folder: spool.Spool, batch: Batch) -> object:
        assert go_on.wait(60)
        return write(folder, batch)

    monkeypatch.setattr(spool.Spool, "write", slow_write)
    one = capturing(to_cloud=False, folder=tmp_path / "disk", batch=3, buffer=20, push_period=60.0)
    captures = [capture() for _ in range(7)]
    put_all(one, captures)
    go_on.set()
    until(lambda: len(ids_on(tmp_path / "disk")) == 6)
    put_all(one, [capture(), capture()])
    until(lambda: len(ids_on(tmp_path / "disk")) == 9)
    lines = [len(file.read_text().splitlines()) for file in files_in(tmp_path / "disk") if file.suffix == ".jsonl"]
    assert lines == [3, 3, 3]
