"""Destroying a workflow: what it made is removed in reverse order; what others made or use stays, and so does data.

Data is removed only on request. What cannot be removed keeps what it needs; everything else is removed nevertheless.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from emflow.engine.apply import ResourceRun, one_at_a_time
from emflow.engine.cancellation import Cancellation, Cancelled, Interrupted
from emflow.engine.clients import Clients
from emflow.engine.errors import AWS_ERRORS, to_problem
from emflow.engine.events import Done, Emit, Failed, Left, Skipped, Started, ignore_events
from emflow.engine.lock import Lock
from emflow.engine.plan import raise_problems
from emflow.engine.resource import DETAILS, Observed, Removable, RemovableAsPlanned
from emflow.engine.scheduler import Graph, in_dependency_order, removal_graph, run_parallel
from emflow.problems import Problem


@dataclass(frozen=True)
class RemovalPlan:
    """What is removed, in this order, and what is kept.

    Args:
        to_keep: resources with the reason why they stay.
        details: lines that say what exactly is removed, where the name of a resource does not; by id.
        graph: what is removed after each resource, and stays when that cannot be removed.
    """

    to_remove: tuple[Removable, ...]
    to_keep: tuple[tuple[Removable, str], ...]
    details: Mapping[str, Sequence[str]] = field(default_factory=dict)
    graph: Graph = field(default_factory=dict)

    def text(self) -> str:
        """For people: a line for each that is removed, a line for each reason why something stays, and the summary."""
        width = max((len(resource.id) for resource in self.to_remove), default=0)
        lines: list[str] = []
        for resource in self.to_remove:
            lines.append(f"  - {resource.id:<{width}}  {resource.name}")
            lines += [f"      {line}" for line in self.details.get(resource.id, ())]
        lines += [f"  = kept: {', '.join(names)} ({reason})" for reason, names in self._by_reason()]
        return "\n".join([*lines, f"Plan: {len(self.to_remove)} to remove" if self.to_remove else "Nothing to remove."])

    def _by_reason(self) -> Iterator[tuple[str, list[str]]]:
        """Every reason, and the ids of what stays because of it."""
        for reason in dict.fromkeys(reason for _, reason in self.to_keep):
            yield reason, [resource.id for resource, each in self.to_keep if each == reason]


def plan_removal(
    resources: Iterable[Removable],
    clients: Clients,
    *,
    delete_data: bool = False,
    cancellation: Cancellation | None = None,
) -> RemovalPlan:
    """Look at AWS for what exists and may be removed.

    Args:
        cancellation: ends it early when requested, without waiting for answers.

    Raises:
        Problem: something could not be read.
        Interrupted: `cancellation` was requested.
    """
    resources = tuple(resources)
    graph = removal_graph(resources)
    order = in_dependency_order(resources, graph)[::-1]
    observed: dict[str, Observed | None] = {}

    def observe(resource: Removable) -> None:
        observed[resource.id] = resource.observe(clients)

    try:
        raise_problems(run_parallel(observe, order, cancellation))
    except Cancelled:
        raise Interrupted(cancellation or Cancellation(), mend="Nothing was removed.") from None
    to_remove: list[Removable] = []
    to_keep: list[tuple[Removable, str]] = []
    needed_by: dict[str, str] = {}
    for resource in order:
        found = observed[resource.id]
        if found is None:
            continue
        retention = resource.retention(found, delete_data=delete_data)
        reason, in_use = retention.reason, retention.in_use
        if not retention.kept and resource.id in needed_by:
            reason, in_use = f"{needed_by[resource.id]} stays, and needs it", True
        elif not retention.kept:
            to_remove.append(resource.as_planned(found) if isinstance(resource, RemovableAsPlanned) else resource)
            continue
        if reason:
            to_keep.append((resource, reason))
        if in_use:
            for name in resource.needs:
                needed_by.setdefault(name, resource.id)
    details = {name: found[DETAILS] for name, found in observed.items() if found and DETAILS in found}
    return RemovalPlan(tuple(to_remove), tuple(to_keep), details, graph)


def remove(
    removal: RemovalPlan,
    clients: Clients,
    emit: Emit = ignore_events,
    cancellation: Cancellation | None = None,
    lock: Lock | None = None,
) -> None:
    """Remove what the plan says, one after the other.

    What cannot be removed keeps what it needs; everything else is removed nevertheless.

    Args:
        cancellation: ends it early when requested: the call that is being made is finished, and nothing else is begun.
        lock: is acquired first, and released at the end.

    Raises:
        Problem: all that could not be removed; or another run holds the lock.
        Interrupted: `cancellation` was requested before everything was removed.
    """
    emit, cancellation = one_at_a_time(emit), cancellation or Cancellation()
    if lock is None:
        return _remove(removal, clients, emit, cancellation, None)
    with lock:
        lock.acquire()  # where its place does not exist, there is nothing that another run could be changing either
        return _remove(removal, clients, emit, cancellation, lock)


def _remove(removal: RemovalPlan, clients: Clients, emit: Emit, cancellation: Cancellation, lock: Lock | None) -> None:
    problems: dict[str, Problem] = {}
    kept_because_of: dict[str, str] = {}

    def keep_what_follows(resource: Removable, because: str) -> None:
        for name in removal.graph.get(resource.id, ()):
            kept_because_of.setdefault(name, because)

    for number, resource in enumerate(removal.to_remove):
        if cancellation.is_set():
            not_begun = tuple(later.id for later in removal.to_remove[number:])
            raise Interrupted(cancellation, not_begun=not_begun, failed=tuple(problems))
        if resource.id in kept_because_of:
            keep_what_follows(resource, kept_because_of[resource.id])
            emit(Skipped(resource.id, kept_because_of[resource.id]))
            continue
        started = time.monotonic()
        emit(Started(resource.id, None))
        # Whatever empties the place that the lock is kept in removes the lock too.
        run = ResourceRun(resource.id, emit, cancellation, lock if lock and resource.id != lock.kept_in else None)
        try:
            if lock:
                lock.check()
            resource.delete(clients, run)
        except Cancelled:
            emit(Left(resource.id, run.state, time.monotonic() - started))
            not_begun = tuple(later.id for later in removal.to_remove[number + 1 :])
            unfinished = {resource.id: run.state}
            raise Interrupted(
                cancellation, unfinished=unfinished, not_begun=not_begun, failed=tuple(problems)
            ) from None
        except (Problem, *AWS_ERRORS) as error:
            problems[resource.id] = to_problem(error)
            keep_what_follows(resource, resource.id)
            emit(Failed(resource.id, problems[resource.id]))
        else:
            emit(Done(resource.id, None, time.monotonic() - started))
            if lock and resource.id == lock.kept_in:
                lock = None  # it was removed with the place that it was kept in
    raise_problems(list({str(problem): problem for problem in problems.values()}.values()))
