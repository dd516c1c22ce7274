"""A component with real scripts: its states, and what an error does to it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from emflow_emulator.core.component import State
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.recipe import Step
from emulator.core.pieces import alive, lines, plan
from emulator.core.world import FOREVER, World
from support import until


def test_a_component_that_runs_for_ever(world: World) -> None:
    world.apply(plan("app", install="echo install >> log", run=FOREVER))
    world.settle()

    assert world.history("app") == [State.NEW, State.INSTALLED, State.STARTING, State.RUNNING]
    assert world.wrote("app")[0] == "install"


def test_a_run_that_ends_well_is_finished(world: World) -> None:
    world.apply(plan("app", run="echo once >> log", shutdown="echo down >> log"))
    until(lambda: world.state("app") == State.FINISHED)
    world.settle()

    assert world.wrote("app") == ["once", "down"]


def test_a_component_with_nothing_to_run_is_finished(world: World) -> None:
    world.apply(plan("model", install="echo unpacked >> log"), plan("nothing"))
    world.settle()

    assert world.state("model") == world.state("nothing") == State.FINISHED


def test_a_startup_that_ends_leaves_a_running_component(world: World) -> None:
    world.apply(plan("daemon", startup="sleep 600 & echo $! >> log", shutdown="echo down >> log"))
    world.settle()
    (daemon,) = world.wrote("daemon")

    assert world.state("daemon") == State.RUNNING
    assert alive(daemon)
    world.apply()
    assert world.wrote("daemon") == [daemon, "down"]
    until(lambda: not alive(daemon))


@pytest.mark.parametrize("step", ["install", "startup", "run"])
def test_a_third_error_in_the_same_state_is_the_end(world: World, step: str) -> None:
    world.apply(plan("bad", **cast("Any", {step: "echo try >> log; exit 7"})))
    with pytest.raises(DeploymentFailure, match="Service bad in broken state after deployment") as caught:
        world.settle()

    component = world.supervisor.component("bad")
    assert component is not None
    assert component.state == State.BROKEN
    assert "exited with code 7" in component.details
    assert world.wrote("bad") == ["try"] * 3
    assert world.history("bad").count(State.ERRORED) == 2
    assert caught.value.stack == ["DEPLOYMENT_FAILURE", "COMPONENT_UPDATE_ERROR", "COMPONENT_BROKEN"]
    assert caught.value.types == ["USER_COMPONENT_ERROR"]


def test_an_error_is_recovered_from_and_shut_down_after(world: World) -> None:
    run = "echo run >> log; [ $(grep -c run log) -gt 1 ] && exec sleep 600; exit 1"
    world.apply(plan("app", run=run, recover="echo recover >> log", shutdown="echo down >> log"))
    until(lambda: world.wrote("app").count("run") == 2)
    world.settle()

    assert world.wrote("app") == ["run", "recover", "down", "run"]


def test_installing_is_not_repeated_when_running_failed(world: World) -> None:
    world.apply(plan("app", install="echo install >> log", run="echo run >> log; exit 1"))
    until(lambda: world.state("app") == State.BROKEN)

    assert world.wrote("app") == ["install", "run", "run", "run"]


@pytest.mark.parametrize("step", ["install", "startup", "run"])
def test_a_step_that_takes_too_long_is_an_error(world: World, step: str) -> None:
    slow = Step(step, f"{step}.script", "exec sleep 600", timeout=0.1)
    world.apply(plan("slow", **cast("Any", {step: slow})))
    until(lambda: world.state("slow") == State.BROKEN)

    component = world.supervisor.component("slow")
    assert component is not None
    assert component.details == f"{step} did not end within 0.1 s"


LOOK_BACK = (
    "for pid in $(cat pids 2>/dev/null); do kill -0 $pid 2>/dev/null && echo $pid >> beside; done; echo $$ >> pids"
)


@pytest.mark.parametrize(
    "how", ["exec sleep 600", "setsid sleep 600 & echo $! >> pids; wait", "sleep 600 & echo $! >> pids; exit 1"]
)
def test_an_attempt_to_install_never_runs_beside_an_earlier_one(world: World, how: str) -> None:
    install = Step("install", "install.script", f"{LOOK_BACK}; {how}", timeout=1.0)
    world.apply(plan("slow", install=install))
    until(lambda: world.state("slow") == State.BROKEN)

    assert world.wrote("slow", "pids")
    assert world.wrote("slow", "beside") == []
    assert not any(map(alive, world.wrote("slow", "pids")))


def test_a_shutdown_that_takes_too_long_is_cut_off_and_an_error(world: World) -> None:
    slow = Step("shutdown", "shutdown", "exec sleep 600", timeout=0.2)
    world.apply(plan("app", run="sleep 0.2", shutdown=slow, recover="echo recover >> log"))
    until(lambda: world.state("app") == State.FINISHED)

    assert any("Shutdown timed out" in line for line in lines(world.layout.log("app")))
    assert world.history("app")[-3:] == [State.STOPPING, State.ERRORED, State.FINISHED]
    assert world.wrote("app") == ["recover"]


@pytest.mark.parametrize("step", ["startup", "run"])
def test_what_was_started_is_shut_down_before_it_is_broken(world: World, step: str) -> None:
    seen: list[str] = []
    world.on_state[State.BROKEN] = lambda: seen.extend(world.wrote("bad", "down"))
    world.apply(plan("bad", shutdown="echo down >> down", **cast("Any", {step: "exit 7"})))
    until(lambda: world.state("bad") == State.BROKEN)

    assert seen == ["down"] * 3
    assert world.history("bad")[-2:] == [State.STOPPING, State.BROKEN]


def test_what_was_never_started_is_broken_without_a_shutdown(world: World) -> None:
    world.apply(plan("bad", install="exit 7", shutdown="echo down >> log"))
    until(lambda: world.state("bad") == State.BROKEN)

    assert not world.wrote("bad")


def test_the_reason_of_a_failure_has_the_last_lines_of_the_step_that_failed(world: World) -> None:
    script = 'seq 1 30; printf "%0400d\\n" 0; echo "password=hunter2 $SVCUID"; echo "No module named cv2"; exit 1'
    world.apply(plan("bad", install="echo installing", run=script, shutdown="echo down", recover="echo recover"))
    with pytest.raises(DeploymentFailure) as caught:
        world.settle()

    first, *output = caught.value.reason.splitlines()
    assert first == "Service bad in broken state after deployment. The last lines of its output:"
    assert output[:-3] == [str(number) for number in range(24, 31)]
    assert output[-3:] == ["0" * 299 + "…", "password=*** ***", "No module named cv2"]


def test_a_component_says_itself_that_it_runs_or_failed(world: World) -> None:
    world.apply(plan("app", startup="echo up >> log; exec sleep 600"))
    until(lambda: world.wrote("app"))
    component = world.supervisor.component("app")
    assert component is not None
    component.report("RUNNING")
    until(lambda: component.state == State.RUNNING)
    component.report("ERRORED")
    until(lambda: len(world.wrote("app")) == 2)

    assert "Component reported an error" in "".join(lines(world.layout.log("app")))


def test_what_a_deployment_removes_is_uninstalled_after_it_was_shut_down(world: World) -> None:
    gone = plan(
        "gone",
        "1.2.3",
        run=FOREVER,
        shutdown="echo down >> log",
        uninstall='echo "gone $GREENGRASS_COMPONENT_VERSION" >> log; exit 1',
    )
    stays = plan("stays", run=FOREVER, uninstall="echo never >> log")
    world.apply(gone, stays)
    world.settle()
    world.apply(plan("stays", "2.0.0", run=FOREVER, uninstall="echo never >> log"))
    world.settle()
    world.close()

    assert world.wrote("gone")[1:] == ["down", "gone 1.2.3"]
    assert "never" not in world.wrote("stays")


def test_a_component_is_not_uninstalled_when_the_device_stops(world: World) -> None:
    world.apply(plan("app", run=FOREVER, uninstall="echo never >> log"))
    world.settle()
    world.close()

    assert len(world.wrote("app")) == 1


def test_a_stop_interrupts_an_install(world: World) -> None:
    world.apply(plan("app", install="echo begun >> log; exec sleep 600"))
    until(lambda: world.wrote("app"))
    world.apply()

    assert world.state("app") is None


@pytest.mark.parametrize(
    ("condition", "skipped"),
    [("onpath sh", True), ("onpath no-such-program", False), ("! onpath sh", False), ("exists /", True)],
)
def test_a_step_is_skipped_when_its_condition_holds(world: World, condition: str, skipped: bool) -> None:
    world.apply(plan("app", install=Step("install", "install", "touch installed", skip_if=condition)))
    world.settle()

    assert (world.layout.work("app") / "installed").exists() is not skipped


def test_a_condition_about_the_home_folder_is_not_met_where_there_is_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_entry(user: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    monkeypatch.setattr("pwd.getpwuid", no_entry)
    monkeypatch.delenv("HOME")
    world.apply(plan("app", install=Step("install", "install", "touch installed", skip_if="exists ~/there")))
    world.settle()

    assert (world.layout.work("app") / "installed").exists()


def test_output_goes_to_the_log_of_the_component(world: World) -> None:
    world.apply(plan("app", run="echo good; echo bad >&2; exec sleep 600"))
    until(lambda: sum("(Copier)" in line for line in lines(world.layout.log("app"))) == 2)
    out, err = sorted(line for line in lines(world.layout.log("app")) if "(Copier)" in line and " app: " in line)[:2]

    context = "{scriptName=services.app.lifecycle.run.script, serviceName=app, currentState="
    both = out + err
    assert f"[INFO] (Copier) app: stdout. good. {context}" in both
    assert f"[WARN] (Copier) app: stderr. bad. {context}" in both


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Step("run", "run", "exec sleep 600", setenv={"X": "a\0b"}), "run could not be started: embedded null byte"),
        (Step("run", "run", "exec sleep 600", timeout=1e30), "unexpected: OverflowError"),
        (
            Step("run", "run", "exec sleep 600", skip_if="missing /file"),
            "Invalid format for Skipif of run: missing /file",
        ),
    ],
)
def test_what_nobody_thought_of_is_an_error_of_the_component(world: World, step: Step, reason: str) -> None:
    world.apply(plan("odd", run=step, recover=Step("recover", "recover", "true", setenv={"X": "\0"})))
    until(lambda: world.state("odd") == State.BROKEN)

    component = world.supervisor.component("odd")
    assert component is not None
    assert reason in component.details
    world.apply(plan("odd", run=FOREVER))
    world.settle()


def test_a_component_whose_script_kills_its_keeper_never_runs_twice(world: World) -> None:
    beside = "for pid in $(cat pids); do kill -0 $pid 2>/dev/null && echo $pid >> beside; done"
    detached = '(env -i setsid sh -c \'echo $$ >> "$1"; exec sleep 600\' sh "$PWD/pids" &)'
    kill = "until [ -s pids ]; do sleep 0.02; done; [ $(wc -l < log) -gt 1 ] || kill -9 $PPID"
    world.apply(plan("app", run=f"touch pids; {beside}; {detached}; echo up >> log; {kill}; exec sleep 600"))
    until(lambda: len(world.wrote("app", "pids")) == 2)
    world.settle()
    started = world.wrote("app", "pids")
    world.supervisor.stop()

    assert world.wrote("app", "beside") == []
    assert not any(map(alive, started))
