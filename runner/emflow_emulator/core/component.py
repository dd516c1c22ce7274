"""A component on the device: its states, its steps, and the handling of failed steps.

The nucleus's life cycle: NEW, install, INSTALLED, wait for HARD dependencies, STARTING, then `startup` or `run`. After
three errors in the same state it is BROKEN, until it is deployed again. `bootstrap` comes before all that
(`core.bootstrap`).
https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html#lifecycle-definition
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

from emflow_emulator.core.nuclei import NucleusModel
from emflow_emulator.core.output_tail import OutputTail
from emflow_emulator.core.plan import Plan
from emflow_emulator.core.process import Process, Sink
from emflow_emulator.core.recipe import Step
from emflow_emulator.core.skipping import BadSkipIf, is_skipped

_TRIES = 3
_FOLLOWING = ("shutdown", "recover", "uninstall")
"""Steps that follow another one."""
_ERRORS_FORGOTTEN = 3600.0
"""Seconds after which an error is no longer counted."""


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
"""States of a HARD dependency in which its dependents may run."""


class Host(Protocol):
    """The functions of the device that a component needs."""

    @property
    def nucleus(self) -> NucleusModel: ...

    def launch(self, plan: Plan, step: Step, sink: Sink, on_exit: Callable[[], object]) -> Process: ...

    def ready(self, name: str) -> bool:
        """Whether a dependency runs or has finished."""

    def finds(self, program: str) -> bool:
        """Whether a program is on the device's PATH."""

    def log(self, plan: Plan, level: str, thread: str, text: str, **context: Any) -> None: ...

    def changed(self, component: Component) -> None:
        """The component's state has changed."""


class _Interrupted(Exception):
    """The component has to stop or to restart."""


class _Failed(Exception):
    """A step failed, or the component reported an error. `code`: the nucleus's, such as RUN_ERROR; may be empty."""

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code


class Component:
    """A component with its own thread, from `start` to `stop`.

    Args:
        installed: the install step has been done by an earlier deployment and need not be repeated.
    """

    def __init__(self, plan: Plan, host: Host, *, installed: bool = False) -> None:
        self.plan = plan
        self.state = State.INSTALLED if installed else State.NEW
        self.since = time.monotonic()
        self.details = ""
        self.codes: tuple[str, ...] = ()
        self.installed = installed
        self.ended_with = ""
        """The HARD dependency whose end ended this component for good; empty when there is none."""
        self._host = host
        self._event = threading.Condition()
        self._stopping = False
        self._restarting = False
        self._complaint = ""
        self._errors: dict[State, list[float]] = defaultdict(list)
        self._processes: list[Process] = []
        self._tail = OutputTail()
        self._thread = threading.Thread(target=self._run_life_cycle, name=f"{plan.name}-lifecycle", daemon=True)

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop; it cannot be started again then."""
        return self._stopping

    @property
    def output(self) -> tuple[str, ...]:
        """The last lines of its last step that can fail, as they may be shown."""
        return self._tail.lines

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Run its shutdown step and end its processes; returns when this is done."""
        self.ask_to_stop()
        if self._thread.ident is not None:
            self._thread.join()

    def uninstall(self) -> None:
        """Run its uninstall step, after it was stopped because a deployment removes it for good."""
        self._run_and_log_failure("uninstall")
        self._end_processes()
        self.installed = False

    def ask_to_stop(self) -> None:
        self._set(stopping=True)

    def restart(self) -> None:
        """A HARD dependency stopped: stop, wait for the dependency, and start again."""
        if self.state in (State.STARTING, State.RUNNING):
            self._host.log(self.plan, "INFO", "dependency", "Dependency error. Service will be restarted")
            self._set(restarting=True)

    def stop_with_dependency(self, dependency: str) -> None:
        """A HARD dependency to which it is bound ended: end for good, if it has begun."""
        if self.state in (State.STARTING, State.RUNNING) and not self._stopping:
            self.ended_with = dependency
            self._host.log(self.plan, "INFO", "dependency", "A dependency ended. Service will be stopped")
            self.ask_to_stop()

    def recheck(self) -> None:
        """A dependency changed its state: check again whether all dependencies are ready."""
        with self._event:
            self._event.notify_all()

    def report(self, state: str) -> None:
        """The component reports its state over IPC: RUNNING while it starts up, or ERRORED."""
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

    def _run_life_cycle(self) -> None:
        while self.state not in (State.BROKEN, State.FINISHED):
            try:
                self._wait_until(lambda: True)
                self._install()
                self._start()
                self._shut_down()
                self._become(State.FINISHED)
            except _Interrupted:
                self._shut_down()
                why = f"stopped, because {self.ended_with} ended, its HARD dependency" if self.ended_with else ""
                self._become(State.FINISHED if self._stopping else State.INSTALLED, why)
            except _Failed as failure:
                self._recover(str(failure), failure.code)
            except Exception as error:  # no exception may end this thread without a report
                self._recover(f"unexpected: {type(error).__name__}: {error}")

    def _install(self) -> None:
        if not self.installed:
            self._become(State.NEW)
            self._run_step("install")
            self.installed = True
            self._errors[State.NEW].clear()
        self._become(State.INSTALLED)

    def _start(self) -> None:
        """Start the component; returns when it has finished."""
        self._wait_until(self._dependencies_ready)
        if self._host.nucleus.binds and not self.plan.steps.keys() & {"startup", "run"}:
            self._wait_until(lambda: False)  # there is no process whose end could be seen
        with self._event:
            self._restarting, self._complaint = False, ""
        self._become(State.STARTING)
        if not self._dependencies_ready():
            raise _Interrupted  # a dependency stopped just before this component was started
        if self._wants("startup"):
            self._run_step("startup")
            self._become(State.RUNNING)
            self._errors[State.STARTING].clear()
            self._wait_until(lambda: False)
        elif self._wants("run"):
            process = self._launch("run")
            self._become(State.RUNNING)
            self._finish("run", process)
            self._errors[State.RUNNING].clear()
        elif self.plan.builtin:
            self._become(State.RUNNING)
            self._wait_until(lambda: False)

    def _dependencies_ready(self) -> bool:
        return all(self._host.ready(name) for name in self.plan.hard)

    def _recover(self, why: str, code: str = "") -> None:
        """Handle an error: BROKEN after the third error in the same state, else another attempt."""
        errors, now = self._errors[self.state], time.monotonic()
        if errors and now - errors[-1] > _ERRORS_FORGOTTEN:
            errors.clear()
        errors.append(now)
        self._say("service-errored", level="ERROR", reason=why)
        if len(errors) >= _TRIES:
            if self.state in (State.STARTING, State.RUNNING):
                self._become(State.STOPPING)
                self._run_and_log_failure("shutdown")
            self._end_processes()
            self._become(State.BROKEN, why, (code,) if code else ())
            return
        if not self.installed:
            self._end_processes()  # the next attempt must not run beside what is left of this one
        self._become(State.ERRORED, why, (code,) if code else ())
        self._run_and_log_failure("recover")
        if self.installed:
            self._shut_down()

    def _shut_down(self) -> None:
        """Run the shutdown step, then end all remaining processes. One that takes too long is an error."""
        if self.state in (State.STARTING, State.RUNNING, State.ERRORED):
            self._become(State.STOPPING)
            if not self._run_and_log_failure("shutdown"):
                self._become(State.ERRORED, "shutdown did not end in time", ("SHUTDOWN_TIMEOUT",))
                self._run_and_log_failure("recover")
        self._end_processes()

    def _end_processes(self) -> None:
        while self._processes:
            self._processes.pop().end()

    def _run_and_log_failure(self, name: str) -> bool:
        """Run a step that is not interrupted and whose failure is only logged; False when it took too long."""
        try:
            if self._wants(name):
                process, step = self._launch(name), self.plan.steps[name]
                if process.wait(step.timeout) is None:
                    self._say(f"{name.capitalize()} timed out", level="WARN", timeout=step.timeout)
                    process.end()
                    return False
        except Exception as error:
            self._say(f"{name.capitalize()} failed", level="WARN", error=error)
        return True

    def _run_step(self, name: str) -> None:
        if self._wants(name):
            self._finish(name, self._launch(name))

    def _finish(self, name: str, process: Process) -> None:
        """Wait for the end of a step."""
        step = self.plan.steps[name]
        if not self._wait_until(lambda: process.code is not None, step.timeout):
            raise _Failed(f"{name} did not end within {step.timeout:g} s", f"{name.upper()}_TIMEOUT")
        self._say(f"{name.capitalize()} script exited", exitCode=process.code)
        if process.code:
            raise _Failed(f"{name} script exited with code {process.code}", f"{name.upper()}_ERROR")

    def _wait_until(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until `done`; False when time runs out.

        Raises:
            _Interrupted: the component has to stop, or a dependency stopped.
            _Failed: the component reported an error.
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

        # What follows a failure says nothing about its reason.
        tail = OutputTail() if name in _FOLLOWING else self._new_tail()

        def sink(stream: str, text: str) -> None:
            tail.add(text)
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

    def _new_tail(self) -> OutputTail:
        self._tail = OutputTail()
        return self._tail

    def _wants(self, name: str) -> bool:
        """Whether the recipe has this step and its skip condition is not met.

        Raises:
            _Failed: the condition is none of those that there are.
        """
        step = self.plan.steps.get(name)
        try:
            return step is not None and not is_skipped(step, self._host.finds)
        except BadSkipIf as error:
            raise _Failed(str(error), f"{name.upper()}_INVALID_CONFIG") from error

    def _context(self, step: Step, **more: Any) -> dict[str, Any]:
        script = f"services.{self.plan.name}.lifecycle.{step.key}"
        return {"scriptName": script, "serviceName": self.plan.name, "currentState": self.state, **more}

    def _say(self, text: str, *, level: str = "INFO", **context: Any) -> None:
        where = {"serviceName": self.plan.name, "currentState": self.state}
        self._host.log(self.plan, level, threading.current_thread().name, text, **(where | context))
