"""Killed, with answers lost, throttled and raced while a workflow leaves something behind: it still ends where it says.

Each way of changing is applied over an earlier form of the workflow; all that both have made is compared.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from emflow.problems import Problem
from emflow.resources import desired_resources
from emflow.workflow import load
from emflow.workflow.model import Target
from resources.conftest import within
from resources.faults import Faults, Killed
from resources.state import difference
from resources.test_faults import Case, Once, Undisturbed, world, wrong_after
from resources.test_orphans import HELPER, OWN

__all__ = ["world"]

pytestmark = pytest.mark.e2e


def moved(world, path, workflow):
    """Another target, fleet, role, alias and bucket."""
    number = workflow.metadata.name.removeprefix("test-")
    world.client("iot").create_thing(thingName=f"second-{number}")
    now = within(workflow, "cloud.deployment", target=Target(thing=f"second-{number}"))
    now = within(now, "cloud.fleet", name=f"second-fleet-{number}", devices=(f"second-{number}",))
    now = within(now, "cloud.role", name=f"second-role-{number}", alias=f"second-alias-{number}")
    return workflow, within(now, "cloud.buckets.inference_results", name=f"second-sagemaker-{number}")


def slimmed(world, path, workflow):
    """A component less, and an inline policy in place of the managed ones."""
    helper = path.parent / "helper.yaml"
    helper.write_text(HELPER)
    path.write_text(path.read_text() + OWN % {"name": workflow.metadata.name})
    return within(load(path), "cloud.role", policies="workshop"), workflow


class Changes:
    """Workflows that were applied in an earlier form."""

    def __init__(self, world, change):
        self.world = world
        self.change = change

    def case(self):
        plain = self.world.case()
        earlier, now = self.change(self.world, self.world.path(plain.number), plain.workflow)
        self.world.apply(Case(plain.number, earlier, desired_resources(earlier), plain.before))
        return Case(plain.number, now, desired_resources(now), plain.before)


@pytest.fixture(scope="module", params=[moved, slimmed], ids=lambda change: change.__name__)
def changes(world, request):
    return Changes(world, request.param)


@pytest.fixture(scope="module")
def undisturbed(world, changes):
    case, faults = changes.case(), Faults()
    applied = world.apply(case, faults)
    assert any(name.startswith("orphan/") for name in applied.actions)
    assert world.apply(case).actions == {}
    return Undisturbed(tuple(faults.done), world.left(case))


def test_what_is_left_behind_is_removed_by_calls_of_its_own(changes, undisturbed):
    removing = {
        name for name, _ in undisturbed.calls if any(word in name for word in ("Delete", "Deregister", "Detach"))
    }
    assert removing >= (
        {"iam:DeleteRole", "iot:DeleteRoleAlias", "sagemaker:DeleteDeviceFleet", "sagemaker:DeregisterDevices"}
        if changes.change is moved
        else {"greengrassv2:DeleteComponent", "iam:DetachRolePolicy"}
    )


def test_killed_after_any_changing_call_and_run_again_it_ends_the_same(world, changes, undisturbed):
    wrong = {}
    for point in undisturbed.calls:
        case, faults = changes.case(), Faults(kill_at=point)
        with pytest.raises(Killed):
            world.apply(case, faults)
        assert faults.struck, point
        problem = wrong_after(world, undisturbed, case)
        if problem:
            wrong[point] = problem
    assert wrong == {}


def test_the_answer_to_any_one_changing_call_lost_it_ends_the_same(world, changes, undisturbed):
    wrong = {}
    for point in undisturbed.calls:
        case = changes.case()
        try:
            world.apply(case, Faults(lose=point))
            problem: Any = difference(world.left(case), undisturbed.left)
        except Problem as failed:
            problem = str(failed)
        if problem:
            wrong[point] = problem
    assert wrong == {}


def test_the_answer_to_every_changing_call_lost_it_ends_the_same(world, changes, undisturbed):
    case = changes.case()
    world.apply(case, Faults(lose_all=True))
    assert difference(world.left(case), undisturbed.left) == {}


def test_a_fifth_of_all_requests_throttled_it_ends_the_same(world, changes, undisturbed):
    case, faults = changes.case(), Faults(throttle=0.2)
    world.apply(case, faults)
    assert faults.throttled > 5
    assert difference(world.left(case), undisturbed.left) == {}


def test_two_at_the_same_moment_remove_everything_once(world, changes, undisturbed):
    case, together = changes.case(), Once(threading.Barrier(2))
    with ThreadPoolExecutor(2) as pool:
        runs = (world.apply_while_it_lives, world.apply_beside)
        both = [pool.submit(run, case, Faults(before=together)) for run in runs]
    problems = [each.exception() for each in both]
    assert None in problems, problems
    for problem in filter(None, problems):
        assert "has held the lock" in str(problem) or "AWS has changed since" in str(problem)
    assert difference(world.left(case), undisturbed.left) == {}
