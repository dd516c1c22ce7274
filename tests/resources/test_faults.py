"""Killed, raced, throttled, and with answers that never come: an apply still ends where the workflow says.

"The same state" is everything that the embedded AWS holds afterwards, compared with what an undisturbed apply leaves.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest

from emflow.engine.apply import ApplyResult, apply_plan
from emflow.engine.clients import Clients
from emflow.engine.lock import LockRecord
from emflow.engine.plan import make_plan
from emflow.engine.resource import Resource
from emflow.problems import Problem
from emflow.resources import desired_resources
from emflow.resources.s3.lock_store import lock_of
from emflow.workflow import Workflow, load
from emflow.workflow.model import Aws
from emflow_emulator.aws import REGION, EmbeddedAws
from resources.conftest import TEXT
from resources.faults import Faults, Killed, Point
from resources.state import Facts, difference, names, since
from support import PATIENCE

pytestmark = pytest.mark.e2e

FEWEST = 25
"""Changing calls of a first apply: fewer would mean that the tests look at something else."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A workflow with a number of its own in all its names, and what was there before it."""

    number: str
    workflow: Workflow
    resources: tuple[Resource, ...]
    before: set[tuple[str, str]]


class User:
    """Somebody with boto3 clients, to whose calls this or that happens."""

    def __init__(self) -> None:
        self._faults = Faults()
        self._session = boto3.Session(region_name=REGION)
        events: Any = self._session.events
        events.register("before-send", lambda **call: self._faults(**call))
        self._clients = Clients(Aws(region=REGION), self._session)

    def apply(self, case: Case, faults: Faults, holder: LockRecord) -> ApplyResult:
        self._faults = faults
        plan = make_plan(case.resources, self._clients)
        return apply_plan(plan, self._clients, lock=lock_of(case.workflow, self._clients, holder))


class World:
    """An embedded AWS whose jobs take no time, and workflows to apply to it."""

    def __init__(self, aws: EmbeddedAws, folder: Path, model: Path, dead: int) -> None:
        console = boto3.Session(aws.credentials.id, aws.credentials.secret, region_name=REGION)
        self.client: Any = cache(lambda service: console.client(service, endpoint_url=aws.endpoint_url))
        self._folder = folder
        self._dead = dead
        (folder / "scenes.tflite").write_bytes(model.read_bytes())
        # Making clients takes longer than an apply, so there are two sets of them: more than two never run at a time.
        self._one, self._other = User(), User()

    def path(self, number: str) -> Path:
        """Where the workflow with this number is."""
        return self._folder / f"{number}.yaml"

    def case(self) -> Case:
        number = secrets.token_hex(4)
        path = self.path(number)
        path.write_text(TEXT.format(number=number, model="scenes.tflite"))
        self.client("iot").create_thing(thingName=f"core-{number}")
        workflow = load(path)
        return Case(number, workflow, desired_resources(workflow), names(self.client))

    def apply(self, case: Case, faults: Faults | None = None) -> ApplyResult:
        """One process that plans and applies; it is gone afterwards."""
        return self._one.apply(
            case, faults or Faults(), dataclasses.replace(LockRecord.of_this_process(), process=self._dead)
        )

    def apply_while_it_lives(self, case: Case, faults: Faults) -> ApplyResult:
        """The same, and its process is there for whoever comes after it."""
        return self._one.apply(case, faults, LockRecord.of_this_process())

    def apply_beside(self, case: Case, faults: Faults) -> ApplyResult:
        """A second one, at the same time."""
        return self._other.apply(case, faults, LockRecord.of_this_process())

    def left(self, case: Case) -> Facts:
        """What it has made of AWS."""
        return since(self.client, case.before, case.number)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, scenes_model: Path) -> Iterator[World]:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with EmbeddedAws(port=0, job_seconds=0) as aws, pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        environment.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
        environment.setenv("AWS_ACCESS_KEY_ID", aws.credentials.id)
        environment.setenv("AWS_SECRET_ACCESS_KEY", aws.credentials.secret)
        environment.setenv("AWS_CONFIG_FILE", os.devnull)
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield World(aws, tmp_path_factory.mktemp("workflows"), scenes_model, ended.pid)


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    """What an apply that nothing befalls does, and leaves."""

    calls: tuple[Point, ...]
    left: Facts


@pytest.fixture(scope="module")
def undisturbed(world: World) -> Undisturbed:
    case = world.case()
    faults = Faults()
    world.apply(case, faults)
    assert len(faults.done) >= FEWEST
    return Undisturbed(tuple(faults.done), world.left(case))


def wrong_after(world: World, undisturbed: Undisturbed, case: Case) -> Any:
    """Apply it as if nothing had happened; what is wrong then, nothing when all is well."""
    try:
        world.apply(case)
    except Problem as problem:
        return str(problem)
    return difference(world.left(case), undisturbed.left)


def test_an_undisturbed_apply_always_leaves_the_same_and_nothing_to_do(world, undisturbed):
    case = world.case()
    world.apply(case)
    assert difference(world.left(case), undisturbed.left) == {}
    faults = Faults()
    assert world.apply(case, faults).actions == {}
    assert faults.done == []


def test_a_leftover_would_be_seen(world, undisturbed):
    case = world.case()
    world.apply(case)
    world.client("s3").put_object(Bucket=case.workflow.cloud.buckets.components.name, Key="forgotten", Body=b"")
    world.client("iam").create_role(RoleName="forgotten", AssumeRolePolicyDocument="{}")
    assert list(difference(world.left(case), undisturbed.left)) == [
        "bucket/emflow-test-N-components",
        "role/forgotten",
    ]


def test_killed_before_its_first_changing_call_it_has_done_nothing(world, undisturbed):
    case = world.case()
    with pytest.raises(Killed):
        world.apply(case, Faults(kill_at=undisturbed.calls[0], executed=False))
    assert world.left(case) == {}


def test_killed_after_any_changing_call_and_run_again_it_ends_the_same(world, undisturbed):
    wrong: dict[str, Any] = {}
    for point in undisturbed.calls:
        case = world.case()
        faults = Faults(kill_at=point)
        with pytest.raises(Killed):
            world.apply(case, faults)
        assert faults.struck, point
        problem = wrong_after(world, undisturbed, case)
        if problem:
            wrong[point] = problem
    assert wrong == {}


def test_killed_again_and_again_it_still_ends_the_same(world, undisturbed):
    case = world.case()
    killed = 0
    while killed < 40:
        try:
            world.apply(case, Faults(calls=4))  # one or two of them are for the lock
        except Killed:
            killed += 1
        else:
            break
    assert 5 < killed < 40
    assert wrong_after(world, undisturbed, case) == {}


@pytest.mark.e2e
def test_the_answer_to_any_one_changing_call_lost_it_ends_the_same(world, undisturbed):
    wrong: dict[str, Any] = {}
    for point in undisturbed.calls:
        case = world.case()
        faults = Faults(lose=point)
        try:
            world.apply(case, faults)
            assert faults.struck, point
            problem: Any = difference(world.left(case), undisturbed.left)
        except Problem as failed:
            problem = str(failed)
        if problem:
            wrong[point] = problem
    assert wrong == {}


def test_the_answer_to_every_changing_call_lost_it_ends_the_same(world, undisturbed):
    case = world.case()
    world.apply(case, Faults(lose_all=True))
    assert difference(world.left(case), undisturbed.left) == {}


def test_a_fifth_of_all_requests_throttled_it_ends_the_same(world, undisturbed):
    case = world.case()
    faults = Faults(throttle=0.2)
    world.apply(case, faults)
    assert faults.throttled > 10
    assert difference(world.left(case), undisturbed.left) == {}


def test_a_second_apply_reports_the_first_and_changes_nothing(world, undisturbed):
    case = world.case()
    arrived, go_on = threading.Event(), threading.Event()

    def cancellation(point: Point) -> None:
        if point == ("sagemaker:CreateCompilationJob", 1):
            arrived.set()
            assert go_on.wait(PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(world.apply_while_it_lives, case, Faults(before=cancellation))
        assert arrived.wait(PATIENCE)
        second = Faults()
        try:
            with pytest.raises(
                Problem, match=r"@\S+ \(process \d+\) has held the lock since 20\d\d-\d\d-\d\d"
            ) as refused:
                world.apply_beside(case, second)
        finally:
            go_on.set()
        first.result(PATIENCE)
    assert "emflow unlock" in refused.value.mend
    assert {name for name, _ in second.done} == {"s3:PutObject"}  # it asked for the lock, and did not get it
    assert difference(world.left(case), undisturbed.left) == {}


def test_two_first_applies_at_the_same_moment_make_everything_once(world, undisturbed):
    for _ in range(3):
        case = world.case()
        start = threading.Barrier(2)
        together = Once(start)
        with ThreadPoolExecutor(2) as pool:
            runs = (world.apply_while_it_lives, world.apply_beside)
            both = [pool.submit(run, case, Faults(before=together)) for run in runs]
        problems = [each.exception() for each in both]
        assert None in problems, problems
        for problem in filter(None, problems):
            assert "has held the lock" in str(problem) or "AWS has changed since" in str(problem)
        assert difference(world.left(case), undisturbed.left) == {}


class Once:
    """Has both of two wait for each other at their first changing call, and never again."""

    def __init__(self, barrier: threading.Barrier) -> None:
        self._barrier = barrier
        self._waited: set[int] = set()
        self._calls = 0
        self._lock = threading.Lock()

    def __call__(self, point: Point) -> None:
        with self._lock:
            self._calls += 1
            first = self._calls <= 2 and point == ("s3:PutObject", 1)
        if first:
            self._barrier.wait(PATIENCE)
