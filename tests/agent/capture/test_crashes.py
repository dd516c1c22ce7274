"""Killed at any moment, and with a disk that is full: what was stored arrives whole and once."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.capture.capture_until_killed import tensor_of
from agent.capture.s3_proxy import S3Proxy, StoredCaptures
from agent.capture.test_offline import capture, files_in, ids_on, put_all
from agent.capture.write_and_fail import stored_batch
from emflow_agent.capture import spool
from emflow_agent.capture.buffer import CaptureBuffer
from emflow_agent.capture.jsonl import RAW_FOLDER, Batch
from emflow_proto import messages as m
from support import Process, until

PROGRAM = Path(__file__).with_name("capture_until_killed.py")
ROUNDS = 8


@pytest.mark.e2e
def test_killed_while_it_writes_and_uploads_all_that_was_stored_arrives_once(
    start: Callable[..., Process],
    capturing: Callable[..., CaptureBuffer],
    network: S3Proxy,
    bucket: StoredCaptures,
    tmp_path: Path,
) -> None:
    disk, chance, stored = tmp_path / "disk", random.Random(7), set()
    for _ in range(ROUNDS):
        network.delay = chance.choice((0.0, 0.002))
        process = start(sys.executable, str(PROGRAM), bucket.name, str(disk))
        until(lambda process=process: process.text().count("\n") > 5, what="captures on disk")
        # Somewhere in the middle of whatever it does.
        with pytest.raises(subprocess.TimeoutExpired):
            process.popen.wait(chance.uniform(0.0, 0.6))
        process.popen.kill()
        process.popen.wait()
        stored |= set(re.findall(r"^([0-9a-f-]{36})$", process.text(), re.MULTILINE))
    network.delay = 0.0
    left = ids_on(disk)
    capturing(bucket=bucket.name, folder=disk, to_cloud=False, upload=True)
    until(lambda: not files_in(disk), what="an empty folder")
    arrived = Counter(bucket.events())
    assert stored <= set(arrived)
    assert set(left) <= set(arrived)
    assert set(arrived.values()) == {1}
    assert len(bucket.lines()) == len(set(bucket.lines()))
    keys, referred = set(bucket.keys()), set()
    for key in bucket.lines():
        for text in bucket.read(key).splitlines():
            line = json.loads(text)
            place = line["deviceFleetInputs"][0]["dataRef"].removeprefix(f"s3://{bucket.name}/")
            referred.add(place)
            assert bucket.read(place) == tensor_of(line["eventMetadata"]["eventId"])
    assert keys - set(bucket.lines()) == referred


def test_what_a_crash_left_half_made_is_removed_at_the_next_start(
    capturing: Callable[..., CaptureBuffer], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    first = capturing(folder=disk, to_cloud=False)
    put_all(first, [capture(size=5000)])
    first.close(5.0)
    (whole,) = disk.rglob("*.jsonl")
    inputs = whole.parent / RAW_FOLDER / "input-tensors"
    # Lines that were not renamed yet, a tensor without its lines, and something that is none of our business.
    (whole.parent / f"{'a' * 32}.jsonl.part").write_bytes(b"{")
    (inputs / f"{'b' * 32}-0").write_bytes(b"1")
    (disk / "notes.txt").write_text("mine")
    before = len(files_in(disk))
    capturing(folder=disk, to_cloud=False)
    assert len(files_in(disk)) == before - 2
    assert (disk / "notes.txt").exists()
    assert len(ids_on(disk)) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this machine lets nobody mount a file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_full_of_ours_gives_the_oldest_for_the_newest(
    capturing: Callable[..., CaptureBuffer], small_disk: Path
) -> None:
    one = capturing(folder=small_disk, to_cloud=False, batch=1, disk_budget=1 << 30)
    captures = [capture(size=20_000) for _ in range(30)]
    put_all(one, captures)
    until(lambda: one.counts["stored"] == 30)
    kept = ids_on(small_disk)
    assert one.counts["dropped"] == 30 - len(kept) > 10
    assert sorted(kept) == sorted(each.id for each in captures[-len(kept) :])
    assert not list(small_disk.rglob("*.part"))


def test_a_full_disk_is_one_reported_failure_that_ends_when_there_is_room(
    capturing: Callable[..., CaptureBuffer], small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(240 << 10))
    one = capturing(folder=small_disk, to_cloud=False, batch=1)
    lost = [capture(size=40_000) for _ in range(3)]
    put_all(one, lost)
    until(lambda: {one.status(each.id) for each in lost} == {m.CaptureDataStatus.FAILURE})
    assert files_in(small_disk) == [ballast]
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1
    ballast.unlink()
    kept = capture(size=40_000)
    put_all(one, [kept])
    until(lambda: one.status(kept.id) == m.CaptureDataStatus.SUCCESS)


def test_a_small_disk_is_filled_but_for_one_batch_before_any_is_removed(
    capturing: Callable[..., CaptureBuffer], small_disk: Path
) -> None:
    one = capturing(folder=small_disk, to_cloud=False, batch=1, disk_budget=1 << 30)
    captures = [capture(size=20_000) for _ in range(8)]  # 192 KiB of 256; the next one and its folders take 56
    put_all(one, captures)
    until(lambda: one.counts["stored"] == 8)
    assert sorted(ids_on(small_disk)) == sorted(each.id for each in captures)


def test_the_oldest_give_way_to_the_newest_and_no_more_than_is_needed(small_disk: Path) -> None:
    dropped: list[str] = []
    disk = spool.Spool(small_disk, "p/", 1 << 30, dropped.extend)
    for at in range(8):
        disk.write(stored_batch(str(at), 20_000))
    assert dropped == []
    disk.write(stored_batch("new", 80_000))  # 84 KiB, where 64 are free
    # Those that give way to it, and as many more as it takes to keep space for another.
    assert disk.batches() == [*(f"p/m/{at}.jsonl" for at in range(6, 8)), "p/m/new.jsonl"]
    assert dropped == ["0", "1", "2", "3", "4", "5"]
    with pytest.raises(spool.BatchDoesNotFit, match="what is stored is kept"):
        disk.write(stored_batch("large", 400_000))
    assert (len(disk.batches()), len(dropped)) == (3, 6)


def test_what_gives_way_in_vain_comes_back(small_disk: Path) -> None:
    # The disk has room, but no more files: one batch frees two, and the new one takes five.
    remount = ["mount", "-o", "remount,nr_inodes=30", str(small_disk)]
    subprocess.run(remount, check=True)
    dropped: list[str] = []
    disk = spool.Spool(small_disk, "p/", 1 << 30, dropped.extend)
    with contextlib.suppress(spool.BatchDoesNotFit):
        for at in range(100):
            disk.write(stored_batch(f"{at:02}", 4000))
            if len(disk.batches()) < at + 1:
                break
    dropped.clear()
    before, keys = sorted(files_in(small_disk)), disk.batches()
    with pytest.raises(spool.BatchDoesNotFit, match="No space left"):
        disk.write(stored_batch("new", 0, 0, 0, 0))
    assert (sorted(files_in(small_disk)), disk.batches(), dropped) == (before, keys, [])
    assert all(disk.read(key) is not None for key in keys)


WRITE_AND_FAIL = Path(__file__).with_name("write_and_fail.py")


def write_and_fail(folder: Path, name: str, size: int, step: int, failure: str) -> dict[str, Any] | None:
    """Run the program; None when it was killed."""
    return run_write_and_fail(folder, name, size, step, failure)[0]


def run_write_and_fail(
    folder: Path, name: str, size: int, step: int, failure: str
) -> tuple[dict[str, Any] | None, str]:
    """Run the program; its result, None when it was killed, and its log."""
    done = subprocess.run(
        [sys.executable, str(WRITE_AND_FAIL), str(folder), name, str(size), str(step), failure],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    result: dict[str, Any] | None = None if done.returncode else json.loads(done.stdout)
    return result, done.stderr


def whole_batches(disk: spool.Spool) -> set[str]:
    """The keys of all batches, after a check that each has its one large tensor."""
    for key in disk.batches():
        batch = disk.read(key)
        assert batch is not None
        assert [len(data) for _, data in batch.raw] in ([20_000], [80_000]), key
    return set(disk.batches())


def test_killed_at_any_step_on_a_full_disk_no_batch_is_lost_for_one_not_stored(small_disk: Path) -> None:
    disk = spool.Spool(small_disk, "p/", 1 << 30)
    for at in range(12):
        disk.write(stored_batch(f"{at:02}", 20_000))
    kept, step = set(disk.batches()), 0
    while True:
        step += 1
        result, log = run_write_and_fail(small_disk, f"new{step:03}", 20_000, step, "kill")
        on_disk = {path.relative_to(small_disk).as_posix() for path in small_disk.rglob("*.jsonl")}
        new = f"p/m/new{step:03}.jsonl"
        if new not in on_disk:
            assert on_disk == kept, f"lost at step {step}"
        elif kept - on_disk:
            assert "is full; the oldest captures are removed for new ones" in log, f"step {step}"
        kept = whole_batches(spool.Spool(small_disk, "p/", 1 << 30))
        assert len(kept) == 8, f"the space for the next one is there again after step {step}"
        assert new not in on_disk or new in kept
        if result is not None:
            break
    assert step > 10
    assert result["finished"]


def test_killed_while_a_larger_batch_is_stored_what_is_lost_was_logged_before(small_disk: Path) -> None:
    seen: set[str] = set()
    for step in range(1, 200):
        for path in small_disk.iterdir():
            shutil.rmtree(path)
        disk = spool.Spool(small_disk, "p/", 1 << 30)
        for at in range(8):
            disk.write(stored_batch(f"{at:02}", 20_000))
        before = disk.batches()
        result, log = run_write_and_fail(small_disk, "new", 80_000, step, "kill")
        kept = whole_batches(spool.Spool(small_disk, "p/", 1 << 30))
        lost = [key for key in before if key not in kept]
        named = re.findall(r"the (\d+) captures up to (\S+) give way to it", log)
        if lost and "p/m/new.jsonl" not in kept:
            # The oldest, and no other than those that the line names.
            ((count, last),) = named
            assert lost == before[: len(lost)], f"step {step}"
            assert int(count) == before.index(last) + 1 >= len(lost), f"step {step}"
            seen.add("lost")
        elif not named:
            assert not lost, f"step {step}"
            seen.add("nothing was said, and nothing lost")
        if result is not None:
            break
    assert result is not None
    assert result["finished"]
    assert seen == {"lost", "nothing was said, and nothing lost"}


@pytest.mark.parametrize("failure", ["OSError", "MemoryError"])
def test_each_batch_that_gives_way_is_restored_or_reported_at_any_failure(small_disk: Path, failure: str) -> None:
    for step in range(1, 200):
        for path in small_disk.iterdir():
            shutil.rmtree(path)
        disk = spool.Spool(small_disk, "p/", 1 << 30)
        for at in range(8):
            disk.write(stored_batch(f"{at:02}", 20_000))
        result = write_and_fail(small_disk, "new", 80_000, step, failure)
        assert result is not None
        kept = whole_batches(spool.Spool(small_disk, "p/", 1 << 30))
        lost = {key for key in result["before"] if key not in kept}
        assert lost == {f"p/m/{name}.jsonl" for name in result["dropped"]}, f"step {step}: {result}"
        assert ("p/m/new.jsonl" in kept) == (not result["raised"]), f"step {step}: {result}"
        if result["finished"]:
            break
    assert step > 10
    assert result is not None
    assert result["finished"]


def test_a_disk_that_others_fill_costs_no_capture_that_is_stored(
    capturing: Callable[..., CaptureBuffer], small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    one = capturing(folder=small_disk, to_cloud=False, batch=1, disk_budget=512 << 20)
    stored = [capture(size=3_000) for _ in range(15)]
    put_all(one, stored)
    until(lambda: one.counts["stored"] == 15)
    before = files_in(small_disk)
    ballast = small_disk / "ballast"
    fill(ballast)
    lost = [capture(size=3_000) for _ in range(25)]
    put_all(one, lost)
    until(lambda: one.counts["failed"] == 25)
    assert sorted(ids_on(small_disk)) == sorted(each.id for each in stored)
    assert sorted(files_in(small_disk)) == sorted([*before, ballast]), "and no part of the others"
    assert {one.status(each.id) for each in stored} == {m.CaptureDataStatus.SUCCESS}
    assert {one.status(each.id) for each in lost} == {m.CaptureDataStatus.FAILURE}
    assert (one.counts["stored"], one.counts["failed"], one.counts["dropped"]) == (15, 25, 0)
    (said,) = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert "No space left on device; what is stored is kept" in said
    ballast.unlink()
    put_all(one, [capture(size=3_000)])
    until(lambda: one.counts["stored"] == 16)
    assert "captured data: writing works again; 25 captures were lost" in caplog.messages


def fill(file: Path) -> None:
    """Write to a file until the disk is full."""
    with file.open("wb", buffering=0) as opened, contextlib.suppress(OSError):
        while True:
            opened.write(bytes(4096))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_write_that_fails_at_any_step_removes_nothing_that_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    dropped: list[str] = []
    disk = spool.Spool(tmp_path, "p/", 2 * 3 * 4096, dropped.extend)
    batches = [
        Batch(f"p/m/{at}.jsonl", (f"{at:032x}",), b"{}\n", ((f"p/m/raw-data/x/{at}-0", bytes(5000)),))
        for at in range(3)
    ]
    for batch in batches[:2]:
        disk.write(batch)
    before = sorted(files_in(tmp_path))
    for step in ("fsync", "rename", "mkdir"):
        with monkeypatch.context() as failing:
            failing.setattr(
                *_FAILING[step], lambda *_, **__: (_ for _ in ()).throw(OSError(number, "as the test says"))
            )
            with pytest.raises((OSError, spool.BatchDoesNotFit)):
                disk.write(Batch("p/other/1.jsonl", (), b"{}\n", (("p/other/raw-data/x/1-0", bytes(5000)),)))
        assert (sorted(files_in(tmp_path)), dropped) == (before, []), step
    disk.write(batches[2])
    assert disk.batches() == ["p/m/1.jsonl", "p/m/2.jsonl"]


_FAILING = {"fsync": (os, "fsync"), "rename": (Path, "rename"), "mkdir": (Path, "mkdir")}


LIMITED = """
import resource, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
from emflow_agent.capture import spool
from emflow_agent.capture.buffer import CaptureBuffer
from emflow_agent.capture.jsonl import Capture, CapturedItem
from emflow_agent.capture.settings import CaptureSettings
one = CaptureBuffer(CaptureSettings(fleet="f", to_cloud=False, folder=Path(sys.argv[1]), batch=1, push_period=0.01))
one.open()
one.start()
for at, size in enumerate((20_000, 40_000, 20_000)):
    one.put(Capture(f"{at:032x}", "net", 1e9, (CapturedItem("x", "Tensor[UINT8; 1]", bytes(size)),), ()))
one.close(20)
print(*(one.status(f"{at:032x}").name for at in range(3)))
"""


def test_files_that_may_not_be_that_large_are_failures_and_the_others_are_kept(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "disk")], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["SUCCESS", "FAILURE", "SUCCESS"], done.stderr
    assert not list((tmp_path / "disk").rglob("*.part"))
