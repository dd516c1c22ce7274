"""Dependencies between resources, and working through them in parallel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeVar

from emflow.engine.cancellation import Cancellation, Cancelled
from emflow.engine.errors import AWS_ERRORS, to_problem
from emflow.engine.resource import Observable
from emflow.problems import Problem

T = TypeVar("T")
NodeT = TypeVar("NodeT", bound=Observable)

Graph = Mapping[str, frozenset[str]]
"""The id of each resource → the ids of those that come before it."""

THREADS = 24
"""Enough to begin all of a workflow at once, which hides the latency of AWS; few enough not to be throttled."""

READS = 16
"""How many reads of one resource are under way at once."""


def apply_graph(resources: Iterable[Observable]) -> Graph:
    """What is applied before each resource: what it needs, and what releases it.

    Raises:
        ValueError: two resources share an id, or one needs what is not there. Both are mistakes of the code that made
            them, not of a workflow.
    """
    resources = tuple(resources)
    graph = _needs(resources)
    for resource in resources:
        for name in resource.releases & graph.keys():
            graph[name] |= {resource.id}
    return graph


def removal_graph(resources: Iterable[Observable]) -> Graph:
    """What is removed after each resource: what it needs, and what it releases. Raises as `apply_graph` does."""
    resources = tuple(resources)
    graph = _needs(resources)
    for resource in resources:
        graph[resource.id] |= resource.releases & graph.keys()
    return graph


def topological_sorter(graph: Graph) -> TopologicalSorter[str]:
    """A prepared sorter over ids, which returns ids as they become ready.

    Raises:
        ValueError: resources need each other in a circle: a mistake of the code that made them.
    """
    order = TopologicalSorter(graph)
    try:
        order.prepare()
    except CycleError as error:
        raise ValueError("resources need each other in a circle: " + " → ".join(error.args[1])) from None
    return order


def in_dependency_order(resources: Iterable[NodeT], graph: Graph) -> list[NodeT]:
    """The resources, each after those that come before it in the graph, otherwise in their own order.

    Raises:
        ValueError: as `topological_sorter` does.
    """
    resources = list(resources)
    order = topological_sorter(graph)
    place = {resource.id: number for number, resource in enumerate(resources)}
    result: list[NodeT] = []
    while order.is_active():
        ready = sorted(order.get_ready(), key=place.__getitem__)
        result += [resources[place[each]] for each in ready]
        order.done(*ready)
    return result


def with_dependencies(resources: Iterable[NodeT], wanted: Iterable[str]) -> tuple[NodeT, ...]:
    """The resources with these ids, and all that has to be applied before them; in their own order.

    Raises:
        KeyError: there is no resource of that id.
    """
    graph = apply_graph(resources := tuple(resources))
    included: set[str] = set()
    pending = list(wanted)
    while pending:
        name = pending.pop()
        if name not in included:
            pending += graph[name]
            included.add(name)
    return tuple(resource for resource in resources if resource.id in included)


def _needs(resources: Iterable[Observable]) -> dict[str, frozenset[str]]:
    graph: dict[str, frozenset[str]] = {}
    for resource in resources:
        if resource.id in graph:
            raise ValueError(f"two resources are called {resource.id}")
        graph[resource.id] = resource.needs
    for name, needs in graph.items():
        if missing := needs - graph.keys():
            raise ValueError(f"{name} needs {', '.join(sorted(missing))}, which no resource makes")
    return graph


def read_parallel(reads: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Call several readers in parallel, `READS` at a time; raises what the first of them in order raises."""
    if len(reads) < 2:
        return {name: read() for name, read in reads.items()}
    with ThreadPoolExecutor(min(len(reads), READS), thread_name_prefix="read") as pool:
        running = {name: pool.submit(read) for name, read in reads.items()}
        return {name: future.result() for name, future in running.items()}


def run_parallel(
    work: Callable[[T], object], items: Iterable[T], cancellation: Cancellation | None = None
) -> list[Problem]:
    """Do the same for every item, `THREADS` at a time; returns what went wrong, each problem once, in order.

    Only for work that may be left unfinished, such as reads: a cancellation does not wait for the current calls,
    because one of them may be to an address that never answers.

    Raises:
        Cancelled: `cancellation` was requested first.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="each")
    try:
        futures = [pool.submit(work, item) for item in items]
        _wait_all(futures, cancellation or Cancellation())
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    problems: dict[str, Problem] = {}
    for future in futures:
        try:
            future.result()
        except (Problem, *AWS_ERRORS) as error:
            problem = to_problem(error)
            problems.setdefault(str(problem), problem)
    return list(problems.values())


def _wait_all(futures: Iterable[Future[Any]], cancellation: Cancellation) -> None:
    pending: set[Future[Any]] = set(futures)
    while pending:
        finished, _ = wait({*pending, cancellation.requested}, return_when=FIRST_COMPLETED)
        if cancellation.is_set():
            raise Cancelled
        pending -= finished


def run_graph(order: TopologicalSorter[str], work: Callable[[str], bool], cancellation: threading.Event) -> set[str]:
    """Work through a prepared graph as parallel as it allows; returns the ids that were begun.

    Args:
        order: prepared; ids become ready when what they need is done.
        work: does one id and says whether that went well. After the first that did not, nothing new begins; what is
            under way is waited for.
        stop: is set when the caller is interrupted, so that what waits can end.
    """
    running: dict[Future[bool], str] = {}
    begun: set[str] = set()
    succeeded = True
    with ThreadPoolExecutor(THREADS, thread_name_prefix="apply") as pool:
        try:
            while True:
                if succeeded and not cancellation.is_set():
                    for name in order.get_ready():
                        begun.add(name)
                        running[pool.submit(work, name)] = name
                if not running:
                    break
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    name = running.pop(future)
                    if future.result():
                        order.done(name)
                    else:
                        succeeded = False
        except BaseException:
            cancellation.set()
            for future in running:
                future.cancel()
            raise
    return begun
