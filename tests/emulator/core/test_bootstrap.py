"""Bootstrap steps: before all else of a deployment, with every component stopped, and started anew after it."""

from __future__ import annotations

import json
import threading

import pytest

from emflow_emulator.core.component import State
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.recipe import Step, parse
from emulator.core.pieces import LINUX, alive, plan, recipe
from emulator.core.world import FOREVER, World
from support import until


@pytest.mark.parametrize("code", [0, 100, 101])
def test_after_a_bootstrap_everything_is_installed_and_started_anew(world: World, code: int) -> None:
    other = plan("other", install="echo install >> log", run=FOREVER, shutdown="echo down >> log")
    world.apply(other)
    world.settle()
    first = world.wrote("other")[1].split()[1]
    look = f'kill -0 {first} 2> /dev/null && echo "still up" >> log; echo boot >> log; exit {code}'
    app = plan("app", bootstrap=look, install="echo install >> log", run=FOREVER)
    world.apply(other, app)
    world.settle()

    assert [line.split()[0] for line in world.wrote("app")] == ["boot", "install", "up"]
    assert [line.split()[0] for line in world.wrote("other")] == ["install", "up", "down", "install", "up"]
    assert not alive(first)
    assert {world.state("app"), world.state("other")} == {State.RUNNING}


def test_bootstraps_are_run_in_the_order_of_dependencies_and_all_of_them(world: World) -> None:
    where = world.layout.work("order")
    where.mkdir()
    world.apply(
        plan("a-needs-b", hard=("b",), bootstrap=f"echo a >> {where}/log; exit 100"),
        plan("b", bootstrap=f"echo b >> {where}/log; exit 101"),
    )
    world.settle()

    assert world.wrote("order") == ["b", "a"]


@pytest.mark.parametrize(
    ("version", "script", "times"),
    [("1.0.0", "echo boot >> log", 1), ("1.0.0", "echo boot >> log; exit 100", 2), ("2.0.0", "echo boot >> log", 2)],
)
def test_a_bootstrap_is_repeated_for_another_version_or_script_only(
    world: World, version: str, script: str, times: int
) -> None:
    world.apply(plan("app", bootstrap="echo boot >> log", run="exec sleep 600"))
    world.settle()
    world.apply(plan("app", version, bootstrap=script, run="exec sleep 601"))
    world.settle()

    assert world.wrote("app") == ["boot"] * times


@pytest.mark.parametrize(
    ("step", "words", "code"),
    [
        (Step("bootstrap", "bootstrap", "echo no disk; exit 1"), "exit code: 1.*\nno disk", "BOOTSTRAP_ERROR"),
        (Step("bootstrap", "bootstrap", "exec sleep 600", timeout=0.1), "after '0.1' seconds", "BOOTSTRAP_TIMEOUT"),
        (Step("bootstrap", "bootstrap", "true", skip_if="not there"), "Invalid format for Skipif", "BOOTSTRAP_ERROR"),
        (Step("bootstrap", "bootstrap", "true", timeout=9, setenv={"X": "\0"}), "null byte", "BOOTSTRAP_ERROR"),
    ],
)
def test_a_bootstrap_that_fails_is_not_tried_again_and_fails_the_deployment(
    world: World, step: Step, words: str, code: str
) -> None:
    with pytest.raises(DeploymentFailure, match=f"(?s)Fail to execute bootstrap step for app, .*{words}") as caught:
        world.apply(plan("app", bootstrap=step, run=FOREVER))

    assert caught.value.stack == ["DEPLOYMENT_FAILURE", "COMPONENT_UPDATE_ERROR", f"COMPONENT_{code}"]
    assert caught.value.types == ["USER_COMPONENT_ERROR"]
    assert not world.wrote("app")


@pytest.mark.parametrize(("condition", "times"), [("onpath sh", 0), ("! onpath sh", 1), ("", 1)])
def test_a_bootstrap_is_skipped_when_its_condition_holds(world: World, condition: str, times: int) -> None:
    step = Step("bootstrap", "bootstrap", "echo boot >> log", skip_if=condition)
    world.apply(plan("app", bootstrap=step, run=FOREVER))
    world.settle()

    assert world.wrote("app").count("boot") == times


def test_after_a_bootstrap_that_failed_the_components_before_are_installed_and_run_again(world: World) -> None:
    good = plan("app", install="echo install >> log", run=FOREVER)
    gone = plan("gone", install="echo install >> log", run=FOREVER)
    world.apply(good, gone)
    world.settle()
    with pytest.raises(DeploymentFailure):
        world.apply(plan("app", "2.0.0", bootstrap="exit 1", run=FOREVER))
    world.supervisor.apply({each.name: each for each in (good, gone)}, rollback=True)
    world.settle()

    assert {world.state("app"), world.state("gone")} == {State.RUNNING}
    assert world.wrote("app").count("install") == world.wrote("gone").count("install") == 2


@pytest.mark.parametrize(("again", "times"), [(False, 1), (True, 2)])
def test_a_rollback_from_another_version_runs_the_bootstraps_that_say_so(world: World, again: bool, times: int) -> None:
    step = Step("bootstrap", "bootstrap", "echo boot >> log", timeout=9, on_rollback=again)
    good = plan("app", bootstrap=step, run=FOREVER)
    world.apply(good)
    world.settle()
    world.apply(plan("app", "2.0.0", run="exit 1"))
    until(lambda: world.state("app") == State.BROKEN)
    world.supervisor.apply({"app": good}, rollback=True)
    world.settle()

    assert world.wrote("app").count("boot") == times


def test_a_device_that_stops_ends_its_bootstrap(world: World) -> None:
    given_up = threading.Event()
    slow = {"app": plan("app", bootstrap='echo "$$" >> log; exec sleep 600')}
    applying = threading.Thread(target=world.supervisor.apply, args=(slow, given_up))
    applying.start()
    until(lambda: world.wrote("app"))
    given_up.set()
    applying.join(20)

    assert not applying.is_alive()
    assert not alive(world.wrote("app")[0])
    assert world.state("app") is None


def test_a_bootstrap_has_a_limit_of_its_own_when_the_recipe_says_none() -> None:
    assert parse(json.dumps(recipe("app", lifecycle={"bootstrap": "x"})), LINUX).steps["bootstrap"].timeout == 120
