"""Taking down what a workflow made, in reverse order: only what carries its mark, and data only when told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.apply import Telling, one_at_a_time
from emflow.engine.clients import Clients
from emflow.engine.events import Done, Emit, Failed, Skipped, Started, ignore
from emflow.engine.graph import ordered
from emflow.engine.plan import refuse
from emflow.engine.resource import Observed, Resource
from emflow.engine.work import each, problem_of
from emflow.problems import Problem


@dataclass(frozen=True)
class Removal:
    """What goes, in the order in which it goes, and what stays, each with the reason."""

    going: tuple[Resource, ...]
    staying: tuple[tuple[Resource, str], ...]

    def text(self) -> str:
        """For people: a line for each, and the summary."""
        resources = [*self.going, *(resource for resource, _ in self.staying)]
        width = max((len(resource.id) for resource in resources), default=0)
        names = max((len(resource.name) for resource in resources), default=0)
        lines = [f"  - {resource.id:<{width}}  {resource.name}" for resource in self.going]
        lines += [f"  = {each.id:<{width}}  {each.name:<{names}}  kept: {why}" for each, why in self.staying]
        return "\n".join([*lines, f"Plan: {len(self.going)} to remove, {len(self.staying)} kept"])


def plan_removal(resources: Iterable[Resource], clients: Clients, *, delete_data: bool = False) -> Removal:
    """Look at AWS for what is there and may go.

    Raises:
        Problem: something could not be read.
    """
    order = ordered(resources)[::-1]
    observed: dict[str, Observed | None] = {}

    def observe(resource: Resource) -> None:
        observed[resource.id] = resource.observe(clients)

    refuse(each(observe, order))
    going, staying = [], []
    for resource in order:
        found = observed[resource.id]
        if found is None:
            continue
        why = resource.kept(found, delete_data=delete_data)
        if why is None:
            going.append(resource)
        elif why:
            staying.append((resource, why))
    return Removal(tuple(going), tuple(staying))


def remove(removal: Removal, clients: Clients, emit: Emit = ignore) -> None:
    """Remove what goes, one after the other.

    Raises:
        Problem: the first thing that could not be removed; what comes after it in this order is left as it is.
    """
    emit = one_at_a_time(emit)
    stop = threading.Event()
    for number, resource in enumerate(removal.going):
        started = time.monotonic()
        emit(Started(resource.id, None))
        try:
            resource.delete(clients, Telling(resource.id, emit, stop))
        except (Problem, BotoCoreError, ClientError) as error:
            problem = problem_of(error)
            emit(Failed(resource.id, problem))
            for later in removal.going[number + 1 :]:
                emit(Skipped(later.id, resource.id))
            raise problem from error
        emit(Done(resource.id, None, time.monotonic() - started))
