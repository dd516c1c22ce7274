"""What nobody foresaw, in the threads that store and upload: it costs the captures that it is about, and no others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.capture.s3_proxy import S3Proxy, StoredCaptures
from agent.capture.test_offline import capture, files_in, ids_on
from emflow_agent.capture import buffer as storing
from emflow_agent.capture.buffer import CaptureBuffer
from emflow_agent.capture.s3 import CaptureBucket
from emflow_agent.capture.spool import Spool
from emflow_proto import messages as m
from support import until

Make = Callable[..., CaptureBuffer]
Status = m.CaptureDataStatus


def unforeseen_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert "a secret" not in caplog.text
    return [record.getMessage() for record in caplog.records if "unexpected KeyError" in record.getMessage()]


@pytest.fixture
def wrong_for_a_while(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[bool]]:
    """Let something raise what nobody foresaw, until the list that this returns is emptied."""

    def make(owner: object, name: str) -> list[bool]:
        right, wrong = getattr(owner, name), [True]

        def call(*args: object) -> object:
            if wrong:
                raise KeyError("a secret")
            return right(*args)

        monkeypatch.setattr(owner, name, call)
        return wrong

    return make


@pytest.mark.parametrize(("owner", "name"), [(Spool, "write"), (storing, "make_batch")])
def test_storing_goes_on_after_what_nobody_foresaw(
    capturing: Make,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    wrong_for_a_while: Callable[..., list[bool]],
    owner: object,
    name: str,
) -> None:
    caplog.set_level(logging.INFO)
    wrong = wrong_for_a_while(owner, name)
    one = capturing(to_cloud=False, folder=tmp_path / "disk", batch=1, buffer=2)
    lost = [capture() for _ in range(5)]
    for each in lost:
        one.put(each)
        until(lambda each=each: one.status(each.id) == Status.FAILURE)
    until(lambda: one.counts["failed"] == 5)
    assert len(unforeseen_lines(caplog)) == 1
    wrong.clear()
    kept = capture()
    one.put(kept)
    until(lambda: ids_on(tmp_path / "disk") == [kept.id])


def test_an_upload_that_fails_as_nobody_foresaw_is_kept_on_disk_and_tried_again(
    capturing: Make,
    network: S3Proxy,
    bucket: StoredCaptures,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    wrong_for_a_while: Callable[..., list[bool]],
) -> None:
    wrong = wrong_for_a_while(CaptureBucket, "_get_client")
    one = capturing(bucket=bucket.name, folder=tmp_path / "disk", batch=1, buffer=4)
    sent = [capture() for _ in range(3)]
    for each in sent:
        one.put(each)
    until(lambda: sorted(ids_on(tmp_path / "disk")) == sorted(each.id for each in sent))
    until(lambda: any("batches on disk are not uploaded" in line for line in unforeseen_lines(caplog)))
    wrong.clear()
    until(lambda: sorted(bucket.events()) == sorted(each.id for each in sent))
    until(lambda: not files_in(tmp_path / "disk"))
    assert len(unforeseen_lines(caplog)) == 2  # one of each thread
