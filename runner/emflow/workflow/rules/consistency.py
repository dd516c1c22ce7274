"""Rules for values that have to fit each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from emflow.workflow.model import Capture, Workflow
from emflow.workflow.rules.violation import Violation
from emflow.workflow.rules.walk import walk
from emflow.workflow.source.positions import KeyPath, format_path
from emflow_schema.configuration import limit
from emflow_schema.key import field_of
from emflow_schema.units import ByteSize, Duration, Interval


def target(workflow: Workflow) -> Iterator[Violation]:
    given = workflow.cloud.deployment.target
    place: KeyPath = ("cloud", "deployment", "target")
    if given.thing is None and given.thing_group is None:
        yield Violation(place, "the deployment has no target", "write thing: … or thing_group: …")
    elif given.thing is not None and given.thing_group is not None:
        yield Violation(place, "the deployment has two targets, a thing and a thing group", "keep one of them")


def target_in_fleet(workflow: Workflow) -> Iterator[Violation]:
    thing, fleet = workflow.cloud.deployment.target.thing, workflow.cloud.fleet
    # Who is in a thing group, or in a file that is not here, nobody knows yet.
    unknown = fleet.thing_group is not None or fleet.devices_file is not None
    if thing is not None and thing not in fleet.devices and not unknown:
        yield Violation(
            ("cloud", "deployment", "target", "thing"),
            f"the target {thing!r} is none of the devices of fleet {fleet.name!r}, so its agent would not be let in",
            "add it to cloud.fleet.devices",
        )


def once(workflow: Workflow) -> Iterator[Violation]:
    cloud, edge = workflow.cloud, workflow.edge
    yield from _twice(((("cloud", "fleet", "devices", i), name) for i, name in enumerate(cloud.fleet.devices)))
    yield from _twice(((("edge", "streams", i, "name"), stream.name) for i, stream in enumerate(edge.streams)))
    yield from _twice(
        [
            (("cloud", "package", "component", "name"), cloud.package.component.name),
            (("edge", "component", "name"), edge.component.name),
            *((("components", i, "name"), each.name) for i, each in enumerate(workflow.components)),
        ]
    )


def two_buckets(workflow: Workflow) -> Iterator[Violation]:
    given = workflow.cloud.buckets
    if given.inference_results.name == given.components.name:
        yield Violation(
            ("cloud", "buckets", "components", "name"),
            f"both buckets are {given.components.name!r}",
            "give each a name of its own: devices write to one of them and only read the other",
        )


def quantities(workflow: Workflow) -> Iterator[Violation]:
    """Each duration within the limits of its key, and a whole number of the unit that AWS or the agent counts in; each
    size one that a device can have."""
    for place, value, key in walk(workflow):
        if isinstance(value, ByteSize) and re.fullmatch(ByteSize.PATTERN, value):
            try:
                _ = value.bytes
            except ValueError as error:
                yield Violation(place, f"{format_path(place)}: {value} {error}", "write a smaller size")
        if not isinstance(value, (Duration, Interval)):
            continue
        try:
            wrong = limit(value, key)
        except ValueError as error:
            # One in days, which the device does not count in, is a pattern's matter: the schema tells it.
            if not re.fullmatch(Duration.PATTERN, value):
                yield Violation(place, f"{format_path(place)}: {error}", "write a number with ms, s, m, h or d")
            continue
        if wrong:
            yield Violation(place, f"{format_path(place)} {wrong}, this is {value}")


def batch_in_buffer(workflow: Workflow) -> Iterator[Violation]:
    for fault in workflow.edge.capture.faults():
        yield Violation(("edge", "capture", fault.key), fault.message, fault.mend)


def embed_limit(workflow: Workflow) -> Iterator[Violation]:
    given, most = workflow.edge.capture.embed_limit, int(field_of(Capture, "embed_limit").shape.key.high or 0)
    if given > most:
        yield Violation(
            ("edge", "capture", "embed_limit"),
            f"at most {most} bytes can be embedded, this is {given}",
            f"write {most} or less",
        )


def disk(workflow: Workflow) -> Iterator[Violation]:
    capture = workflow.edge.capture
    if capture.destination == "disk" and capture.disk_path is None:
        yield Violation(
            ("edge", "capture", "destination"),
            "captures go to the disk, and nothing says where",
            "add edge.capture.disk_path, an absolute path on the device",
        )


def board(workflow: Workflow) -> Iterator[Violation]:
    """What is said about the board fits together."""
    if workflow.edge.board is not None:
        for fault in workflow.edge.board.faults():
            yield Violation(("edge", "board", fault.key), fault.message, fault.mend)


def _twice(given: Iterable[tuple[KeyPath, str]]) -> Iterator[Violation]:
    seen: set[str] = set()
    for place, name in given:
        if name in seen:
            yield Violation(place, f"{name!r} is here twice", "give it another name, or remove one")
        seen.add(name)
