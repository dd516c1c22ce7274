"""Rules for passwords, which stand in no file, and for the secrets that stand for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from emflow.problems import Finding
from emflow.workflow.document import Document
from emflow.workflow.model import Workflow
from emflow.workflow.offence import Offence
from emflow.workflow.places import Place, spell
from emflow.workflow.redaction import has_password

_PASSWORD = re.compile(r"://[^:/@\s]*:([^@/\s]+)@")

INSTEAD = (
    "keep it in AWS Secrets Manager, and write credentials: {secret: arn:…} beside the url; "
    "to try something out, let the url come from {{ env.NAME }}, --var or --var-file"
)


def passwords(document: Document, workflow: Workflow) -> Iterator[Finding]:
    """Passwords that stand in the files themselves, which are kept, shared and copied."""
    used = set(filter(None, map(_password, (stream.url for stream in workflow.edge.streams))))
    told = set()
    for place, span in document.values.items():
        written = "://" in span.text and _written(span.text)
        if written:
            message = f"{spell(place)} has a password in it"
        elif place[:1] == ("vars",) and span.text in used:
            message = f"{spell(place)} is a camera's password"
        else:
            continue
        finding = document.finding("EM018", place, message, INSTEAD)
        if not written:  # the line alone does not say that this is one
            finding = replace(finding, snippet=finding.snippet.replace(span.text, "*" * len(span.text)))
        if (finding.where, finding.code) not in told:  # once, however often an anchor is used
            told.add((finding.where, finding.code))
            yield finding


def _written(text: str) -> bool:
    """Whether a password stands in a text itself, and not in a variable."""
    match = _PASSWORD.search(text)
    return "{{" not in match[1] if match else "{{" not in text and has_password(text)


def references(workflow: Workflow) -> Iterator[Offence]:
    """A device's component for secrets takes those of its own region, and one of two passwords would be lost."""
    for index, stream in enumerate(workflow.edge.streams):
        if stream.credentials is None:
            continue
        place: Place = ("edge", "streams", index, "credentials", "secret")
        parts = stream.credentials.arn.split(":")
        region = parts[3] if len(parts) > 3 else ""
        if region and region != workflow.aws.region:
            message = f"the secret is in {region}, the devices are in {workflow.aws.region}"
            yield Offence(place, message, "replicate the secret into the devices' region, and name the replica")
        if _password(stream.url) is not None:
            where: Place = ("edge", "streams", index, "url")
            yield Offence(where, "a password in the address, and credentials beside it", "keep the credentials")


def _password(url: str) -> str | None:
    try:
        password = urlsplit(url).password
    except ValueError:
        return None
    return None if password is None else unquote(password)
