"""Several components: their order, and what a change or an error of one does to the others."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from emflow.problems import Problem
from emflow_emulator.core.component import State
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.layout import Layout
from emflow_emulator.core.plan import Plan
from emflow_emulator.core.supervisor import start_order, with_dependents
from emulator.core.pieces import alive, lines, plan
from emulator.core.world import FOREVER, World
from support import until


def test_a_hard_dependency_comes_first(world: World) -> None:
    install = "sleep 0.3; touch ready"
    model = world.layout.work("model") / "ready"
    world.apply(
        plan("app", hard=("model",), run=f"test -e {model} || exit 1; {FOREVER}"), plan("model", install=install)
    )
    world.settle()

    assert State.ERRORED not in world.history("app")


def test_dependents_restart_with_a_hard_dependency_that_fails(world: World) -> None:
    run = "echo up >> log; [ $(wc -l < log) -gt 1 ] && exec sleep 600; while [ ! -e fail ]; do sleep 0.02; done; exit 1"
    soft = Plan("soft", "1.0.0", soft=frozenset({"base"}), steps=plan("soft", run=FOREVER).steps)
    world.apply(plan("base", run=run), plan("app", hard=("base",), run=FOREVER), soft)
    world.settle()
    (world.layout.work("base") / "fail").touch()
    until(lambda: len(world.wrote("app")) == 2)
    world.settle()

    assert len(world.wrote("soft")) == 1


def test_a_change_restarts_what_changed_and_its_hard_dependents_only(world: World) -> None:
    other, app = plan("other", run=FOREVER), plan("app", hard=("base",), run=FOREVER)
    before = Plan("base", "1.0.0", steps=plan("base", install="echo install >> log", run=FOREVER).steps)
    world.apply(before, app, other)
    world.settle()
    after = Plan("base", "1.0.0", steps=before.steps, setenv={"TOPIC": "new"})
    world.apply(after, app, other)
    world.settle()

    assert [line.split()[0] for line in world.wrote("base")] == ["install", "up", "up"]
    assert len(world.wrote("app")) == 2
    assert len(world.wrote("other")) == 1


def test_a_new_version_is_installed_again(world: World) -> None:
    world.apply(plan("app", install="echo one >> log", run=FOREVER))
    world.settle()
    world.apply(plan("app", "2.0.0", install="echo two >> log", run=FOREVER))
    world.settle()

    assert [line for line in world.wrote("app") if "up" not in line] == ["one", "two"]
    assert not alive(world.wrote("app")[1].split()[1])


def test_a_broken_component_gets_another_chance_by_a_deployment(world: World) -> None:
    bad = plan("app", run="test -e mended && exec sleep 600; exit 1")
    world.apply(bad)
    until(lambda: world.state("app") == State.BROKEN)
    (world.layout.work("app") / "mended").touch()
    world.apply(bad)
    world.settle()

    assert world.state("app") == State.RUNNING


def test_what_is_no_longer_deployed_is_stopped_and_its_work_folder_stays(world: World) -> None:
    world.apply(plan("app", run=FOREVER, shutdown="echo down >> log"))
    world.settle()
    token = world.supervisor._tokens["app"]
    assert world.supervisor.owner_of(token) == "app"
    world.apply()

    assert world.state("app") is None
    assert world.wrote("app")[-1] == "down"
    assert not alive(world.wrote("app")[0].split()[1])
    assert world.supervisor.owner_of(token) is None


def test_stopping_goes_against_the_order_of_starting(world: World, tmp_path: Path) -> None:
    order = tmp_path / "order"
    names = ("a", "b", "c")
    world.apply(
        *(plan(name, hard=names[:at], run=FOREVER, shutdown=f"echo {name} >> {order}") for at, name in enumerate(names))
    )
    world.settle()
    world.apply()

    assert lines(order) == ["c", "b", "a"]


def test_waiting_for_a_deployment_can_be_given_up(world: World) -> None:
    world.apply(plan("app", startup="exec sleep 600"))
    given_up = threading.Event()
    given_up.set()

    assert not world.supervisor.wait_until_settled(given_up)


def test_a_circle_is_refused() -> None:
    circle: dict[str, Plan] = {"a": plan("a", hard=("b",)), "b": plan("b", hard=("a",))}
    with pytest.raises(DeploymentFailure, match="Circular") as caught:
        start_order(circle)
    assert caught.value.types == ["REQUEST_ERROR"]


def test_dependents_are_found_over_several_steps() -> None:
    chain = {"a": plan("a"), "b": plan("b", hard=("a",)), "c": plan("c", hard=("b",)), "d": plan("d")}

    assert with_dependents({"a"}, chain) == {"a", "b", "c"}


def test_a_component_of_the_device_itself_runs_while_it_is_deployed(world: World) -> None:
    world.apply(
        Plan("aws.greengrass.TokenExchangeService", "2.0.3", builtin=True), plan("app", run="env > log; sleep 600")
    )
    world.settle()

    assert world.state("aws.greengrass.TokenExchangeService") == State.RUNNING
    until(lambda: "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://x" in world.wrote("app"))


@pytest.mark.parametrize("token", ["é", "\ud800", ""])
def test_a_token_that_nobody_can_have_is_nobodys(world: World, token: str) -> None:
    world.apply(plan("app", run=FOREVER))

    assert world.supervisor.owner_of(token) is None


@pytest.mark.parametrize("odd", ["$HOME", 'a"b', "a`id`", "a\\b", "a\nb"])
def test_a_folder_that_scripts_cannot_name_is_a_problem(tmp_path: Path, odd: str) -> None:
    with pytest.raises(Problem, match="shell") as caught:
        Layout(tmp_path / odd).make()
    assert "another folder" in caught.value.mend
    assert not list(tmp_path.iterdir())


def test_a_folder_with_a_space_is_none(tmp_path: Path) -> None:
    world = World(tmp_path / "my core")
    world.apply(plan("app", run=f'cd "{world.layout.root}" && {FOREVER}'))
    world.settle()
    world.close()
