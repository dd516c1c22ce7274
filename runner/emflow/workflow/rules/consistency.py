"""Rules for values that have to fit each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emflow.workflow.model import Workflow
from emflow.workflow.rules import rollouts
from emflow.workflow.rules.violation import Offence
from emflow.workflow.source.positions import KeyPath, format_path
from emflow_schema.units import frames, seconds


def target(workflow: Workflow) -> Iterator[Offence]:
    given = workflow.cloud.deployment.target
    place: KeyPath = ("cloud", "deployment", "target")
    if given.thing is None and given.thing_group is None:
        yield Offence(place, "the deployment has no target", "write thing: … or thing_group: …")
    elif given.thing is not None and given.thing_group is not None:
        yield Offence(place, "the deployment has two targets, a thing and a thing group", "keep one of them")


def target_in_fleet(workflow: Workflow) -> Iterator[Offence]:
    thing, fleet = workflow.cloud.deployment.target.thing, workflow.cloud.fleet
    # Who is in a thing group, or in a file that is not here, nobody knows yet.
    unknown = fleet.thing_group is not None or fleet.devices_file is not None
    if thing is not None and thing not in fleet.devices and not unknown:
        yield Offence(
            ("cloud", "deployment", "target", "thing"),
            f"the target {thing!r} is none of the devices of fleet {fleet.name!r}, so its agent would not be let in",
            "add it to cloud.fleet.devices",
        )


def once(workflow: Workflow) -> Iterator[Offence]:
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


def two_buckets(workflow: Workflow) -> Iterator[Offence]:
    given = workflow.cloud.buckets
    if given.inference_results.name == given.components.name:
        yield Offence(
            ("cloud", "buckets", "components", "name"),
            f"both buckets are {given.components.name!r}",
            "give each a name of its own: devices write to one of them and only read the other",
        )


def durations(workflow: Workflow) -> Iterator[Offence]:
    """Which durations there are, in what they have to lie, and whether whole seconds are needed."""
    cloud, edge, capture, day = workflow.cloud, workflow.edge, workflow.edge.capture, 86400.0
    year = 366 * day
    given: list[tuple[KeyPath, str, float, float, bool]] = [
        (("cloud", "role", "credential_duration"), cloud.role.credential_duration, 900, 43200, True),
        (("cloud", "compile", "timeout"), cloud.compile.timeout, 60, 10 * day, True),
        (("edge", "capture", "push_period"), capture.push_period, 1, day, True),
        (("edge", "agent", "open", "metrics_period"), edge.agent.open.metrics_period, 0, day, True),
        (("edge", "capture", "periodic_upload_period"), capture.periodic_upload_period, 1, 30 * day, True),
    ]
    given += [
        (("edge", "publish", "every"), edge.publish.every, 0, year, False),
        (("edge", "publish", "expiry"), edge.publish.expiry, 0, year, True),
        (("edge", "metrics", "every"), edge.metrics.every, 1, year, False),
    ]
    paces: list[tuple[KeyPath, str, float]] = [(("edge", "capture", "every"), capture.every, year)]
    for index, stream in enumerate(edge.streams):
        place: KeyPath = ("edge", "streams", index)
        paces.append(((*place, "every"), stream.every, day))
        given += [
            ((*place, "open_timeout"), stream.open_timeout, 0.1, year, False),
            ((*place, "read_timeout"), stream.read_timeout, 0.1, year, False),
            ((*place, "frozen_after"), stream.frozen_after, 0, year, False),
            ((*place, "black_after"), stream.black_after, 0, year, False),
        ]
    given += [(place, text, 0, most, False) for place, text, most in paces if frames(text) is None]
    for place, text, least, most, whole in given:
        try:
            value = seconds(text)
        except ValueError:
            yield Offence(
                place, f"{format_path(place)}: {text!r} is no duration", "write a number with ms, s, m, h or d"
            )
            continue
        if not least <= value <= most:
            yield Offence(
                place, f"{format_path(place)} has to lie between {least:g}s and {_long(most)}, this is {text}"
            )
        elif whole and value != int(value):
            yield Offence(place, f"{format_path(place)} has to be whole seconds, this is {text}")
    yield from rollouts.durations(workflow)


def _long(most: float) -> str:
    return f"{most:g}s" if most <= 30 * 86400 else f"{most / 86400:g}d"


def batch_in_buffer(workflow: Workflow) -> Iterator[Offence]:
    capture = workflow.edge.capture
    if capture.batch >= capture.buffer:
        yield Offence(
            ("edge", "capture", "batch"),
            f"a batch of {capture.batch} does not fit into a buffer of {capture.buffer} with room to spare",
            "make edge.capture.buffer larger than edge.capture.batch",
        )


def embed_limit(workflow: Workflow) -> Iterator[Offence]:
    limit = workflow.edge.capture.embed_limit
    if limit > 3072:
        yield Offence(
            ("edge", "capture", "embed_limit"),
            f"at most 3072 bytes can be embedded, this is {limit}",
            "write 3072 or less",
        )


def disk(workflow: Workflow) -> Iterator[Offence]:
    capture = workflow.edge.capture
    if capture.destination == "disk" and capture.disk_path is None:
        yield Offence(
            ("edge", "capture", "destination"),
            "captures go to the disk, and nothing says where",
            "add edge.capture.disk_path, an absolute path on the device",
        )


def _twice(given: Iterable[tuple[KeyPath, str]]) -> Iterator[Offence]:
    seen: set[str] = set()
    for place, name in given:
        if name in seen:
            yield Offence(place, f"{name!r} is here twice", "give it another name, or remove one")
        seen.add(name)
