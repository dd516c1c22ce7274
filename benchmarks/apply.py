"""Apply, the second time and the first.

Targets: a second apply makes no changing call, and against an endpoint that takes 100 ms a call it takes at most 0.6 s
longer than against one that takes none. A first apply, jobs' own time taken off, takes at most half of what the same
calls take one after another: they are written down, and made again in a row with other names in them, by clients that
are there already on both sides.

Side by side only waiting can be saved. Where a call takes 100 ms, as over a network, nearly all of it is waiting. On
loopback there is none: a call is some milliseconds of Python, half of them in this process (botocore signs, sends,
parses) and half in the embedded AWS, each behind its own interpreter lock. So the processor time of this side alone,
which no arrangement of the calls can go below, is shown beside the ratio: where that is more than half of the row, the
target is out of reach.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError
from embedded import embedded_aws, environment, far_away, settle

from emflow.engine.apply import ResourceRun, apply_plan
from emflow.engine.clients import Clients
from emflow.engine.plan import make_plan
from emflow.resources import desired_resources
from emflow.resources.s3.lock_store import lock_of
from emflow.workflow import Workflow, load

MODEL = Path(__file__).parents[1] / "workflows" / "models" / "scenes.tflite"
READS = ("Get", "List", "Describe", "Head")
SERVICES = ("sts", "s3", "iam", "iot", "sagemaker", "greengrassv2", "resourcegroupstaggingapi")
LATE = 0.1

TEXT = """
apiVersion: emflow/v1
kind: Workflow
metadata: {{name: {name}}}
cloud:
  buckets:
    inference_results: {{name: {name}-sagemaker-results}}
    components: {{name: {name}-components}}
  role: {{name: {name}-role, alias: {name}-alias}}
  fleet: {{name: {name}-fleet, devices: [{name}-core]}}
  model: {{name: scenes-224, artifact: scenes.tflite, inputs: {{input: [1, 224, 224, 3]}}}}
  compile: {{job: {name}-compilation}}
  package:
    job: {name}-packaging
    component: {{name: {name}-model}}
  deployment:
    target: {{thing: {name}-core}}
edge:
  component: {{name: {name}-application}}
  streams: [{{name: front, url: "rtspt://192.168.1.20/stream1"}}]
"""


@dataclass(frozen=True)
class Place:
    """An embedded AWS, and a folder of workflows for it."""

    endpoint: str
    folder: Path

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"

    def workflow(self, name: str) -> Workflow:
        """A workflow with a name of its own in all its names; its core device is known to IoT."""
        shutil.copy(MODEL, self.folder)
        self.file(name).write_text(TEXT.format(name=name))
        workflow = load(self.file(name))
        session = boto3.Session(region_name=workflow.aws.region)
        session.client("iot", endpoint_url=self.endpoint).create_thing(thingName=f"{name}-core")
        return workflow

    def work_against(self, address: str) -> None:
        settle(address)


@dataclass
class Calls:
    """The calls of a session, in the order in which they began: service, operation, arguments."""

    made: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        with self.lock:
            self.made.append((model.service_model.service_name, model.name, dict(params)))

    @property
    def changing(self) -> list[str]:
        return [f"{service}:{name}" for service, name, _ in self.made if not name.startswith(READS)]


def clients_of(workflow: Workflow) -> tuple[Clients, Calls]:
    """Clients that are all made already, and what they call from then on."""
    calls, session = Calls(), boto3.Session(region_name=workflow.aws.region)
    clients = Clients(workflow.aws, session)
    for service in SERVICES:
        clients(service).meta.events.register("provide-client-params", calls.note)
    return clients, calls


def rollout(workflow: Workflow, clients: Clients) -> float:
    """Plan and apply, as the command does; seconds."""
    started = time.monotonic()
    resources = desired_resources(workflow)
    apply_plan(make_plan(resources, clients), clients, lock=lock_of(workflow, clients))
    return time.monotonic() - started


def in_a_row(calls: Calls, clients: Clients, other: Callable[[Any], Any]) -> float:
    """Make calls again, one after another, with other names in them; seconds."""
    ready = [(clients(service), name, other(arguments)) for service, name, arguments in calls.made]
    started = time.monotonic()
    for client, name, arguments in ready:
        # What was not there yet is not there again.
        with contextlib.suppress(ClientError):
            client._make_api_call(name, arguments)
    return time.monotonic() - started


def renamed(value: Any, old: str, new: str) -> Any:
    """Arguments of a call with other names in them."""
    match value:
        case str():
            return value.replace(old, new)
        case bytes():
            return value.replace(old.encode(), new.encode())
        case dict():
            return {key: renamed(each, old, new) for key, each in value.items()}
        case list() | tuple():
            return [renamed(each, old, new) for each in value]
    return value


@dataclass(frozen=True)
class Measured:
    """Seconds of a first apply, of it what it waited for jobs, of the processor, and of the same calls in a row."""

    took: float
    waited: float
    busy: float
    row: float
    calls: int

    @property
    def ratio(self) -> float:
        return (self.took - self.waited) / self.row


def first_apply(place: Place, names: Iterator[str]) -> Measured:
    """One first apply, and its calls in a row."""
    name, other = next(names), next(names)
    workflow = place.workflow(name)
    place.workflow(other)  # its core device, too, is known
    clients, calls = clients_of(workflow)
    began = time.process_time()
    with pauses() as paused:
        took = rollout(workflow, clients)
    busy, number = time.process_time() - began, len(calls.made)
    return Measured(took, sum(paused), busy, in_a_row(calls, clients, lambda it: renamed(it, name, other)), number)


@contextlib.contextmanager
def pauses() -> Iterator[list[float]]:
    """How long resources paused meanwhile; only jobs do, and one comes after the other."""
    taken: list[float] = []
    pause = ResourceRun.pause

    def timed(self: ResourceRun, seconds: float) -> None:
        started = time.monotonic()
        pause(self, seconds)
        taken.append(time.monotonic() - started)

    ResourceRun.pause = timed  # type: ignore[method-assign]
    try:
        yield taken
    finally:
        ResourceRun.pause = pause  # type: ignore[method-assign]


def second_apply(place: Place, name: str, runs: int) -> tuple[float, float, list[str], int]:
    """Seconds of `emflow apply` as a process, near and far; its changing calls, and how many it makes in all."""
    workflow = place.workflow(name)
    clients, calls = clients_of(workflow)
    rollout(workflow, clients)
    calls.made.clear()
    rollout(workflow, clients)
    command = [sys.executable, "-m", "emflow", "apply", str(place.file(name)), "--yes"]
    with far_away(place.endpoint, LATE) as far:
        taken: dict[str, list[float]] = {place.endpoint: [], far: []}
        for _ in range(runs + 1):
            for address, times in taken.items():
                started = time.monotonic()
                subprocess.run(command, check=True, env=environment(address), stdout=subprocess.DEVNULL)
                times.append(time.monotonic() - started)
    near, late = (statistics.median(times[1:]) for times in taken.values())
    return near, late, calls.changing, len(calls.made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=5, help="runs of each (default: %(default)s)")
    runs = parser.parse_args().n
    names = (f"bench-{number:03}" for number in count())
    with embedded_aws() as endpoint, tempfile.TemporaryDirectory() as folder:
        place = Place(endpoint, Path(folder))
        place.work_against(endpoint)
        first_apply(place, names)  # the embedded AWS loads its services when they are called first
        near, far, changing, number = second_apply(place, next(names), runs)
        print(f"second apply, {number} calls, process and all      no latency {near:.2f} s   100 ms a call {far:.2f} s")
        print(f"  longer: {far - near:.2f} s (target: 0.6 s at most)   changing calls: {changing or 'none'} (none)")
        for late in (0.0, LATE):
            with far_away(endpoint, late) if late else contextlib.nullcontext(endpoint) as address:
                place.work_against(address)
                all_of_it = [first_apply(place, names) for _ in range(runs if not late else 2)]
            middle = sorted(all_of_it, key=lambda each: each.ratio)[len(all_of_it) // 2]
            print(
                f"first apply, {'100 ms a call' if late else 'no latency   '}   {middle.took:.2f} s, of it waiting for "
                f"jobs {middle.waited:.2f} s   its {middle.calls} calls in a row {middle.row:.2f} s   "
                f"ratio {middle.ratio:.2f} (target: 0.5 at most)   processor time of this side {middle.busy:.2f} s, "
                f"{middle.busy / middle.row:.2f} of the row"
            )


if __name__ == "__main__":
    main()
