"""`emflow unlock`, and what `emflow apply` says while somebody else is at it."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from emflow.engine.apply import apply_plan
from emflow.engine.clients import Clients
from emflow.engine.events import Waiting
from emflow.engine.lock import LockRecord
from emflow.engine.plan import make_plan
from emflow.problems import Problem
from emflow.resources import desired_resources
from emflow.resources.s3.lock_store import S3LockStore, lock_of
from emflow.workflow import load
from resources.conftest import READS, client, embedded, endpoint, file, rollout, slow_jobs, user  # noqa: F401 fixtures
from support import Process


@pytest.fixture
def bucket(client, file):  # noqa: F811
    name = load(file).cloud.buckets.components.name
    client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def held(file, bucket):  # noqa: F811
    """The lock of the workflow, held by somebody else."""
    workflow = load(file)
    somebody = dataclasses.replace(LockRecord.of_this_process(), owner="anna@laptop", process=4711, machine="another")
    with lock_of(workflow, Clients(workflow.aws), somebody) as lock:
        assert lock.acquire()
        yield lock


def test_apply_says_who_holds_the_lock_and_since_when_before_it_asks(emflow, file, held):  # noqa: F811
    refused = emflow("apply", file, "--yes", "--adopt", "bucket/components")
    assert refused.code == 1
    assert "anna@laptop (process 4711) has held the lock since 20" in refused.err
    assert "emflow unlock" in refused.err
    assert emflow("plan", file, "--adopt", "bucket/components").code == 0  # looking needs no lock


def test_unlock_removes_the_lock_and_the_next_apply_succeeds(emflow, file, held):  # noqa: F811
    nobody_to_ask = emflow("unlock", file)
    assert nobody_to_ask.code == 2
    assert "--yes" in nobody_to_ask.err
    unlocked = emflow("unlock", file, "--yes")
    assert unlocked.code == 0
    assert "anna@laptop (process 4711) has held the lock since 20" in unlocked.out
    assert "Unlocked." in unlocked.out
    assert emflow("apply", file, "--yes", "--adopt", "bucket/components").code == 0
    again = emflow("unlock", file, "--yes")
    assert again.code == 0
    assert "there is no lock" in again.out


def test_an_apply_that_waits_for_a_job_changes_nothing_after_unlock(emflow, file, slow_jobs):  # noqa: F811
    workflow = load(file)
    clients = slow_jobs.clients(workflow)
    calls: list[Any] = []

    def unlock_meanwhile(event):
        if isinstance(event, Waiting) and event.resource == "model/package" and not calls:
            assert "Unlocked." in emflow("unlock", file, "--yes").out
            calls.append(len(slow_jobs.calls))

    with pytest.raises(Problem, match="it was removed") as ended:
        apply_plan(
            make_plan(desired_resources(workflow), clients), clients, unlock_meanwhile, lock=lock_of(workflow, clients)
        )
    assert "emflow plan" in ended.value.mend
    after = [call.partition(":")[2] for call in slow_jobs.calls[calls[0] :]]
    assert after
    assert [call for call in after if not call.startswith(READS)] == []


def test_before_the_first_apply_nobody_holds_the_lock(emflow, file):  # noqa: F811
    nobody = emflow("unlock", file, "--yes")
    assert nobody.code == 0
    assert "there is no lock" in nobody.out


def test_a_lock_is_written_only_over_what_was_read(file, bucket):  # noqa: F811
    workflow = load(file)
    store = S3LockStore.of(workflow, Clients(workflow.aws))
    first = store.write(b"first", None)
    assert first
    assert store.write(b"second", None) is None
    assert store.write(b"second", '"another"') is None
    second = store.write(b"second", first)
    assert second
    found = store.read()
    assert found
    assert (found.body, found.version) == (b"second", second)
    assert 0 <= found.age < 30
    assert store.remove(first) is False
    assert store.remove(second) is True
    assert store.read() is None


def test_an_object_that_is_not_a_lock_is_reported_and_can_be_removed(emflow, file, bucket, client):  # noqa: F811
    key = S3LockStore.of(workflow := load(file), Clients(workflow.aws)).key
    client("s3").put_object(Bucket=bucket, Key=key, Body=b"no lock at all")
    refused = emflow("apply", file, "--yes", "--adopt", "bucket/components")
    assert refused.code == 1
    assert "does not say which" in refused.err
    assert emflow("unlock", file, "--yes").code == 0


NEVER_DONE = """
import sys, threading
from pathlib import Path
from emflow.cli.signals import SignalHandling
from emflow.engine.apply import apply_plan
from emflow.engine.clients import Clients
from emflow.engine.plan import make_plan
from emflow.resources.s3.lock_store import lock_of
from emflow.workflow import load
from engine.things import World, thing

def hang(run):
    print("hanging", flush=True)
    threading.Event().wait()

workflow = load(Path(sys.argv[1]))
with SignalHandling(lambda why: print("heard:", why, flush=True)) as interrupts:
    plan = make_plan([thing("a", on_apply=hang)], World())
    apply_plan(plan, World(), cancellation=interrupts.cancellation, lock=lock_of(workflow, Clients(workflow.aws)))
"""


def test_the_lock_that_a_second_ctrl_c_leaves_keeps_nobody_out(emflow, file, bucket, tmp_path):  # noqa: F811
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = Process([sys.executable, "-c", NEVER_DONE, str(file)], tmp_path / "output", env=env)
    try:
        process.says("hanging")
        refused = emflow("apply", file, "--yes", "--adopt", "bucket/components")
        assert refused.code == 1
        assert f"(process {process.popen.pid}) has held the lock since 20" in refused.err
        process.popen.send_signal(signal.SIGINT)
        process.says("heard: interrupted by Ctrl-C")
        assert process.end(signal.SIGINT) == 130
    finally:
        process.popen.kill()
        process.popen.wait()
    workflow = load(file)
    left = S3LockStore.of(workflow, Clients(workflow.aws)).read()
    assert left
    assert (record := LockRecord.parse(left.body))
    assert record.process == process.popen.pid
    assert emflow("apply", file, "--yes", "--adopt", "bucket/components").code == 0
    assert "there is no lock" in emflow("unlock", file, "--yes").out
