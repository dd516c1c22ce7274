"""Making a plan true: what is ready goes side by side, and the first failure ends it where it stands.

Whatever was done stays done, and the next apply goes on from there: there is nothing to roll back, because every
resource is either as the workflow says or will be observed again. The same holds for a run that is asked to stop: what
is being done is finished, what AWS works on by itself is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from emflow.engine.cancellation import Cancellation, Cancelled, Interrupted
from emflow.engine.clients import Clients
from emflow.engine.errors import AWS_ERRORS
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
from emflow.engine.plan import Plan, Step, make_plan
from emflow.engine.resource import LATER, Action, Inputs, Outputs
from emflow.engine.scheduler import run_graph, to_problem, topological_sorter
from emflow.problems import Problem

# Between agreeing to a plan and making it true: the lock, and a second look at the world.
#
# A plan is made, shown and agreed to without the lock: a second apply, which has nothing to do, must not write
# anything,
# and nobody is to be locked out while a person reads. So what was planned may have been done, or spoilt, by somebody
# else since. Under the lock everything is observed once more, and what is left to do has to be part of what was
# agreed.


def secure(
    plan: Plan, clients: Clients, lock: Lock, make: Callable[[str], bool], cancellation: Cancellation | None = None
) -> Plan | None:
    """Take the lock, and look again: the plan as it is now, None when `make` failed; `plan` itself without a lock.

    Args:
        make: makes one resource of the plan. It is called for the one that the lock is kept in, when that is not
            there yet; two that do this at once make the same thing, and one of them gets the lock.
        stop: ends the second look early when asked, without waiting for answers.

    Raises:
        Problem: somebody else holds the lock, or something else would have to be done now than was agreed to.
        Interrupted: `cancellation` was asked for.
    """
    agreed = {step.resource.id: step for step in plan.steps}
    if not lock.acquire():
        if lock.needs not in agreed:
            lock.go_without()  # a part of a workflow, before its first apply: nobody can have the lock
            return plan
        if not make(lock.needs):
            return None
        if not lock.acquire():
            raise Problem(f"there is no place for the lock, although {lock.needs} is there", mend="Run it again.")
    now = make_plan([step.resource for step in plan.steps], clients, cancellation)
    moved = [step for step in now.changes if not _within(step, agreed[step.resource.id])]
    if moved:
        raise Problem(
            "somebody has changed AWS since this was planned: " + ", ".join(step.resource.id for step in moved),
            mend="Look again (emflow plan), then apply that.",
        )
    return now


def _within(now: Step, agreed: Step) -> bool:
    """Whether what is to be done now is part of what was agreed to: something of it may be done, or a job be over."""
    if now.diff.parameters and now.diff.parameters != agreed.diff.parameters:
        return False
    known = {change.field: change.new for change in agreed.diff.changes}
    return all(
        change.field in known and (known[change.field] == change.new or known[change.field] is LATER)
        for change in now.diff.changes
    )


@dataclass(frozen=True)
class ApplyResult:
    """A plan that has become true. `actions`: what was done to each resource; `seconds`: how long all of it took."""

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
            # What was waited for may be followed by a change.
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
        Problem: the first thing that failed; what was under way has been finished, nothing else was begun. Or somebody
            else holds the lock, or has changed what was planned from.
        Interrupted: `cancellation` was asked for before everything was done.
    """
    if lock is None:
        return _apply_plan(plan, clients, emit, cancellation, None)
    with lock:
        if not plan.changes:
            lock.sweep()
        return _apply_plan(plan, clients, emit, cancellation, lock)


def _apply_plan(
    plan: Plan, clients: Clients, emit: Emit, cancellation: Cancellation | None, lock: Lock | None
) -> ApplyResult:
    started = time.monotonic()
    work = _ApplyRun(plan, clients, one_at_a_time(emit), cancellation or Cancellation(), lock)
    work.emit(Planned(plan))
    begun: set[str] = set()
    if lock is None or not plan.changes or work.secure(plan, lock):
        begun = run_graph(topological_sorter(step.resource for step in plan.steps), work.do, work.cancellation)
    undone = tuple(step.resource.id for step in plan.changes if step.resource.id not in begun)
    if cancellation is not None and cancellation.is_set() and (undone or work.left):
        raise Interrupted(cancellation, left=work.left, undone=undone, failed=tuple(work.failures))
    if work.failures:
        for name in undone:
            work.emit(Skipped(name, work.in_the_way_of(name)))
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
        self.left: dict[str, str] = {}

    def secure(self, plan: Plan, lock: Lock) -> bool:
        """Take the lock, and go on with the plan as it is under it; False when its place could not be made."""
        try:
            now = secure(plan, self._clients, lock, self.do, self.cancellation)
        except Interrupted:
            undone = tuple(step.resource.id for step in plan.changes if step.resource.id not in self.actions)
            raise Interrupted(self.cancellation, undone=undone) from None
        if now is None:
            return False
        if now is plan:
            mend = "see that nobody else applies this workflow meanwhile"
            self.emit(Warned(f"{lock.needs} is not there yet and no part of this, so there is no lock", mend))
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
            self.left[name] = run.state
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
        """Apply one resource and say what was done to it; None when nothing was ever to be done."""
        resource = step.resource
        inputs = Inputs(self.outputs)
        # What was known only "after apply" is known now, and can make a difference or do away with one.
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

    def in_the_way_of(self, resource: str) -> str:
        """The failure that a resource needs, directly or not; else the first one, which stopped everything."""
        ahead, seen = list(self._steps[resource].resource.needs), set[str]()
        while ahead:
            name = ahead.pop()
            if name in self.failures:
                return name
            if name not in seen:
                seen.add(name)
                ahead += self._steps[name].resource.needs
        return next(iter(self.failures))
