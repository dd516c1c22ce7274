"""Applying a plan: resources that are ready are applied in parallel, and the first failure ends the run.

Whatever was done stays done, and the next apply continues from there. There is nothing to roll back, because every
resource is either as the workflow says or will be observed again. The same holds for a run that is cancelled: the calls
that are being made are finished, and jobs that AWS works on are left to it.

A plan is made, shown and confirmed without the lock: an apply without changes must not write anything, and a person who
reads a plan must not block other runs. So another run may have changed AWS since the plan was made. Under the lock,
everything is observed again, and the remaining changes have to be part of the confirmed plan.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from emflow.engine.cancellation import Cancellation, Cancelled, Interrupted
from emflow.engine.clients import Clients
from emflow.engine.errors import AWS_ERRORS, to_problem
from emflow.engine.events import (
    Done,
    Emit,
    Event,
    Failed,
    Left,
    Planned,
    Skipped,
    Started,
    Waiting,
    Warned,
    ignore_events,
)
from emflow.engine.lock import Lock
from emflow.engine.plan import Plan, Step, make_plan, refuse_unplanned_changes
from emflow.engine.resource import Action, Inputs, Outputs
from emflow.engine.scheduler import apply_graph, run_graph, topological_sorter
from emflow.problems import Problem


@dataclass(frozen=True)
class ApplyResult:
    """What an apply did. `actions`: what was done to each resource; `seconds`: how long all of it took."""

    actions: dict[str, Action]
    outputs: dict[str, Outputs]
    seconds: float

    def summary(self) -> str:
        """`Applied: 12 created in 3.2 s`, or that nothing had to change."""
        words = {
            Action.CREATE: "created",
            Action.UPDATE: "changed",
            Action.REPLACE: "replaced",
            Action.REMOVE: "removed",
        }
        actions = list(self.actions.values())
        parts = [f"{actions.count(action)} {word}" for action, word in words.items() if action in actions]
        if not parts:
            return "0 changes: everything is as the workflow says."
        return f"Applied: {', '.join(parts)} in {self.seconds:.1f} s"


class ResourceRun:
    """A `RunContext` of one resource: reports become events. A wait under a lock ends when the lock is lost."""

    def __init__(self, resource: str, emit: Emit, cancellation: threading.Event, lock: Lock | None = None) -> None:
        self._resource = resource
        self._emit = emit
        self._stop = cancellation
        self._lock = lock
        self.state = ""

    def waiting(self, state: str, reason: str = "") -> None:
        self.state = state
        self._emit(Waiting(self._resource, state, reason))

    def pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Cancelled
        if self._lock:
            # A change may follow the wait.
            self._lock.check()


def apply_plan(
    plan: Plan,
    clients: Clients,
    emit: Emit = ignore_events,
    cancellation: Cancellation | None = None,
    lock: Lock | None = None,
) -> ApplyResult:
    """Make the changes of a plan. Events come from several threads, but one at a time.

    Args:
        stop: ends it early when asked: what is under way is finished, nothing else is begun.
        lock: is taken when there is anything to change, and let go of at the end.

    Raises:
        Problem: the first thing that failed; what was under way has been finished, nothing else was begun. Or another
            run holds the lock, or AWS is no longer as it was planned from.
        Interrupted: `cancellation` was requested before everything was done.
    """
    if lock is None:
        return _apply_plan(plan, clients, emit, cancellation, None)
    with lock:
        if not plan.changes:
            lock.remove_stale()
        return _apply_plan(plan, clients, emit, cancellation, lock)


def _apply_plan(
    plan: Plan, clients: Clients, emit: Emit, cancellation: Cancellation | None, lock: Lock | None
) -> ApplyResult:
    started = time.monotonic()
    work = _ApplyRun(plan, clients, one_at_a_time(emit), cancellation or Cancellation(), lock)
    work.emit(Planned(plan))
    begun: set[str] = set()
    if lock is None or not plan.changes or work.acquire_lock(plan, lock):
        graph = apply_graph(step.resource for step in plan.steps)
        begun = run_graph(topological_sorter(graph), work.do, work.cancellation)
    # What the lock is kept in is tried before all others.
    begun |= {*work.actions, *work.failures, *work.in_flight}
    not_begun = tuple(step.resource.id for step in plan.changes if step.resource.id not in begun)
    if cancellation is not None and cancellation.is_set() and (not_begun or work.in_flight):
        raise Interrupted(cancellation, in_flight=work.in_flight, not_begun=not_begun, failed=tuple(work.failures))
    if work.failures:
        for name in not_begun:
            work.emit(Skipped(name, work.blocked_by(name)))
        raise next(iter(work.failures.values()))
    return ApplyResult(work.actions, work.outputs, time.monotonic() - started)


def one_at_a_time(emit: Emit) -> Emit:
    """The same listener, never called by two threads at once."""
    lock = threading.Lock()

    def locked(event: Event) -> None:
        with lock:
            emit(event)

    return locked


class _ApplyRun:
    """One run of a plan; `do` is called from several threads, for different resources."""

    def __init__(self, plan: Plan, clients: Clients, emit: Emit, cancellation: Cancellation, lock: Lock | None) -> None:
        self._steps = {step.resource.id: step for step in plan.steps}
        self._clients = clients
        self._lock = lock
        self.emit = emit
        self.cancellation = cancellation
        self.outputs = plan.outputs
        self.actions: dict[str, Action] = {}
        self.failures: dict[str, Problem] = {}
        self.in_flight: dict[str, str] = {}

    def acquire_lock(self, plan: Plan, lock: Lock) -> bool:
        """Acquire the lock, and continue with the plan as it is under it.

        The resource that the lock is kept in is applied first where it does not exist yet. Two runs that do this at
        once make the same thing, and one of them gets the lock.

        Returns:
            False when that resource could not be made.

        Raises:
            Problem: another run holds the lock, or something would have to be done now that was not planned.
            Interrupted: the run was cancelled.
        """
        if not lock.acquire():
            if lock.kept_in not in self._steps:
                # A part of a workflow, before its first apply: no run can have the lock.
                lock.continue_without()
                mend = "make sure that no other run applies this workflow at the same time"
                message = f"{lock.kept_in} does not exist yet and is not part of this plan, so there is no lock"
                self.emit(Warned(message, mend))
                return True
            if not self.do(lock.kept_in):
                return False
            if not lock.acquire():
                raise Problem(f"the lock cannot be written although {lock.kept_in} exists", mend="Run it again.")
        try:
            now = make_plan([step.resource for step in plan.steps], self._clients, self.cancellation)
        except Interrupted:
            not_begun = tuple(step.resource.id for step in plan.changes if step.resource.id not in self.actions)
            raise Interrupted(self.cancellation, not_begun=not_begun) from None
        refuse_unplanned_changes(plan, now)
        self._steps = {step.resource.id: step for step in now.steps}
        self.outputs = now.outputs
        return True

    def do(self, name: str) -> bool:
        """Apply one resource if it has to change; False when that failed."""
        step = self._steps[name]
        started = time.monotonic()
        run = ResourceRun(name, self.emit, self.cancellation, self._lock)
        try:
            action = self._apply(step, run)
        except Cancelled:
            self.in_flight[name] = run.state
            self.emit(Left(name, run.state, time.monotonic() - started))
            return False
        except (Problem, *AWS_ERRORS) as error:
            problem = to_problem(error)
            self.failures[name] = problem
            self.emit(Failed(name, problem))
            return False
        if action is not None:
            self.actions[name] = action
            self.emit(Done(name, action, time.monotonic() - started))
        return True

    def _apply(self, step: Step, run: ResourceRun) -> Action | None:
        """Apply one resource and return what was done to it; None when no change was planned."""
        resource = step.resource
        inputs = Inputs(self.outputs)
        # Values that were known only after apply are known now: a difference may have come or gone.
        diff = resource.diff(step.observed, inputs)
        if diff.action is step.diff.action is Action.NONE:
            self.outputs[resource.id] = diff.outputs
            return None
        self.emit(Started(resource.id, diff.action))
        if diff.action is Action.NONE:
            self.outputs[resource.id] = diff.outputs
        else:
            if self._lock:
                self._lock.check()
            self.outputs[resource.id] = resource.apply(self._clients, diff, inputs, run)
        return diff.action

    def blocked_by(self, resource: str) -> str:
        """The failed resource that this one depends on, directly or not; else the first failure of the run."""
        graph = apply_graph(step.resource for step in self._steps.values())
        pending, seen = list(graph[resource]), set[str]()
        while pending:
            name = pending.pop()
            if name in self.failures:
                return name
            if name not in seen:
                seen.add(name)
                pending += graph[name]
        return next(iter(self.failures))
