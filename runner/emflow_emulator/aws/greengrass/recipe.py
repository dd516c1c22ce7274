"""Recipes: parses YAML or JSON into a checked document with AWS's spelling of the keys.

Format 2020-01-25, https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html. The Java
nucleus and the cloud accept keys in upper or lower case; stored and returned recipes have the documented spelling.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from emflow.versions import check_requirement, parse_version
from emflow_emulator.aws.errors import ApiError, invalid

FORMAT = "2020-01-25"
GENERIC = "aws.greengrass.generic"

_NAME = re.compile(r"[a-zA-Z0-9-_.]{1,128}")
_TOP = (
    "RecipeFormatVersion",
    "ComponentName",
    "ComponentVersion",
    "ComponentDescription",
    "ComponentPublisher",
    "ComponentType",
    "ComponentSource",
    "ComponentConfiguration",
    "ComponentDependencies",
    "Manifests",
    "Lifecycle",
)
_MANIFEST = ("Name", "Platform", "Lifecycle", "Selections", "Artifacts")
_ARTIFACT = ("URI", "Unarchive", "Permission", "Digest", "Algorithm")
_PERMISSION = ("Read", "Execute")
_DEPENDENCY = ("VersionRequirement", "DependencyType")
_PLATFORM = ("os", "architecture", "architecture.detail", "runtime", "nucleus")

Document = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A recipe that passed the checks. `document` is the whole recipe, with the documented spelling of keys."""

    document: Document

    @property
    def name(self) -> str:
        return str(self.document["ComponentName"])

    @property
    def version(self) -> str:
        return str(self.document["ComponentVersion"])

    @property
    def description(self) -> str:
        return str(self.document.get("ComponentDescription") or "")

    @property
    def publisher(self) -> str:
        return str(self.document.get("ComponentPublisher") or "")

    @property
    def manifests(self) -> list[Document]:
        return list(self.document.get("Manifests") or [])

    @property
    def artifacts(self) -> Iterator[Document]:
        for manifest in self.manifests:
            yield from manifest.get("Artifacts") or []

    @property
    def platforms(self) -> list[dict[str, Any]]:
        """The platforms as the API lists them: a name and attributes for each manifest."""
        return [
            {"name": manifest.get("Name") or _title(manifest["Platform"]), "attributes": manifest["Platform"]}
            for manifest in self.manifests
            if manifest.get("Platform")
        ]

    def fits(self, platform: Mapping[str, str]) -> bool:
        """Whether any manifest matches a device with these attributes; a recipe without manifests matches all."""
        return not self.manifests or any(_fits(each.get("Platform") or {}, platform) for each in self.manifests)

    def text(self, form: str) -> bytes:
        """The recipe as `JSON` or `YAML`."""
        if form == "YAML":
            return yaml.safe_dump(self.document, sort_keys=False, allow_unicode=True).encode()
        return json.dumps(self.document, ensure_ascii=False).encode()


def parse(data: bytes) -> Recipe:
    """Read and check a recipe.

    Raises:
        ApiError: a ValidationException whose `fields` name each error.
    """
    try:
        document = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}, column {place.column + 1}" if place else ""
        what = getattr(error, "problem", None) or str(error)
        raise _refusal(f"the recipe is neither YAML nor JSON: {what}{where}", reason="CANNOT_PARSE") from error
    if not isinstance(document, dict):
        raise _refusal("the recipe is not a map of keys to values", reason="CANNOT_PARSE")
    document = _spelt(document, _TOP)
    for key in ("Manifests", "ComponentDependencies"):
        if document.get(key) is None:
            document.pop(key, None)
    wrong = list(_findings(document))
    if wrong:
        raise _refusal("; ".join(f"{field}: {why}" for field, why in wrong), *wrong)
    return Recipe(document)


def _findings(document: Document) -> Iterator[tuple[str, str]]:
    if str(document.get("RecipeFormatVersion")) != FORMAT:
        yield "RecipeFormatVersion", f"must be {FORMAT}, in quotes or not"
    else:
        document["RecipeFormatVersion"] = FORMAT  # YAML reads it as a date
    name = document.get("ComponentName")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield "ComponentName", f"{name!r} is not 1 to 128 letters, digits, - _ or ."
    version = document.get("ComponentVersion")
    if not isinstance(version, str):
        yield "ComponentVersion", f"{version!r} is not text; YAML reads 1.0 as a number, so put it in quotes: '1.0.0'"
    else:
        try:
            parse_version(version)
        except ValueError as error:
            yield "ComponentVersion", str(error)
    kind = document.get("ComponentType", GENERIC)
    if kind not in (GENERIC, "aws.greengrass.lambda"):
        yield "ComponentType", f"{kind!r} is AWS's own; yours is {GENERIC}"
    yield from _dependencies(document.get("ComponentDependencies") or {})
    configuration = document.get("ComponentConfiguration")
    if configuration is not None and not isinstance(configuration, dict):
        yield "ComponentConfiguration", "must be a map"
    elif configuration:
        document["ComponentConfiguration"] = _spelt(configuration, ("DefaultConfiguration",))
    manifests = document.get("Manifests") or []
    if not isinstance(manifests, list) or not all(isinstance(each, dict) for each in manifests):
        yield "Manifests", "must be a list of maps"
        return
    document["Manifests"] = [_spelt(each, _MANIFEST) for each in manifests]
    for number, manifest in enumerate(document["Manifests"]):
        yield from _manifest(manifest, f"Manifests[{number}]")


def _dependencies(dependencies: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(dependencies, dict):
        yield "ComponentDependencies", "must be a map of component names to requirements"
        return
    for name, dependency in dependencies.items():
        where = f"ComponentDependencies.{name}"
        if not isinstance(dependency, dict):
            yield where, "must be a map with VersionRequirement"
            continue
        dependencies[name] = dependency = _spelt(dependency, _DEPENDENCY)
        try:
            check_requirement(str(dependency.get("VersionRequirement") or ">=0.0.0"))
        except ValueError as error:
            yield f"{where}.VersionRequirement", str(error)
        if dependency.get("DependencyType", "HARD") not in ("HARD", "SOFT"):
            yield f"{where}.DependencyType", f"{dependency['DependencyType']!r} is neither HARD nor SOFT"


def _manifest(manifest: Document, where: str) -> Iterator[tuple[str, str]]:
    platform = manifest.get("Platform")
    if platform is not None:
        if not isinstance(platform, dict):
            yield f"{where}.Platform", "must be a map such as {os: linux}"
        else:
            manifest["Platform"] = {key: str(value) for key, value in _spelt(platform, _PLATFORM).items()}
            yield from _patterns(manifest["Platform"], f"{where}.Platform")
    yield from _lifecycle(manifest.get("Lifecycle"), f"{where}.Lifecycle")
    artifacts = manifest.get("Artifacts") or []
    if not isinstance(artifacts, list) or not all(isinstance(each, dict) for each in artifacts):
        yield f"{where}.Artifacts", "must be a list of maps with URI"
        return
    manifest["Artifacts"] = [_spelt(each, _ARTIFACT) for each in artifacts]
    for number, artifact in enumerate(manifest["Artifacts"]):
        yield from _artifact(artifact, f"{where}.Artifacts[{number}]")
    if not artifacts:
        del manifest["Artifacts"]


def _patterns(platform: Mapping[str, str], where: str) -> Iterator[tuple[str, str]]:
    for attribute, value in platform.items():
        try:
            _fits({attribute: value}, {attribute: "any"})
        except re.error as error:
            yield f"{where}.{attribute}", f"{value!r} is not a regular expression: {error}"


def _lifecycle(lifecycle: Any, where: str) -> Iterator[tuple[str, str]]:
    """Errors for every device; unknown steps are not errors."""
    if lifecycle is None:
        return
    if not isinstance(lifecycle, dict):
        yield where, "must be a map of steps such as {run: …}"
        return
    yield from _environment(lifecycle, where)
    for name, step in lifecycle.items():
        if isinstance(step, dict) and str(name).lower() != "setenv":
            yield from _environment(step, f"{where}.{name}")
            timeout = _spelt(step, ("Timeout",)).get("Timeout")
            if timeout is not None and not _is_duration(timeout):
                yield f"{where}.{name}.Timeout", "must be a number of seconds"


def _environment(step: Document, where: str) -> Iterator[tuple[str, str]]:
    if not isinstance(_spelt(step, ("Setenv",)).get("Setenv") or {}, dict):
        yield f"{where}.Setenv", "must be a map such as {NAME: value}"


def _is_duration(value: Any) -> bool:
    try:
        return 0 <= float(value) < math.inf
    except (TypeError, ValueError, OverflowError):
        return False


def _artifact(artifact: Document, where: str) -> Iterator[tuple[str, str]]:
    uri = artifact.get("URI")
    if not isinstance(uri, str) or not re.match(r"(s3://[^/]+/.|docker:|greengrass:)", uri):
        yield f"{where}.URI", f"{uri!r} is not an artifact such as s3://bucket/key"
    if artifact.get("Unarchive", "NONE") not in ("NONE", "ZIP"):
        yield f"{where}.Unarchive", f"{artifact['Unarchive']!r} is neither NONE nor ZIP"
    permission = artifact.get("Permission")
    if permission is None:
        return
    if not isinstance(permission, dict):
        yield f"{where}.Permission", "must be a map such as {Read: OWNER}"
        return
    artifact["Permission"] = permission = _spelt(permission, _PERMISSION)
    for right, who in permission.items():
        if right not in _PERMISSION or who not in ("NONE", "OWNER", "ALL"):
            yield f"{where}.Permission.{right}", f"{who!r} is none of NONE, OWNER, ALL"


def _spelt(document: Mapping[Any, Any], keys: tuple[str, ...]) -> Document:
    """The same map with the documented spelling of known keys; other keys are unchanged."""
    known = {key.lower(): key for key in keys}
    return {known.get(str(key).lower(), str(key)): value for key, value in document.items()}


def _fits(wanted: Mapping[str, str], device: Mapping[str, str]) -> bool:
    """Whether a manifest's platform matches a device's.

    `*`, `all` and attributes that the manifest does not have match every value; `/…/` is a regular expression.
    """
    for attribute, value in wanted.items():
        have = device.get(attribute)
        if value in ("*", "all") or have in (None, "*"):
            continue
        if len(value) > 1 and value.startswith("/") and value.endswith("/"):
            if not re.fullmatch(value[1:-1], str(have)):
                return False
        elif value != have:
            return False
    return True


def _title(platform: Mapping[str, str]) -> str:
    parts = [platform[key].capitalize() for key in ("os", "architecture") if platform.get(key)]
    return " ".join(part for part in parts if part != "*") or "All"


def _refusal(text: str, *fields: tuple[str, str], reason: str = "FIELD_VALIDATION_FAILED") -> ApiError:
    return invalid(f"Invalid Input: {text}", *fields, reason=reason)
