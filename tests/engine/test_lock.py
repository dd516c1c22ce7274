"""The lock of a workflow: one holder at a time, who says since when, and lapses when nobody renews it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from emflow.engine.lock import Lock, LockRecord
from emflow.problems import Problem
from engine.shelf import Shelf, lost, other
from support import until


def test_a_lock_is_held_until_it_is_let_go_and_leaves_nothing():
    shelf = Shelf()
    with Lock(shelf) as lock:
        assert lock.acquire()
        assert shelf.record.process == os.getpid()
    assert shelf.found is None


def test_one_that_is_not_taken_leaves_alone_what_is_there():
    shelf = Shelf()
    shelf.put(other())
    with Lock(shelf):
        pass
    assert shelf.found


def test_the_second_run_reports_who_holds_the_lock_since_when_and_how_to_go_on():
    shelf = Shelf()
    shelf.put(other(), age=30)
    for ask in (Lock(shelf).acquire, Lock(shelf).refuse_if_held):
        with pytest.raises(Problem) as refused:
            ask()
        assert refused.value.where == "shelf/lock.json"
        words = str(refused.value)
        assert "anna@laptop (process 4711) has held the lock since 20" in words
        assert "UTC" in words
        assert "it expires in 90 s unless it is renewed" in words
        assert "emflow unlock" in words


def test_of_many_at_the_same_moment_one_gets_it():
    shelf = Shelf()
    start = threading.Barrier(8)
    outcomes: list[Any] = []

    def ask():
        lock = Lock(shelf)
        start.wait(60)
        try:
            outcomes.append((lock.acquire(), lock))
        except Problem as problem:
            outcomes.append((str(problem), lock))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [result for result, _ in outcomes].count(True) == 1
    for _, lock in outcomes:
        lock.release()
    assert shelf.found is None


def test_one_that_nobody_renews_is_taken_over():
    shelf = Shelf()
    shelf.put(other(), age=121)
    Lock(shelf).refuse_if_held()
    with Lock(shelf) as lock:
        assert lock.acquire()
        assert shelf.record.owner != "anna@laptop"


def test_one_whose_process_has_ended_on_this_machine_is_taken_over_at_once():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = LockRecord.of_this_process()
    if not here.machine:
        pytest.skip("this system does not tell one machine from another")
    shelf = Shelf()
    shelf.put(dataclasses.replace(here, process=ended.pid))
    with Lock(shelf) as lock:
        assert lock.acquire()
    shelf.put(dataclasses.replace(here, process=ended.pid, machine="another"))
    with pytest.raises(Problem):
        Lock(shelf).acquire()
    shelf.put(dataclasses.replace(here, born="1"))  # another process has its number now
    with Lock(shelf) as lock:
        assert lock.acquire()
    shelf.put(here)  # this very process lives
    with pytest.raises(Problem):
        Lock(shelf).acquire()


def test_a_process_that_nobody_has_buried_is_gone():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    here = dataclasses.replace(LockRecord.of_this_process(), process=ended.pid, born="")
    if not here.machine:
        pytest.skip("this system does not tell one machine from another")
    until(here.process_has_ended)
    ended.wait()


def test_a_lock_without_the_start_of_its_process_is_read_all_the_same():
    facts = json.loads(LockRecord.of_this_process().document())
    del facts["born"]
    record = LockRecord.parse(json.dumps(facts).encode())
    assert record
    assert not record.process_has_ended()


def test_one_whose_answer_was_lost_is_known_as_ones_own():
    shelf = Shelf()
    shelf.lost_answers = 1
    with Lock(shelf) as lock:
        assert lock.acquire()
        assert shelf.writes == 1
    assert shelf.found is None


def test_it_is_renewed_as_long_as_it_is_held_even_when_an_answer_is_lost():
    shelf = Shelf()
    with Lock(shelf, dataclasses.replace(LockRecord.of_this_process(), lasts=0.2)) as lock:
        lock.acquire()
        until(lambda: shelf.writes >= 3)
        shelf.lost_answers = 1
        until(lambda: shelf.writes >= 8)
        lock.check()
        assert shelf.read().age < 0.2
    assert shelf.found is None


def test_one_that_was_taken_over_is_lost_and_stays_with_the_new_holder():
    shelf = Shelf()
    with Lock(shelf, dataclasses.replace(LockRecord.of_this_process(), lasts=0.1)) as lock:
        lock.acquire()
        shelf.put(other())
        until(lambda: lost(lock))
        assert "anna@laptop (process 4711) took it over" in lost(lock)
    assert shelf.record.owner == "anna@laptop"


def test_one_that_was_taken_away_is_lost_at_the_next_look_not_at_the_next_renewal():
    shelf = Shelf()
    with Lock(shelf) as lock:
        lock.acquire()
        lock.check()
        shelf.found = None
        assert "the lock was lost: it was removed, for example by emflow unlock" in lost(lock)
        shelf.put(other())
        assert "it was removed" in lost(lock)  # once lost, it stays so
    assert shelf.found
    with Lock(Shelf()) as lock:
        lock.acquire()
        lock._store.put(other())
        assert "anna@laptop (process 4711) took it over" in lost(lock)
    with Lock(Shelf()) as lock:
        lock.acquire()
        lock._store.there = False
        assert "the resource that contains it was removed" in lost(lock)


def test_while_the_store_is_out_of_reach_it_counts_as_held_as_long_as_it_lasts(monkeypatch):
    def out_of_reach():
        raise Problem("no way to S3")

    shelf = Shelf()
    with Lock(shelf) as lock:
        lock.acquire()
        monkeypatch.setattr(shelf, "read", out_of_reach)
        lock.check()
        now = time.clock_gettime(time.CLOCK_BOOTTIME) + 121
        monkeypatch.setattr("emflow.engine.lock._clock", lambda: now)
        assert lost(lock)


def test_after_a_sleep_that_was_longer_than_it_lasts_nothing_is_done_under_it(monkeypatch):
    shelf = Shelf()
    with Lock(shelf) as lock:
        lock.acquire()
        now = time.clock_gettime(time.CLOCK_BOOTTIME) + 3600
        monkeypatch.setattr("emflow.engine.lock._clock", lambda: now)
        assert "it was not renewed for 3600 s; this machine may have slept" in lost(lock)


def test_what_is_no_lock_is_held_by_nobody_knows_whom():
    for body in (b"", b"{}", b"[1]", b'{"id": 1}', b"\xff\xfe"):
        shelf = Shelf()
        shelf.found = (body, "v0", time.monotonic() - 1e6)
        with pytest.raises(Problem, match="does not say which") as refused:
            Lock(shelf).acquire()
        assert "emflow unlock" in refused.value.mend


@pytest.mark.parametrize("lasts", ["1e18", "Infinity", "NaN", "-1", "3601"])
def test_no_lock_blocks_others_for_more_than_an_hour(lasts):
    facts = json.loads(other().document())
    body = json.dumps({**facts, "lasts": 0}).replace('"lasts": 0', f'"lasts": {lasts}').encode()
    shelf = Shelf()
    shelf.found = (body, "v0", time.monotonic())
    with pytest.raises(Problem, match=r"it expires in (3600|120) s unless it is renewed"):
        Lock(shelf).acquire()
    shelf.found = (body, "v0", time.monotonic() - 3601)
    with Lock(shelf) as lock:
        assert lock.acquire()


@pytest.mark.parametrize("wrong", [{"process": 10**30}, {"lasts": 10**400}, {"started": "0001-01-01T00:00:00+14:00"}])
def test_a_lock_with_numbers_that_cannot_be_is_refused_without_a_traceback(wrong):
    shelf = Shelf()
    shelf.found = (json.dumps({**json.loads(other().document()), **wrong}).encode(), "v0", time.monotonic())
    with pytest.raises(Problem, match="emflow unlock"):
        Lock(shelf).acquire()


def test_what_a_lock_says_of_its_owner_cannot_steer_a_terminal():
    shelf = Shelf()
    shelf.put(dataclasses.replace(other(), owner="anna\x1b[2J\r\nApplied"))
    with pytest.raises(Problem) as refused:
        Lock(shelf).acquire()
    assert not {"\x1b", "\r", "\n"} & set(refused.value.what)
    assert "anna" in refused.value.what


def test_a_lock_says_what_people_and_other_machines_need():
    facts = json.loads(LockRecord.of_this_process().document())
    assert set(facts) == {"id", "owner", "process", "machine", "born", "started", "lasts", "expires"}
    assert "@" in facts["owner"]
    assert facts["started"].endswith("+00:00")


def test_a_lock_can_be_removed_by_somebody_else_but_only_the_one_that_was_found():
    shelf = Shelf()
    shelf.put(other())
    lock = Lock(shelf)
    found = lock.current()
    assert found
    assert shelf.found
    assert str(found).startswith("anna@laptop (process 4711) has held the lock since 20")
    shelf.found = (other().document(), "v9", shelf.found[2])
    with pytest.raises(Problem, match="was released, or taken over by another run, in the meantime"):
        lock.remove(found)
    replaced = lock.current()
    assert replaced
    lock.remove(replaced)
    assert lock.current() is None
    shelf.there = False
    assert lock.current() is None
