"""Rules for values that have to fit each other, or the files beside the workflow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from emflow.problems import Problem
from emflow.workflow.artifact import check_labels, check_model, is_archive, is_model
from emflow.workflow.model import AGENT_COMPONENT, Workflow
from emflow.workflow.offence import Offence
from emflow.workflow.places import Place, spell
from emflow.workflow.units import seconds


def target(workflow: Workflow) -> Iterator[Offence]:
    given = workflow.cloud.deployment.target
    place: Place = ("cloud", "deployment", "target")
    if given.thing is None and given.thing_group is None:
        yield Offence(place, "the deployment has no target", "write thing: … or thing_group: …")
    elif given.thing is not None and given.thing_group is not None:
        yield Offence(place, "the deployment has two targets, a thing and a thing group", "keep one of them")


def target_in_fleet(workflow: Workflow) -> Iterator[Offence]:
    thing, fleet = workflow.cloud.deployment.target.thing, workflow.cloud.fleet
    if thing is not None and thing not in fleet.devices:
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
        ]
    )


def agent_deployed(workflow: Workflow) -> Iterator[Offence]:
    if AGENT_COMPONENT not in workflow.cloud.deployment.components:
        yield Offence(
            ("cloud", "deployment", "components"),
            f"{AGENT_COMPONENT} is not deployed, so nothing on the device would answer the application",
            f"add {AGENT_COMPONENT}: latest",
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
    cloud, capture, day = workflow.cloud, workflow.edge.capture, 86400.0
    given: list[tuple[Place, str, float, float, bool]] = [
        (("cloud", "role", "credential_duration"), cloud.role.credential_duration, 900, 43200, True),
        (("cloud", "compile", "timeout"), cloud.compile.timeout, 60, 10 * day, True),
        (("edge", "capture", "push_period"), capture.push_period, 1, day, True),
        (("edge", "capture", "periodic_upload_period"), capture.periodic_upload_period, 1, 30 * day, True),
    ]
    given += [(("edge", "streams", i, "every"), s.every, 0, day, False) for i, s in enumerate(workflow.edge.streams)]
    for place, text, least, most, whole in given:
        try:
            value = seconds(text)
        except ValueError:
            yield Offence(place, f"{spell(place)}: {text!r} is no duration", "write a number with ms, s, m, h or d")
            continue
        if not least <= value <= most:
            yield Offence(place, f"{spell(place)} has to lie between {least:g}s and {most:g}s, this is {text}")
        elif whole and value != int(value):
            yield Offence(place, f"{spell(place)} has to be whole seconds, this is {text}")


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


def artifact(workflow: Workflow) -> Iterator[Offence]:
    """A file that is not there yet is no mistake of the workflow; it is missed when it is needed."""
    place: Place = ("cloud", "model", "artifact")
    name = workflow.cloud.model.artifact
    if "://" in name:
        yield Offence(place, "a model is not fetched from an address in this version", "download it, and give its path")
    elif not (is_archive(name) or is_model(name)):
        yield Offence(
            place, f"{name!r} is neither a .tflite nor a .tar.gz or .tgz", "give the model or an archive of it"
        )
    else:
        path = Path(workflow.folder, name)
        if path.exists():
            yield from _told(place, lambda: check_model(path))


def labels(workflow: Workflow) -> Iterator[Offence]:
    if workflow.edge.model_io.labels is not None:
        path = Path(workflow.folder, workflow.edge.model_io.labels)
        if path.exists():
            yield from _told(("edge", "model_io", "labels"), lambda: check_labels(path))


def not_yet(workflow: Workflow) -> Iterator[Offence]:
    capture = workflow.edge.capture
    if capture.enabled:
        yield Offence(("edge", "capture", "enabled"), "capture is not in this version yet", "write enabled: false")
    if capture.destination == "disk":
        yield Offence(("edge", "capture", "destination"), "capture to disk is not in this version yet", "write cloud")


def _told(place: Place, check: Callable[[], None]) -> Iterator[Offence]:
    try:
        check()
    except Problem as problem:
        yield Offence(place, f"{problem.where}: {problem.what}", problem.mend)


def _twice(given: Iterable[tuple[Place, str]]) -> Iterator[Offence]:
    seen: set[str] = set()
    for place, name in given:
        if name in seen:
            yield Offence(place, f"{name!r} is here twice", "give it another name, or remove one")
        seen.add(name)
