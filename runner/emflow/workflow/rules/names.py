"""Rules for single values: names, versions, paths.

Each says which character or length is wrong, because a regular expression is no explanation. Sources: the S3, IAM,
SageMaker, Greengrass V2 and AWS IoT API references.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from emflow.workflow.devices import devices_file
from emflow.workflow.model import Workflow
from emflow.workflow.model.shared import THREE_NUMBERS
from emflow.workflow.public_components import PUBLIC_COMPONENTS
from emflow.workflow.rules.violation import Violation
from emflow.workflow.source.positions import KeyPath, format_path
from emflow_schema.agent_socket import CORE_SOCKET

SOCKET_PATH_BYTES = 107
"""sockaddr_un has 108 bytes, one of them the end."""


def devices(workflow: Workflow) -> Iterator[Violation]:
    for index, name in enumerate(workflow.cloud.fleet.devices):
        yield from _edge_name(("cloud", "fleet", "devices", index), name, "Edge Manager")
    yield from devices_file(workflow)
    if workflow.cloud.deployment.target.thing is not None:
        yield from _edge_name(
            ("cloud", "deployment", "target", "thing"), workflow.cloud.deployment.target.thing, "Edge Manager"
        )


def buckets(workflow: Workflow) -> Iterator[Violation]:
    for key in ("inference_results", "components"):
        name = getattr(workflow.cloud.buckets, key).name
        why = _bucket_fault(name)
        if why:
            yield Violation(
                ("cloud", "buckets", key, "name"),
                f"no bucket can be called {name!r}: {why}",
                "3 to 63 lower-case letters, digits, dots and dashes; a letter or digit at both ends",
            )


def inference_bucket(workflow: Workflow) -> Iterator[Violation]:
    name = workflow.cloud.buckets.inference_results.name
    if "sagemaker" not in name:
        yield Violation(
            ("cloud", "buckets", "inference_results", "name"),
            f"the inference bucket's name has to contain `sagemaker`, {name!r} does not",
            "for example: my-unique-prefix-sagemaker-inference-results",
        )


def fleet_and_role(workflow: Workflow) -> Iterator[Violation]:
    yield from _edge_name(("cloud", "fleet", "name"), workflow.cloud.fleet.name, "SageMaker")
    role, group = workflow.cloud.role, workflow.cloud.deployment.target.thing_group
    yield from _characters(
        ("cloud", "role", "name"), role.name, r"[A-Za-z0-9+=,.@_-]", 64, "letters, digits and +=,.@_-"
    )
    yield from _characters(
        ("cloud", "role", "alias"), role.alias, r"[A-Za-z0-9=,@_-]", 128, "letters, digits and =,@_-"
    )
    if role.from_alias is not None:
        where: KeyPath = ("cloud", "role", "from_alias")
        yield from _characters(where, role.from_alias, r"[A-Za-z0-9=,@_-]", 128, "letters, digits and =,@_-")
    groups: tuple[tuple[KeyPath, str | None], ...] = (
        (("cloud", "deployment", "target", "thing_group"), group),
        (("cloud", "fleet", "thing_group"), workflow.cloud.fleet.thing_group),
    )
    for place, name in groups:
        if name is not None:
            yield from _characters(place, name, r"[A-Za-z0-9:_-]", 128, "letters, digits and :_-")


def model(workflow: Workflow) -> Iterator[Violation]:
    given = workflow.cloud.model
    yield from _edge_name(("cloud", "model", "name"), given.name, "SageMaker")
    allowed = "letters, digits, spaces, dots and underscores"
    yield from _characters(("cloud", "model", "version"), given.version, r"[A-Za-z0-9 _.]", 30, allowed)


def jobs(workflow: Workflow) -> Iterator[Violation]:
    for key, name in (("compile", workflow.cloud.compile.job), ("package", workflow.cloud.package.job)):
        yield from _edge_name(("cloud", key, "job"), name, "SageMaker")


def components(workflow: Workflow) -> Iterator[Violation]:
    ours: tuple[tuple[KeyPath, str], ...] = (
        (("cloud", "package", "component", "name"), workflow.cloud.package.component.name),
        (("edge", "component", "name"), workflow.edge.component.name),
        *((("components", i, "name"), each.name) for i, each in enumerate(workflow.components)),
    )
    for place, name in ours:
        yield from _characters(place, name, r"[A-Za-z0-9._-]", 128, "letters, digits, dots, dashes and underscores")
        if not name.strip("."):  # in S3 keys and in folders such a name is a way out of them
            yield Violation(
                place, f"{format_path(place)} cannot be {name!r}: it has only dots", "for example: com.example.Camera"
            )
        if name in PUBLIC_COMPONENTS:
            yield Violation(place, f"{name!r} is AWS's own component", "choose another name")
    for name in workflow.cloud.deployment.components:
        if not name.startswith("aws.greengrass."):
            yield Violation(
                ("cloud", "deployment", "components", name),
                f"{name!r} is none of AWS's public components; their names begin with aws.greengrass.",
                "the model component and the application component are deployed by themselves",
            )


def versions(workflow: Workflow) -> Iterator[Violation]:
    given: list[tuple[KeyPath, str, str]] = [
        (("cloud", "package", "component", "version"), workflow.cloud.package.component.version, ""),
        (("edge", "component", "version"), workflow.edge.component.version, "auto"),
        *((("components", i, "version"), each.version, "auto") for i, each in enumerate(workflow.components)),
    ]
    given += [
        (("cloud", "deployment", "components", name), version, "latest")
        for name, version in workflow.cloud.deployment.components.items()
    ]
    for place, version, word in given:
        if version != word and not re.fullmatch(THREE_NUMBERS, version):
            mend = f"write three numbers, such as 1.0.0{f', or {word}' if word else ''}"
            yield Violation(place, f"{version!r} is no component version", mend)


def socket(workflow: Workflow) -> Iterator[Violation]:
    place: KeyPath = ("edge", "agent", "socket")
    path = workflow.edge.agent.socket
    if not path.startswith("/"):
        yield Violation(place, f"{path!r} is no absolute path", f"for example: {CORE_SOCKET}")
    elif len(path.encode()) > SOCKET_PATH_BYTES:
        yield Violation(
            place, f"the path has {len(path.encode())} bytes, a socket takes {SOCKET_PATH_BYTES}", "shorten it"
        )


def _edge_name(place: KeyPath, name: str, who: str) -> Iterator[Violation]:
    """Edge Manager's and SageMaker's rule: `[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`."""
    bad = re.search(r"[^a-zA-Z0-9-]", name)
    if not name:
        why = "it is empty"
    elif bad:
        why = f"{who} takes letters, digits and dashes, and {_character(bad[0])} is at character {bad.start() + 1}"
    elif name[0] == "-" or name[-1] == "-":
        why = "a dash cannot be its first or last character"
    elif len(name) > 63:
        why = f"it has {len(name)} characters, at most 63 are possible"
    else:
        return
    better = re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-")[:63].strip("-")
    yield Violation(
        place, f"{format_path(place)} cannot be {name!r}: {why}", f"for example: {better}" if better else ""
    )


def _characters(place: KeyPath, name: str, allowed: str, most: int, wanted: str) -> Iterator[Violation]:
    bad = re.search(f"(?!{allowed})[\\s\\S]", name)
    if bad or not 1 <= len(name) <= most:
        why = f"{_character(bad[0])} is at character {bad.start() + 1}" if bad else f"it has {len(name)} characters"
        yield Violation(place, f"{format_path(place)} cannot be {name!r}: {why}", f"1 to {most} {wanted}")


def _character(character: str) -> str:
    return {"_": "an underscore", " ": "a space", ".": "a dot"}.get(character, repr(character))


def _bucket_fault(name: str) -> str:
    bad = re.search(r"[^a-z0-9.-]", name)
    if not 3 <= len(name) <= 63:
        return f"it has {len(name)} characters"
    if bad:
        return f"{_character(bad[0])} is at character {bad.start() + 1}"
    if not (name[0].isalnum() and name[-1].isalnum()):
        return "it begins or ends with a dot or a dash"
    if ".." in name or ".-" in name or "-." in name:
        return "a dot stands beside a dot or a dash"
    if re.fullmatch(r"\d+(\.\d+){3}", name):
        return "it looks like an IP address"
    if name.startswith(("xn--", "sthree-", "amzn-s3-demo-")) or name.endswith(
        ("-s3alias", "--ol-s3", ".mrap", "--x-s3")
    ):
        return "its beginning or end is reserved by AWS"
    return ""
