"""The order of resources: each after everything that it needs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeVar

from emflow.engine.cancellation import Cancellation, Cancelled
from emflow.engine.errors import AWS_ERRORS, AwsError, as_problem
from emflow.engine.resource import Observable
from emflow.problems import Problem

NodeT = TypeVar("NodeT", bound=Observable)


def topological_sorter(resources: Iterable[Observable]) -> TopologicalSorter[str]:
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


def in_dependency_order(resources: Iterable[NodeT]) -> list[NodeT]:
    """The resources, each after everything that it needs, else as they came. Raises as `topological_sorter` does."""
    resources = list(resources)
    order = topological_sorter(resources)
    place = {resource.id: number for number, resource in enumerate(resources)}
    result: list[NodeT] = []
    while order.is_active():
        ready = sorted(order.get_ready(), key=place.__getitem__)
        result += [resources[place[each]] for each in ready]
        order.done(*ready)
    return result


def with_dependencies(resources: Iterable[NodeT], wanted: Iterable[str]) -> tuple[NodeT, ...]:
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


def _graph(resources: Iterable[Observable]) -> Mapping[str, frozenset[str]]:
    graph: dict[str, frozenset[str]] = {}
    for resource in resources:
        if resource.id in graph:
            raise ValueError(f"two resources are called {resource.id}")
        graph[resource.id] = resource.needs
    for name, needs in graph.items():
        if missing := needs - graph.keys():
            raise ValueError(f"{name} needs {', '.join(sorted(missing))}, which nobody makes")
    return graph


# Working side by side: a graph's resources, or several reads of one resource.


T = TypeVar("T")
THREADS = 24
"""Enough to begin all of a workflow at once, which hides the latency of AWS; few enough not to be throttled."""

READS = 16
"""How many reads of one resource are under way at once."""


def read_parallel(reads: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Call several readers side by side, `READS` at a time; raises what the first of them in order raises."""
    if len(reads) < 2:
        return {name: read() for name, read in reads.items()}
    with ThreadPoolExecutor(min(len(reads), READS), thread_name_prefix="read") as pool:
        running = {name: pool.submit(read) for name, read in reads.items()}
        return {name: future.result() for name, future in running.items()}


def run_parallel(
    work: Callable[[T], object], items: Iterable[T], cancellation: Cancellation | None = None
) -> list[Problem]:
    """Do the same for every item, `THREADS` at a time; returns what went wrong, each problem once, in order.

    Only for what may be left half-way, such as reads: once `cancellation` is requested, nobody waits for what is under
    way. It may be a call to an address that never answers.

    Raises:
        Stopped: `cancellation` was asked for first.
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
    well = True
    with ThreadPoolExecutor(THREADS, thread_name_prefix="apply") as pool:
        try:
            while True:
                if well and not cancellation.is_set():
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
                        well = False
        except BaseException:
            cancellation.set()
            for future in running:
                future.cancel()
            raise
    return begun


def to_problem(error: Problem | AwsError) -> Problem:
    return error if isinstance(error, Problem) else as_problem(error)
