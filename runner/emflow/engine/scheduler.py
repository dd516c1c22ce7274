"""The order of resources: each after everything that it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

from emflow.engine.resource import Known

NodeT = TypeVar("NodeT", bound=Known)


def sorter(resources: Iterable[Known]) -> TopologicalSorter[str]:
    """A prepared sorter over the ids of the resources, for whoever works through them as they become ready.

    Raises:
        ValueError: two resources share an id, one needs what is not there, or they need each other in a circle. All
            three are mistakes of the code that built them, not of a workflow.
    """
    graph = _graph(resources)
    order = TopologicalSorter(graph)
    try:
        order.prepare()
    except CycleError as error:
        raise ValueError("resources need each other in a circle: " + " → ".join(error.args[1])) from None
    return order


def ordered(resources: Iterable[NodeT]) -> list[NodeT]:
    """The resources, each after everything that it needs, else as they came. Raises as `sorter` does."""
    resources = list(resources)
    order = sorter(resources)
    place = {resource.id: number for number, resource in enumerate(resources)}
    result: list[NodeT] = []
    while order.is_active():
        ready = sorted(order.get_ready(), key=place.__getitem__)
        result += [resources[place[each]] for each in ready]
        order.done(*ready)
    return result


def only(resources: Iterable[NodeT], wanted: Iterable[str]) -> tuple[NodeT, ...]:
    """The resources with these ids, and all that they need, directly or not; as they came.

    Raises:
        KeyError: there is no resource of that id.
    """
    graph = _graph(resources := tuple(resources))
    kept: set[str] = set()
    ahead = list(wanted)
    while ahead:
        name = ahead.pop()
        if name not in kept:
            ahead += graph[name]
            kept.add(name)
    return tuple(resource for resource in resources if resource.id in kept)


def _graph(resources: Iterable[Known]) -> Mapping[str, frozenset[str]]:
    graph: dict[str, frozenset[str]] = {}
    for resource in resources:
        if resource.id in graph:
            raise ValueError(f"two resources are called {resource.id}")
        graph[resource.id] = resource.needs
    for name, needs in graph.items():
        if missing := needs - graph.keys():
            raise ValueError(f"{name} needs {', '.join(sorted(missing))}, which nobody makes")
    return graph
