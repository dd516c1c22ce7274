"""One component on the device: its states, its steps, and what happens when they fail.

The nucleus's life cycle: NEW, install, INSTALLED, wait for HARD dependencies, STARTING, then `startup` or `run`. Three
errors in the same state make it BROKEN, and so it stays until it is deployed again.
https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html#lifecycle-definition
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from emflow_emulator.core.plan import Plan
from emflow_emulator.core.process import Process, Sink
from emflow_emulator.core.recipe import Step, skip_condition

_TRIES = 3
_ERRORS_FORGOTTEN = 3600.0
"""Seconds after which an old error counts no more."""


class State(StrEnum):
    NEW = "NEW"
    INSTALLED = "INSTALLED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    ERRORED = "ERRORED"
    BROKEN = "BROKEN"
    FINISHED = "FINISHED"


READY = frozenset({State.RUNNING, State.STOPPING, State.FINISHED})
"""States of a HARD dependency in which what depends on it may run."""


class Host(Protocol):
    """What a component needs of its device."""

    def launch(self, plan: Plan, step: Step, sink: Sink, on_exit: Callable[[], object]) -> Process: ...

    def ready(self, name: str) -> bool:
        """Whether a dependency runs, or has done what it had to."""

    def log(self, plan: Plan, level: str, thread: str, text: str, **context: Any) -> None: ...

    def changed(self, component: Component) -> None:
        """Its state is another one now."""


class _Interrupted(Exception):
    """It has to stop, or to start again."""


class _Failed(Exception):
    """A step failed, or the component said so; `code` is the nucleus's, such as RUN_ERROR, where it has one."""

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code


class Component:
    """A component that lives in a thread of its own, from `start` to `stop`.

    Args:
        installed: the install step was done before, and serves.
    """

    def __init__(self, plan: Plan, host: Host, *, installed: bool = False) -> None:
        self.plan = plan
        self.state = State.INSTALLED if installed else State.NEW
        self.since = time.monotonic()
        self.details = ""
        self.codes: tuple[str, ...] = ()
        self.installed = installed
        self._host = host
        self._event = threading.Condition()
        self._stopping = False
        self._restarting = False
        self._complaint = ""
        self._errors: dict[State, list[float]] = defaultdict(list)
        self._processes: list[Process] = []
        self._thread = threading.Thread(target=self._live, name=f"{plan.name}-lifecycle", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Run its shutdown step and end its processes; returns when all that is done."""
        self.ask_to_stop()
        if self._thread.ident is not None:
            self._thread.join()

    def ask_to_stop(self) -> None:
        self._set(stopping=True)

    def restart(self) -> None:
        """A HARD dependency went away: stop, wait for it, start again."""
        if self.state in (State.STARTING, State.RUNNING):
            self._host.log(self.plan, "INFO", "dependency", "Dependency error. Service will be restarted")
            self._set(restarting=True)

    def recheck(self) -> None:
        """A dependency changed its state; perhaps it is what this one waits for."""
        with self._event:
            self._event.notify_all()

    def report(self, state: str) -> None:
        """What it says about itself over IPC: RUNNING while it starts up, or ERRORED."""
        if state == State.ERRORED:
            self._set(complaint="Component reported an error")
        elif state == State.RUNNING and self.state == State.STARTING:
            self._become(State.RUNNING)

    def _set(self, *, stopping: bool = False, restarting: bool = False, complaint: str = "") -> None:
        with self._event:
            self._stopping |= stopping
            self._restarting |= restarting
            self._complaint = complaint or self._complaint
            self._event.notify_all()

    def _become(self, state: State, details: str = "", codes: tuple[str, ...] = ()) -> None:
        if state != self.state:
            self.codes = codes
            self.state, self.since, self.details = state, time.monotonic(), details
            self._host.changed(self)

    def _live(self) -> None:
        while self.state not in (State.BROKEN, State.FINISHED):
            try:
                self._attend(lambda: True)
                self._install()
                self._start()
                self._wind_down()
                self._become(State.FINISHED)
            except _Interrupted:
                self._wind_down()
                self._become(State.FINISHED if self._stopping else State.INSTALLED)
            except _Failed as failure:
                self._recover(str(failure), failure.code)
            except Exception as error:  # whatever it is, it must not end this thread: nobody would know
                self._recover(f"unexpected: {type(error).__name__}: {error}")

    def _install(self) -> None:
        if not self.installed:
            self._become(State.NEW)
            self._do("bootstrap")
            self._do("install")
            self.installed = True
            self._errors[State.NEW].clear()
        self._become(State.INSTALLED)

    def _start(self) -> None:
        """Returns when it has done what it had to do."""
        self._attend(self._dependencies_ready)
        with self._event:
            self._restarting, self._complaint = False, ""
        self._become(State.STARTING)
        if not self._dependencies_ready():
            raise _Interrupted  # one went away just before anybody could tell
        if self._wants("startup"):
            self._do("startup")
            self._become(State.RUNNING)
            self._errors[State.STARTING].clear()
            self._attend(lambda: False)
        elif self._wants("run"):
            process = self._launch("run")
            self._become(State.RUNNING)
            self._finish("run", process)
            self._errors[State.RUNNING].clear()
        elif self.plan.builtin:
            self._become(State.RUNNING)
            self._attend(lambda: False)

    def _dependencies_ready(self) -> bool:
        return all(self._host.ready(name) for name in self.plan.hard)

    def _recover(self, why: str, code: str = "") -> None:
        """After an error: BROKEN at the third in the same state, another try otherwise."""
        errors, now = self._errors[self.state], time.monotonic()
        if errors and now - errors[-1] > _ERRORS_FORGOTTEN:
            errors.clear()
        errors.append(now)
        broken = len(errors) >= _TRIES
        self._say("service-errored", level="ERROR", reason=why)
        self._become(State.BROKEN if broken else State.ERRORED, why, (code,) if code else ())
        if broken:
            self._end_processes()
            return
        self._aside("recover")
        if self.installed:
            self._wind_down()

    def _wind_down(self) -> None:
        """The shutdown step, and then whatever still runs is ended."""
        if self.state in (State.STARTING, State.RUNNING, State.ERRORED):
            self._become(State.STOPPING)
            self._aside("shutdown")
        self._end_processes()

    def _end_processes(self) -> None:
        while self._processes:
            self._processes.pop().end()

    def _aside(self, name: str) -> None:
        """A step that nobody can interrupt and whose failure changes nothing."""
        try:
            if self._wants(name):
                process, step = self._launch(name), self.plan.steps[name]
                if process.wait(step.timeout) is None:
                    self._say(f"{name.capitalize()} timed out", level="WARN", timeout=step.timeout)
                    process.end()
        except Exception as error:
            self._say(f"{name.capitalize()} failed", level="WARN", error=error)

    def _do(self, name: str) -> None:
        if self._wants(name):
            self._finish(name, self._launch(name))

    def _finish(self, name: str, process: Process) -> None:
        """Wait for a step's end."""
        step = self.plan.steps[name]
        if not self._attend(lambda: process.code is not None, step.timeout):
            raise _Failed(f"{name} did not end within {step.timeout:g} s", f"{name.upper()}_TIMEOUT")
        self._say(f"{name.capitalize()} script exited", exitCode=process.code)
        if process.code:
            raise _Failed(f"{name} script exited with code {process.code}", f"{name.upper()}_ERROR")

    def _attend(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until `done`; False when time runs out.

        Raises:
            _Interrupted: it has to stop, or a dependency went away.
            _Failed: the component says of itself that it failed.
        """
        with self._event:
            in_time = self._event.wait_for(
                lambda: self._stopping or self._restarting or self._complaint or done(), timeout
            )
            if self._stopping or (self._restarting and self.state != State.INSTALLED):
                raise _Interrupted
            complaint, self._complaint = self._complaint, ""
            if complaint and self.state in (State.STARTING, State.RUNNING):
                raise _Failed(complaint)
        return bool(in_time)

    def _launch(self, name: str) -> Process:
        step = self.plan.steps[name]

        def sink(stream: str, text: str) -> None:
            level = "INFO" if stream == "stdout" else "WARN"
            self._host.log(self.plan, level, "Copier", f"{stream}. {text}", **self._context(step))

        if step.privileged:
            self._say("RequiresPrivilege has no effect here: every step runs as the user who started the device")
        self._say("shell-runner-start", **self._context(step, command=step.script))
        try:
            process = self._host.launch(self.plan, step, sink, self.recheck)
        except (OSError, ValueError) as error:
            raise _Failed(f"{name} could not be started: {error}", f"{name.upper()}_ERROR") from error
        self._processes.append(process)
        return process

    def _wants(self, name: str) -> bool:
        """Whether the recipe has this step and does not skip it."""
        step = self.plan.steps.get(name)
        condition = skip_condition(step.skip_if) if step else None
        if condition is None:
            return step is not None
        negated, test, argument = condition
        true = shutil.which(argument) is not None if test == "onpath" else Path(argument).expanduser().exists()
        return true == negated

    def _context(self, step: Step, **more: Any) -> dict[str, Any]:
        script = f"services.{self.plan.name}.lifecycle.{step.key}"
        return {"scriptName": script, "serviceName": self.plan.name, "currentState": self.state, **more}

    def _say(self, text: str, *, level: str = "INFO", **context: Any) -> None:
        where = {"serviceName": self.plan.name, "currentState": self.state}
        self._host.log(self.plan, level, threading.current_thread().name, text, **(where | context))
