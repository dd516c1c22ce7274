"""Taking down what a workflow made, in reverse order: only what carries its mark, and data only when told."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from emflow.engine.apply import ResourceRun, one_at_a_time
from emflow.engine.cancellation import Cancellation, Cancelled, Interrupted
from emflow.engine.clients import Clients
from emflow.engine.errors import AWS_ERRORS
from emflow.engine.events import Done, Emit, Failed, Left, Skipped, Started, ignore_events
from emflow.engine.lock import Lock
from emflow.engine.plan import raise_problems
from emflow.engine.resource import DETAILS, InUse, Observed, Removable
from emflow.engine.scheduler import in_dependency_order, run_parallel, to_problem
from emflow.problems import Problem


@dataclass(frozen=True)
class RemovalPlan:
    """What goes, in the order in which it goes, and what stays, each with the reason.

    `details`: what exactly goes, where the name of a resource does not say it; by id.
    """

    to_remove: tuple[Removable, ...]
    to_keep: tuple[tuple[Removable, str], ...]
    details: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def text(self) -> str:
        """For people: a line for each that goes, a line for each reason why something stays, and the summary."""
        width = max((len(resource.id) for resource in self.to_remove), default=0)
        lines: list[str] = []
        for resource in self.to_remove:
            lines.append(f"  - {resource.id:<{width}}  {resource.name}")
            lines += [f"      {line}" for line in self.details.get(resource.id, ())]
        lines += [f"  = kept: {', '.join(names)} ({why})" for why, names in self._kept()]
        return "\n".join([*lines, f"Plan: {len(self.to_remove)} to remove" if self.to_remove else "Nothing to remove."])

    def _kept(self) -> Iterator[tuple[str, list[str]]]:
        """Every reason, and the ids of what stays because of it."""
        for reason in dict.fromkeys(why for _, why in self.to_keep):
            yield reason, [resource.id for resource, why in self.to_keep if why == reason]


def plan_removal(
    resources: Iterable[Removable],
    clients: Clients,
    *,
    delete_data: bool = False,
    cancellation: Cancellation | None = None,
) -> RemovalPlan:
    """Look at AWS for what is there and may go.

    Args:
        stop: ends it early when asked, without waiting for answers.

    Raises:
        Problem: something could not be read.
        Interrupted: `cancellation` was asked for.
    """
    order = in_dependency_order(resources)[::-1]
    observed: dict[str, Observed | None] = {}

    def observe(resource: Removable) -> None:
        observed[resource.id] = resource.observe(clients)

    try:
        raise_problems(run_parallel(observe, order, cancellation))
    except Cancelled:
        raise Interrupted(cancellation or Cancellation(), mend="Nothing was removed.") from None
    to_remove: list[Removable] = []
    to_keep: list[tuple[Removable, str]] = []
    held: dict[str, InUse] = {}
    for resource in order:
        found = observed[resource.id]
        if found is None:
            continue
        why = resource.kept(found, delete_data=delete_data)
        if why is None:
            why = held.get(resource.id)
        if why is None:
            to_remove.append(resource)
        elif why:
            to_keep.append((resource, why))
        if isinstance(why, InUse):
            for name in resource.needs:
                held.setdefault(name, InUse(f"{resource.id} stays, and needs it"))
    details = {name: found[DETAILS] for name, found in observed.items() if found and DETAILS in found}
    return RemovalPlan(tuple(to_remove), tuple(to_keep), details)


def remove(
    removal: RemovalPlan,
    clients: Clients,
    emit: Emit = ignore_events,
    cancellation: Cancellation | None = None,
    lock: Lock | None = None,
) -> None:
    """Remove what goes, one after the other. What cannot be removed keeps what it needs; the rest goes nevertheless.

    Args:
        stop: ends it early when asked: the call that is being made is finished, and what takes few of them; nothing
            else is begun.
        lock: is taken first, and let go of at the end.

    Raises:
        Problem: all that could not be removed; or somebody else holds the lock.
        Interrupted: `cancellation` was asked for before everything was gone.
    """
    if lock is None:
        return _remove(removal, clients, one_at_a_time(emit), cancellation or Cancellation(), None)
    with lock:
        lock.acquire()  # where its place is not there, neither is anything that another run could be working on
        return _remove(removal, clients, one_at_a_time(emit), cancellation or Cancellation(), lock)


def _remove(removal: RemovalPlan, clients: Clients, emit: Emit, cancellation: Cancellation, lock: Lock | None) -> None:
    problems: dict[str, Problem] = {}
    needed: dict[str, str] = {}
    for number, resource in enumerate(removal.to_remove):
        if cancellation.is_set():
            undone = tuple(later.id for later in removal.to_remove[number:])
            raise Interrupted(cancellation, undone=undone, failed=tuple(problems))
        if resource.id in needed:
            _keep_needed(needed, resource, needed[resource.id])
            emit(Skipped(resource.id, needed[resource.id]))
            continue
        started = time.monotonic()
        emit(Started(resource.id, None))
        # Whatever empties the bucket that the lock is in removes it too.
        run = ResourceRun(resource.id, emit, cancellation, lock if lock and resource.id != lock.needs else None)
        try:
            if lock:
                lock.check()
            resource.delete(clients, run)
        except Cancelled:
            emit(Left(resource.id, run.state, time.monotonic() - started))
            undone = tuple(later.id for later in removal.to_remove[number + 1 :])
            halfway = {resource.id: run.state}
            raise Interrupted(cancellation, halfway=halfway, undone=undone, failed=tuple(problems)) from None
        except (Problem, *AWS_ERRORS) as error:
            problems[resource.id] = to_problem(error)
            _keep_needed(needed, resource, resource.id)
            emit(Failed(resource.id, problems[resource.id]))
        else:
            emit(Done(resource.id, None, time.monotonic() - started))
            if lock and resource.id == lock.needs:
                lock = None  # it has gone with the bucket that it was in
    raise_problems(list({str(problem): problem for problem in problems.values()}.values()))


def _keep_needed(needed: dict[str, str], resource: Removable, because: str) -> None:
    """Note that what a resource needs has to stay as long as it is there."""
    for name in resource.needs:
        needed.setdefault(name, because)
