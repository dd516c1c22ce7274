"""The lock of a workflow: one holder at a time, who says since when, and lapses when nobody renews it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from emflow.engine.apply import apply_plan
from emflow.engine.holder import Holder
from emflow.engine.lock import Found, Lock, NoPlace
from emflow.engine.plan import make_plan
from emflow.problems import Problem
from engine.things import World, thing
from support import until


class Shelf:
    """A store in memory: one document, written only over the version that was read. Safe for several threads."""

    where = "shelf/lock.json"
    needs = "bucket"

    def __init__(self, there=True):
        self.there = there
        self.found = None
        self.writes = 0
        self.lost_answers = 0
        self._versions = itertools.count(1)
        self._lock = threading.Lock()

    def read(self):
        if not self.there:
            raise NoPlace
        if self.found is None:
            return None
        body, version, written = self.found
        return Found(body, version, time.monotonic() - written)

    def write(self, body, over):
        if not self.there:
            raise NoPlace
        with self._lock:
            if (self.found and self.found[1]) != over:
                return None
            version = f"v{next(self._versions)}"
            self.found = (body, version, time.monotonic())
            self.writes += 1
        if self.lost_answers:  # what a repeated call finds is that somebody has written: itself
            self.lost_answers -= 1
            return None
        return version

    def remove(self, version):
        with self._lock:
            if self.found is None or self.found[1] != version:
                return False
            self.found = None
            return True

    def put(self, holder, age=0.0):
        self.found = (holder.document(), "v0", time.monotonic() - age)


def other(**facts):
    """Somebody on another machine."""
    return dataclasses.replace(Holder.here(), owner="anna@laptop", process=4711, machine="another", **facts)


def test_a_lock_is_held_until_it_is_let_go_and_leaves_nothing():
    shelf = Shelf()
    with Lock(shelf) as lock:
        assert lock.acquire()
        assert Holder.read(shelf.found[0]).process == os.getpid()
    assert shelf.found is None


def test_one_that_is_not_taken_leaves_alone_what_is_there():
    shelf = Shelf()
    shelf.put(other())
    with Lock(shelf):
        pass
    assert shelf.found


def test_whoever_comes_second_is_told_who_holds_it_since_when_and_how_to_go_on():
    shelf = Shelf()
    shelf.put(other(), age=30)
    for ask in (Lock(shelf).acquire, Lock(shelf).refuse_if_held):
        with pytest.raises(Problem) as refused:
            ask()
        assert refused.value.where == "shelf/lock.json"
        words = str(refused.value)
        assert "anna@laptop (process 4711) holds the lock since 20" in words
        assert "UTC" in words
        assert "it lapses in 90 s unless renewed" in words
        assert "emflow unlock" in words


def test_of_many_at_the_same_moment_one_gets_it():
    shelf = Shelf()
    start, outcomes = threading.Barrier(8), []

    def ask():
        lock = Lock(shelf)
        start.wait(5)
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
        assert Holder.read(shelf.found[0]).owner != "anna@laptop"


def test_one_whose_process_has_ended_on_this_machine_is_taken_over_at_once():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = Holder.here()
    if not here.machine:
        pytest.skip("this system does not tell one machine from another")
    shelf = Shelf()
    shelf.put(dataclasses.replace(here, process=ended.pid))
    with Lock(shelf) as lock:
        assert lock.acquire()
    shelf.put(dataclasses.replace(here, process=ended.pid, machine="another"))
    with pytest.raises(Problem):
        Lock(shelf).acquire()
    shelf.put(here)  # this very process lives
    with pytest.raises(Problem):
        Lock(shelf).acquire()


def test_one_whose_answer_was_lost_is_known_as_ones_own():
    shelf = Shelf()
    shelf.lost_answers = 1
    with Lock(shelf) as lock:
        assert lock.acquire()
        assert shelf.writes == 1
    assert shelf.found is None


def test_it_is_renewed_as_long_as_it_is_held_even_when_an_answer_is_lost():
    shelf = Shelf()
    with Lock(shelf, dataclasses.replace(Holder.here(), lasts=0.2)) as lock:
        lock.acquire()
        until(lambda: shelf.writes >= 3)
        shelf.lost_answers = 1
        until(lambda: shelf.writes >= 8)
        lock.check()
        assert shelf.read().age < 0.2
    assert shelf.found is None


def test_one_that_was_taken_over_is_lost_and_stays_with_the_new_holder():
    shelf = Shelf()
    with Lock(shelf, dataclasses.replace(Holder.here(), lasts=0.1)) as lock:
        lock.acquire()
        shelf.put(other())
        until(lambda: lost(lock))
        assert "anna@laptop (process 4711) took it over" in lost(lock)
    assert Holder.read(shelf.found[0]).owner == "anna@laptop"


def lost(lock):
    try:
        lock.check()
    except Problem as problem:
        return str(problem)
    return ""


def test_what_is_no_lock_is_held_by_nobody_knows_whom():
    for body in (b"", b"{}", b"[1]", b'{"id": 1}', b"\xff\xfe"):
        shelf = Shelf()
        shelf.found = (body, "v0", time.monotonic() - 1e6)
        with pytest.raises(Problem, match="does not say by whom") as refused:
            Lock(shelf).acquire()
        assert "emflow unlock" in refused.value.mend


def test_a_lock_says_what_people_and_other_machines_need():
    facts = json.loads(Holder.here().document())
    assert set(facts) == {"id", "owner", "process", "machine", "started", "lasts", "expires"}
    assert "@" in facts["owner"]
    assert facts["started"].endswith("+00:00")


def test_an_apply_takes_the_lock_before_anything_else_and_lets_go_of_it():
    shelf, world = Shelf(), World()
    held = []
    things = [thing(name, on_apply=lambda run: held.append(shelf.found is not None)) for name in ("a", "b")]
    apply_plan(make_plan(things, world), world, lock=Lock(shelf))
    assert held == [True, True]
    assert shelf.found is None


def test_an_apply_without_anything_to_do_writes_no_lock_and_sweeps_up_a_dead_one():
    shelf, world = Shelf(), World()
    apply_plan(make_plan([thing("a")], world), world)
    apply_plan(make_plan([thing("a")], world), world, lock=Lock(shelf))
    assert shelf.writes == 0
    shelf.put(other(), age=500)
    apply_plan(make_plan([thing("a")], world), world, lock=Lock(shelf))
    assert shelf.found is None
    shelf.put(other())
    apply_plan(make_plan([thing("a")], world), world, lock=Lock(shelf))
    assert shelf.found


def test_where_the_lock_has_no_place_yet_that_is_made_first_and_alone():
    shelf, world = Shelf(there=False), World()

    def make(_):
        shelf.there = True

    things = [thing("a"), thing("bucket", on_apply=make), thing("b")]
    apply_plan(make_plan(things, world), world, lock=Lock(shelf))
    did = [each for each in world.did if each.startswith("apply")]
    assert did[0] == "apply bucket"
    assert sorted(did) == ["apply a", "apply b", "apply bucket"]
    assert shelf.writes == 1


def test_a_place_for_the_lock_that_cannot_be_made_fails_the_apply():
    def fail(_):
        raise Problem("no bucket today")

    shelf, world = Shelf(there=False), World()
    plan = make_plan([thing("bucket", on_apply=fail), thing("a")], world)
    with pytest.raises(Problem, match="no bucket today"):
        apply_plan(plan, world, lock=Lock(shelf))
    assert world.there == {}


def test_a_part_of_a_workflow_before_its_first_apply_needs_no_lock():
    shelf, world = Shelf(there=False), World()
    apply_plan(make_plan([thing("a")], world), world, lock=Lock(shelf))
    assert "a" in world.there


def test_an_apply_that_finds_something_else_to_do_than_was_agreed_changes_nothing():
    shelf, world = Shelf(), World({"a": {"value": 1}})
    plan = make_plan([thing("a"), thing("b")], world)
    world.there["a"]["value"] = 2
    with pytest.raises(Problem, match="has changed AWS since this was planned: a"):
        apply_plan(plan, world, lock=Lock(shelf))
    assert world.there == {"a": {"value": 2}}
    assert shelf.found is None


def test_what_somebody_else_has_done_of_the_plan_meanwhile_is_not_done_again():
    shelf, world = Shelf(), World()
    plan = make_plan([thing("a"), thing("b")], world)
    world.there["a"] = {"value": 1}
    applied = apply_plan(plan, world, lock=Lock(shelf))
    assert [each for each in world.did if each.startswith("apply")] == ["apply b"]
    assert list(applied.actions) == ["b"]


def test_an_apply_that_loses_its_lock_changes_nothing_more():
    shelf, world = Shelf(), World()
    lock = Lock(shelf, dataclasses.replace(Holder.here(), lasts=0.1))

    def lose(_):
        shelf.put(other())
        until(lambda: lost(lock))

    with pytest.raises(Problem, match="took it over"):
        apply_plan(make_plan([thing("a", on_apply=lose), thing("b", "a")], world), world, lock=lock)
    assert list(world.there) == ["a"]
