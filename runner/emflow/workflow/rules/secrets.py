"""Rules for passwords, which stand in no file, and for the secrets that stand for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from emflow.problems import Finding
from emflow.workflow.model import Workflow
from emflow.workflow.partial import Unknown
from emflow.workflow.redaction import STARS, has_password
from emflow.workflow.rules.violation import Violation
from emflow.workflow.source.document import Document
from emflow.workflow.source.positions import KeyPath, format_path
from emflow_schema.stream_url import split

_PASSWORD = re.compile(r"://[^:/@\s]*:([^@/\s]+)@")
_IN_PIPELINE = re.compile(r"\b(?:user-pw|proxy-pw|passw(?:or)?d)\s*=\s*(?!\{\{)\S")
"""GStreamer's properties, as its elements rtspsrc and souphttpsrc have them."""

_SUFFIX = re.compile(r"-(?:[a-z]{6}|[A-Z]{6}|[A-Z][a-z]{5}|[0-9]{6}|(?=[a-z0-9]{6}$)[a-z]+[0-9]+)")
"""Six letters and digits that read like a part of a name. Of AWS's own, drawn from both cases and digits, one in fifty
does too."""

INSTEAD = (
    "keep it in AWS Secrets Manager, and write credentials: {secret: arn:…} beside the url; "
    "to try something out, let the url come from {{ env.NAME }}, --var or --var-file"
)


def passwords(document: Document, workflow: Workflow) -> Iterator[Finding]:
    """Passwords that stand in the files themselves, which are kept, shared and copied."""
    used = set(filter(None, map(_password, _urls(workflow))))
    reported = set()
    for place, span in document.values.items():
        written = ("://" in span.text and _written(span.text)) or _in_pipeline(span.text)
        if written:
            message = f"{format_path(place)} has a password in it"
        elif place[:1] == ("vars",) and span.text in used:
            message = f"{format_path(place)} is a camera's password"
        else:
            continue
        finding = document.finding("EM018", place, message, INSTEAD)
        if not written:  # the line alone does not say that this is one
            finding = replace(finding, snippet=finding.snippet.replace(span.text, STARS))
        if (finding.where, finding.code) not in reported:  # once, however often an anchor is used
            reported.add((finding.where, finding.code))
            yield finding


def _urls(workflow: Workflow) -> Iterator[str]:
    try:
        for stream in workflow.edge.streams:
            yield stream.url
    except Unknown:
        return


def _written(text: str) -> bool:
    """Whether a password stands in a text itself, and not in a variable."""
    match = _PASSWORD.search(text)
    return "{{" not in match[1] if match else "{{" not in text and has_password(text)


def _in_pipeline(text: str) -> bool:
    return "!" in text and _IN_PIPELINE.search(text) is not None


def whole(workflow: Workflow) -> Iterator[Violation]:
    """The role's policy needs the whole ARN; of one without AWS's six characters it lets them be any."""
    for index, stream in enumerate(workflow.edge.streams):
        name = stream.credentials.arn.rpartition(":")[2] if stream.credentials else ""
        if _SUFFIX.fullmatch(name[-7:]):
            yield Violation(
                ("edge", "streams", index, "credentials", "secret"),
                "if these are not the six characters that AWS adds but a part of the name, IAM finds no such secret",
                "write the ARN as `aws secretsmanager describe-secret` shows it",
            )


def references(workflow: Workflow) -> Iterator[Violation]:
    """A device's component for secrets takes those of its own region, and one of two passwords would be lost."""
    for index, stream in enumerate(workflow.edge.streams):
        if stream.credentials is None:
            continue
        place: KeyPath = ("edge", "streams", index, "credentials", "secret")
        parts = stream.credentials.arn.split(":")
        region = parts[3] if len(parts) > 3 else ""
        if region and region != workflow.aws.region:
            message = f"the secret is in {region}, the devices are in {workflow.aws.region}"
            yield Violation(place, message, "replicate the secret into the devices' region, and name the replica")
        if _password(stream.url):
            where: KeyPath = ("edge", "streams", index, "url")
            yield Violation(where, "a password in the address, and credentials beside it", "keep the credentials")


def _password(url: str) -> str:
    """The password that the device reads in a stream's address; empty where there is none, or no address."""
    try:
        return split(url).password
    except ValueError:
        return ""
