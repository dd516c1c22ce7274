"""Batches that give way to newer ones while they are being uploaded: each capture has one end, and is counted once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.capture.s3_proxy import S3Proxy, StoredCaptures
from agent.capture.test_offline import capture, files_in, put_all
from emflow_agent.capture.buffer import CaptureBuffer
from emflow_agent.capture.jsonl import Batch, make_batch
from emflow_agent.capture.retries import RetryPause
from emflow_agent.capture.s3 import CaptureBucket, S3Unreachable
from emflow_agent.capture.settings import CaptureSettings
from emflow_agent.capture.spool import Spool
from emflow_proto import messages as m
from support import until

Status = m.CaptureDataStatus
BATCH = 3 * 4096
"""Bytes on the disk of a batch with one capture of 5000 bytes: a block for its lines, two for the tensor."""


class GatedBucket(CaptureBucket):
    """The real bucket; an upload waits at a gate, and may find the network away behind it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.closed = False
        self.fails = False
        self.waiting: list[str] = []
        self._gate = threading.Event()

    def open(self) -> None:
        self.closed = False
        self._gate.set()

    def store(self, batch: Batch) -> None:
        if self.closed:
            self.waiting.append(batch.key)
            assert self._gate.wait(60)
            if self.fails:
                self.fails = False
                raise S3Unreachable("the network is away")
        super().store(batch)


@pytest.fixture(params=[True])
def gated(bucket: StoredCaptures, network: S3Proxy, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """A buffer with a folder for three batches, or without one, and its bucket, whose gate is closed."""
    gate = GatedBucket(bucket.name)
    folder = tmp_path / "disk" if request.param else None
    settings = CaptureSettings(
        fleet="orchard", device="board", bucket=bucket.name, folder=folder, disk_budget=3 * BATCH,
        batch=1, buffer=9, push_period=0.05,
    )  # fmt: skip
    one = CaptureBuffer(settings, gate, retry_pause=lambda: RetryPause(0.02, 0.1))
    one.open()
    one.start()
    yield one, gate
    gate.open()
    one.close(5.0)


@pytest.mark.parametrize("fails", [False, True], ids=["and arrives", "and fails"])
def test_a_batch_that_gives_way_while_it_is_uploaded_is_counted_once(
    gated: tuple[CaptureBuffer, GatedBucket], network: S3Proxy, bucket: StoredCaptures, tmp_path: Path, fails: bool
) -> None:
    one, gate = gated
    network.down()
    captures = [capture(size=5000) for _ in range(9)]
    put_all(one, captures[:1])
    until(lambda: files_in(tmp_path / "disk"), what="the first batch on the disk")
    gate.closed, gate.fails = True, fails
    network.up()
    until(lambda: gate.waiting, what="the first batch on its way")
    (first,) = gate.waiting
    put_all(one, captures[1:])
    until(lambda: not (tmp_path / "disk" / first).exists(), what="the first batch to give way")
    gate.open()
    until(lambda: all(one.status(each.id) != Status.IN_PROGRESS for each in captures), what="an end of each")
    until(lambda: not files_in(tmp_path / "disk"), what="an empty folder")
    stored = {each.id for each in captures if one.status(each.id) == Status.SUCCESS}
    assert set(bucket.events()) == stored
    assert (captures[0].id in stored) is not fails
    counts = one.counts
    assert (counts["stored"], counts["dropped"]) == (len(stored), len(captures) - len(stored))
    assert sum(counts.values()) == len(captures)


@pytest.mark.parametrize("gated", [True, False], ids=["with a folder", "without one"], indirect=True)
def test_a_batch_on_its_way_when_the_agent_ends_has_one_end(
    gated: tuple[CaptureBuffer, GatedBucket], bucket: StoredCaptures
) -> None:
    one, gate = gated
    gate.closed = True
    sent = capture(size=5000)
    put_all(one, [sent])
    until(lambda: gate.waiting, what="the batch on its way")
    one.close(0.1)
    gate.open()
    until(lambda: bucket.events() == [sent.id], what="the batch in the bucket")
    one._thread.join(30)
    assert sum(one.counts.values()) == 1
    assert one.status(sent.id) != Status.IN_PROGRESS


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["write", "upload", "arrive", "fail"]), max_size=30))
def test_each_capture_is_on_disk_or_has_one_end_at_every_step(tmp_path_factory: Any, steps: list[str]) -> None:
    ends: Counter[str] = Counter()
    folder, about = tmp_path_factory.mktemp("spool"), CaptureSettings(fleet="f", bucket="b", embed_limit=20)
    spool = Spool(folder, "sme-capture/f", 2 * BATCH, lambda ids: ends.update(ids))
    written: list[str] = []
    leave: Callable[[BaseException | None], None] | None = None
    on_its_way: tuple[str, ...] = ()

    def begin(key: str) -> tuple[Callable[[BaseException | None], None], tuple[str, ...]]:
        stack = ExitStack()
        batch = stack.enter_context(spool.uploading(key))
        assert batch is not None

        def end(error: BaseException | None) -> None:
            if error is None:
                stack.close()
                ends.update(batch.ids)
                return
            try:
                stack.__exit__(type(error), error, None)
            except S3Unreachable:
                return

        return end, batch.ids

    for step in [*steps, "arrive"]:
        if step == "write":
            batch = make_batch([capture(size=5000)], about, 1e9)
            spool.write(batch)
            written += batch.ids
        elif step == "upload" and leave is None and spool.batches():
            leave, on_its_way = begin(spool.batches()[0])
        elif step in ("arrive", "fail") and leave is not None:
            leave(None if step == "arrive" else S3Unreachable("away"))
            leave, on_its_way = None, ()
        on_disk = {each for key in spool.batches() for each in spool.ids(key)}
        assert max(ends.values(), default=0) <= 1
        for each in written:
            assert ends[each] + (each in on_disk or each in on_its_way) == 1, step
