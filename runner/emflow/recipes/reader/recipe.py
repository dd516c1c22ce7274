"""Reads a recipe: what the check of workflows, the embedded Greengrass and the virtual core device know of it.

`read` tells every error that any nucleus would refuse. A recipe without such errors becomes a `Recipe`, in which the
rules of the format are applied: keys in the cloud's case, defaults, and each manifest with the lifecycle that it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from emflow.recipes.reader.finding import RecipeFinding
from emflow.recipes.reader.keys import (
    ARTIFACT,
    CONFIGURATION,
    DEPENDENCY,
    MANIFEST,
    PERMISSION,
    PLATFORM,
    TOP,
    documented_keys,
)
from emflow.recipes.reader.lifecycles import Lifecycle, as_text, lifecycle, narrowed
from emflow.recipes.reader.platforms import fits
from emflow.recipes.reader.structure import GENERIC, selection_names, structure_findings
from emflow.recipes.reader.text import RecipeText, read_text

Document = dict[str, Any]


@dataclass(frozen=True)
class Artifact:
    """A file of a component. `digest` and `algorithm` are the cloud's; `read` and `execute`: NONE, OWNER or ALL."""

    uri: str
    unarchive: bool = False
    digest: str | None = None
    algorithm: str | None = None
    read: str = "OWNER"
    execute: str = "NONE"

    @property
    def name(self) -> str:
        return self.uri.rpartition("/")[2]


@dataclass(frozen=True)
class Dependency:
    """What a component requires of another one. `hard`: it waits for it, and is restarted with it."""

    requirement: str
    hard: bool = True


@dataclass(frozen=True)
class Manifest:
    """A component on one platform. `lifecycle` is its own or, where that has nothing, the recipe-wide one."""

    platform: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A recipe that the cloud takes. `document` is all of it, with keys and words in the cloud's case."""

    document: Document = field(repr=False)
    name: str
    version: str
    kind: str
    description: str
    publisher: str
    dependencies: Mapping[str, Dependency]
    defaults: Mapping[str, Any]
    manifests: tuple[Manifest, ...]

    def manifest_for(self, device: Mapping[str, str]) -> Manifest | None:
        """The first manifest that matches a device with these attributes."""
        return next((each for each in self.manifests if fits(each.platform, device)), None)


@dataclass(frozen=True)
class Reading:
    """What came of reading a text.

    Args:
        recipe: None where there is an error.
        text: the values of the text, as they are in it.
        findings: by line.
    """

    recipe: Recipe | None
    text: RecipeText
    findings: tuple[RecipeFinding, ...]

    @property
    def errors(self) -> tuple[RecipeFinding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")


def read(data: str | bytes) -> Reading:
    """Read a recipe in YAML or JSON; every error is a finding, none is raised."""
    text = read_text(data)
    found = list(text.findings)
    if text.value is not None or not found:
        known = {finding.place for finding in found if finding.severity == "error"}
        found += (finding for finding in structure_findings(text.value) if finding.place not in known)
    findings = in_order(found, text)
    wrong = any(finding.severity == "error" for finding in findings)
    return Reading(None if wrong else _recipe(_canonical(text.value)), text, findings)


def of_document(document: Mapping[str, Any]) -> Recipe:
    """A recipe that is known to have no errors."""
    return _recipe(_canonical(document))


def in_order(findings: Iterator[RecipeFinding] | list[RecipeFinding], text: RecipeText) -> tuple[RecipeFinding, ...]:
    """Findings with their lines, by line, each once."""
    placed = (each if each.line else replace(each, line=text.line(each.place)) for each in findings)
    return tuple(sorted(dict.fromkeys(placed), key=lambda finding: finding.line))


def _canonical(found: Mapping[str, Any]) -> Document:
    """The recipe as the cloud stores it: known keys in its case, and nothing where there is nothing."""
    document = documented_keys(found, TOP)
    for key in ("ComponentDependencies", "Manifests"):
        if not document.get(key):
            document.pop(key, None)
    if document.get("ComponentConfiguration"):
        document["ComponentConfiguration"] = documented_keys(document["ComponentConfiguration"], CONFIGURATION)
    if "ComponentDependencies" in document:
        given = document["ComponentDependencies"]
        document["ComponentDependencies"] = {
            name: _of_words(each, DEPENDENCY, "DependencyType") for name, each in given.items()
        }
    document["Manifests"] = [_manifest_document(each) for each in document["Manifests"]]
    return document


def _of_words(found: Mapping[str, Any], known: tuple[str, ...], *words: str) -> Document:
    """With keys in the documented case, and the values of `words` in capitals."""
    document = documented_keys(found, known)
    return {key: value.upper() if key in words and isinstance(value, str) else value for key, value in document.items()}


def _manifest_document(found: Mapping[str, Any]) -> Document:
    manifest = documented_keys(found, MANIFEST)
    if manifest.get("Platform"):
        platform = documented_keys(manifest["Platform"], PLATFORM)
        manifest["Platform"] = {key: as_text(value) for key, value in platform.items()}
    artifacts = [_of_words(each, ARTIFACT, "Unarchive") for each in manifest.get("Artifacts") or ()]
    for artifact in artifacts:
        if artifact.get("Permission"):
            artifact["Permission"] = _of_words(artifact["Permission"], PERMISSION, *PERMISSION)
    if artifacts:
        manifest["Artifacts"] = artifacts
    elif manifest.get("Artifacts") is None:
        manifest.pop("Artifacts", None)
    return manifest


def _recipe(document: Document) -> Recipe:
    dependencies = document.get("ComponentDependencies") or {}
    configuration = document.get("ComponentConfiguration") or {}
    return Recipe(
        document=document,
        name=document["ComponentName"],
        version=document["ComponentVersion"],
        kind=document.get("ComponentType") or GENERIC,
        description=as_text(document.get("ComponentDescription") or ""),
        publisher=as_text(document.get("ComponentPublisher") or ""),
        dependencies={
            name: Dependency(each["VersionRequirement"], each.get("DependencyType") != "SOFT")
            for name, each in dependencies.items()
        },
        defaults=configuration.get("DefaultConfiguration") or {},
        manifests=tuple(_manifest(each, document) for each in document["Manifests"]),
    )


def _manifest(found: Document, document: Document) -> Manifest:
    own = found.get("Lifecycle") or narrowed(
        document.get("Lifecycle") or {}, selection_names(document), found.get("Selections") or ()
    )
    return Manifest(
        platform=found.get("Platform") or {},
        name=as_text(found.get("Name") or ""),
        lifecycle=lifecycle(own or {}),
        artifacts=tuple(map(_artifact, found.get("Artifacts") or ())),
    )


def _artifact(found: Document) -> Artifact:
    permission = found.get("Permission") or {}
    return Artifact(
        uri=found["Uri"],
        unarchive=found.get("Unarchive") == "ZIP",
        read=permission.get("Read") or "OWNER",
        execute=permission.get("Execute") or "NONE",
        digest=found.get("Digest"),
        algorithm=found.get("Algorithm"),
    )
