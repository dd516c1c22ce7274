"""The shape of a recipe: what the cloud or a nucleus refuses, whichever nucleus it is.

Format 2020-01-25, https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html, with the
classes that the cloud and the classic nucleus read it into: https://github.com/aws-greengrass/aws-greengrass-component-common.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
    list_of,
    repeated_keys,
)
from emflow.recipes.reader.lifecycles import kind, lifecycle_findings, shown
from emflow.recipes.reader.platforms import is_pattern
from emflow.recipes.reader.variables import without_quotes
from emflow.versions import check_requirement, is_version
from emflow.workflow.source.positions import KeyPath
from emflow.workflow.suggestions import nearest

FORMAT = "2020-01-25"
GENERIC = "aws.greengrass.generic"
NUCLEUS = "aws.greengrass.nucleus"
"""AWS's own type: a device reads such a recipe, and the cloud takes none from others."""
TYPES = (GENERIC, "aws.greengrass.lambda", "aws.greengrass.plugin", NUCLEUS)
RIGHTS = ("NONE", "OWNER", "ALL")
MAX_VERSION_CHARACTERS, MAX_VERSION_NUMBER = 64, 999_999

_NOT_IN_A_URI = re.compile(r"[\s<>{}\[\]|\\^`\"\x00-\x1f\x7f]|%(?![0-9A-Fa-f]{2})")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
"""What botocore asks S3 about. Bucket names of today are shorter and have no capitals; old ones in us-east-1 may."""
_PLACEHOLDER = re.compile(r"\b[A-Z]+(?:[_ -][A-Z]+)+\b")


def structure_findings(found: Any) -> Iterator[RecipeFinding]:
    """Every error in the shape of a recipe, at its position."""
    if not isinstance(found, dict):
        yield RecipeFinding((), "is no map of keys to values", f'begin with RecipeFormatVersion: "{FORMAT}"')
        return
    yield from repeated_keys(found, TOP, ())
    recipe = documented_keys(found, TOP)
    if recipe.get("RecipeFormatVersion") != FORMAT:
        yield RecipeFinding(("RecipeFormatVersion",), f"has to be {FORMAT}")
    yield from _name(recipe.get("ComponentName"))
    yield from _version(recipe.get("ComponentVersion"))
    yield from _type(recipe.get("ComponentType"))
    for key in ("ComponentDescription", "ComponentPublisher"):
        if isinstance(recipe.get(key), dict | list) and not without_quotes(recipe[key]):
            yield RecipeFinding((key,), f"has to be a text, this is {kind(recipe[key])}")
    yield from _configuration(recipe.get("ComponentConfiguration"))
    yield from _dependencies(recipe.get("ComponentDependencies"))
    yield from _manifests(recipe.get("Manifests"))
    yield from lifecycle_findings(recipe.get("Lifecycle"), ("Lifecycle",), selection_names(recipe))


def selection_names(recipe: Mapping[str, Any]) -> set[str]:
    """The names that narrow the recipe-wide lifecycle; keys of `recipe` are as documented."""
    manifests = (documented_keys(each, MANIFEST) for each in list_of(recipe, "Manifests") if isinstance(each, dict))
    return {str(name) for each in manifests for name in list_of(each, "Selections")} | {"all"}


def _name(name: Any) -> Iterator[RecipeFinding]:
    place: KeyPath = ("ComponentName",)
    if name is None:
        yield RecipeFinding(place, "is missing", "for example: com.example.Camera")
    elif without_quotes(name):
        return
    elif not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z0-9._-]{1,128}", name) or not name.strip("."):
        mend = "1 to 128 letters, digits, dots, dashes and underscores"
        yield RecipeFinding(place, f"cannot be {shown(name)}", _placeholder(name) or mend)


def _version(version: Any) -> Iterator[RecipeFinding]:
    place: KeyPath = ("ComponentVersion",)
    if version is None:
        yield RecipeFinding(place, "is missing", 'for example: "1.0.0"')
    elif without_quotes(version):
        return
    elif not isinstance(version, str):
        mend = 'put three numbers in quotes: "1.0.0"'
        yield RecipeFinding(place, f"has to be a text, this is {kind(version)}", mend)
    elif not is_version(version):
        mend = _placeholder(version) or 'for example: "1.0.0"'
        yield RecipeFinding(place, f"{version!r} is no semantic version", mend)
    elif len(version) > MAX_VERSION_CHARACTERS:
        yield RecipeFinding(place, f"has {len(version)} characters, and {MAX_VERSION_CHARACTERS} are allowed")
    elif any(int(number) > MAX_VERSION_NUMBER for number in re.findall("[0-9]+", version)[:3]):
        yield RecipeFinding(place, f"{version!r} has a number above {MAX_VERSION_NUMBER}")


def _type(given: Any) -> Iterator[RecipeFinding]:
    place: KeyPath = ("ComponentType",)
    if given is not None and given not in TYPES and not without_quotes(given):
        near = nearest(given, TYPES) if isinstance(given, str) else ""
        mend = f"did you mean {near}?" if near else f"leave it out: the usual one is {GENERIC}"
        yield RecipeFinding(place, f"{shown(given)} is no type of component", mend)


def _configuration(found: Any) -> Iterator[RecipeFinding]:
    place: KeyPath = ("ComponentConfiguration",)
    if found is None or without_quotes(found):
        return
    if not isinstance(found, dict):
        yield RecipeFinding(place, "has to be a map with DefaultConfiguration")
        return
    yield from repeated_keys(found, CONFIGURATION, place)
    defaults = documented_keys(found, CONFIGURATION).get("DefaultConfiguration")
    if defaults is not None and not isinstance(defaults, dict):
        yield RecipeFinding((*place, "DefaultConfiguration"), f"has to be a map, this is {kind(defaults)}")


def _dependencies(found: Any) -> Iterator[RecipeFinding]:
    top: KeyPath = ("ComponentDependencies",)
    if found is None or found == [] or without_quotes(found):
        return
    if not isinstance(found, dict):
        yield RecipeFinding(top, "has to be a map of component names to requirements")
        return
    for name, wanted in found.items():
        place = (*top, name)
        if without_quotes(wanted):
            continue
        if not isinstance(wanted, dict):
            mend = 'for example: {VersionRequirement: ">=1.0.0", DependencyType: SOFT}'
            yield RecipeFinding(place, f"has to be a map, this is {kind(wanted)}", mend)
            continue
        yield from repeated_keys(wanted, DEPENDENCY, place)
        dependency = documented_keys(wanted, DEPENDENCY)
        yield from _requirement(dependency.get("VersionRequirement"), (*place, "VersionRequirement"))
        given = dependency.get("DependencyType")
        if given is not None and str(given).upper() not in ("HARD", "SOFT") and not without_quotes(given):
            yield RecipeFinding((*place, "DependencyType"), f"{shown(given)} is neither HARD nor SOFT")


def _requirement(requirement: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    mend = 'for example: ">=1.0.0 <2.0.0"'
    if requirement is None:
        yield RecipeFinding(place, "is missing", mend)
    elif isinstance(requirement, str):
        try:
            check_requirement(requirement)
        except ValueError:
            yield RecipeFinding(place, f"{requirement!r} is no version range", mend)
    elif not without_quotes(requirement):
        yield RecipeFinding(place, f"has to be a text, this is {kind(requirement)}", mend)


def _manifests(manifests: Any) -> Iterator[RecipeFinding]:
    top: KeyPath = ("Manifests",)
    if without_quotes(manifests):
        return
    if not isinstance(manifests, list) or not manifests or not all(isinstance(each, dict) for each in manifests):
        mend = 'for example: [{Platform: {os: linux, runtime: "*"}, Lifecycle: {run: …}, Artifacts: []}]'
        yield RecipeFinding(top, "has to be a list of manifests, one at least", mend)
        return
    for index, each in enumerate(manifests):
        place: KeyPath = (*top, index)
        yield from repeated_keys(each, MANIFEST, place)
        manifest = documented_keys(each, MANIFEST)
        if isinstance(manifest.get("Name"), dict | list) and not without_quotes(manifest["Name"]):
            yield RecipeFinding((*place, "Name"), f"has to be a text, this is {kind(manifest['Name'])}")
        yield from _platform(manifest.get("Platform"), (*place, "Platform"))
        selections = manifest.get("Selections")
        if selections is not None and not without_quotes(selections) and not _are_texts(selections):
            yield RecipeFinding((*place, "Selections"), "has to be a list of texts", "for example: [all]")
        yield from _artifacts(manifest.get("Artifacts"), (*place, "Artifacts"))
        yield from lifecycle_findings(manifest.get("Lifecycle"), (*place, "Lifecycle"))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _platform(found: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    if found is None or without_quotes(found):
        return
    if not isinstance(found, dict):
        yield RecipeFinding(place, "has to be a map", 'for example: {os: linux, runtime: "*"}')
        return
    yield from repeated_keys(found, PLATFORM, place)
    for key, value in found.items():
        at = (*place, key)
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            if not without_quotes(value):
                mend = 'leave it out, or write "*"' if value is None else "put it in quotes"
                yield RecipeFinding(at, f"has to be a text, this is {kind(value)}", mend)
        elif is_pattern(str(value)):
            try:
                re.compile(str(value)[1:-1])
            except re.error as error:
                yield RecipeFinding(at, f"{value!r} is no regular expression: {error}")


def _artifacts(found: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    if found is None or without_quotes(found):
        return
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        yield RecipeFinding(place, "has to be a list of maps with Uri", "for example: [{Uri: s3://bucket/key}]")
        return
    for index, each in enumerate(found):
        at = (*place, index)
        if without_quotes(each):
            continue
        yield from repeated_keys(each, ARTIFACT, at)
        artifact = documented_keys(each, ARTIFACT)
        yield from uri_findings(artifact.get("Uri"), (*at, "Uri"))
        given = artifact.get("Unarchive")
        if given is not None and str(given).upper() not in ("NONE", "ZIP") and not without_quotes(given):
            yield RecipeFinding((*at, "Unarchive"), f"{shown(given)} is neither NONE nor ZIP")
        yield from _permission(artifact.get("Permission"), (*at, "Permission"))


def uri_findings(uri: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    """Why no artifact can be at a URI."""
    example = "for example: s3://bucket/key"
    if uri is None:
        yield RecipeFinding(place, "is missing", example)
        return
    if without_quotes(uri):
        return
    if not isinstance(uri, str):
        yield RecipeFinding(place, f"has to be a text, this is {kind(uri)}", example)
        return
    odd = _NOT_IN_A_URI.search(uri)
    if odd:
        mend = _placeholder(uri) or "leave it out, or write it as % and two digits"
        yield RecipeFinding(place, f"{uri!r} is no artifact: a URI cannot have {odd[0]!r}", mend)
        return
    if re.match(r"(docker|greengrass):.", uri):
        return
    bucket, slash, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not slash or not key:
        yield RecipeFinding(place, f"{uri!r} is no artifact", example)
    elif not _BUCKET.fullmatch(bucket):
        yield RecipeFinding(place, f"{uri!r} is no artifact: no bucket can be called {bucket!r}", example)
    elif bucket == bucket.upper() and _PLACEHOLDER.fullmatch(bucket):
        yield RecipeFinding(place, f"{uri!r} is no artifact: {bucket} is a placeholder", "write the bucket's name")


def _permission(found: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    if found is None or without_quotes(found):
        return
    if not isinstance(found, dict):
        yield RecipeFinding(place, "has to be a map", "for example: {Read: OWNER}")
        return
    yield from repeated_keys(found, PERMISSION, place)
    for right, who in documented_keys(found, PERMISSION).items():
        if right in PERMISSION and who is not None and str(who).upper() not in RIGHTS and not without_quotes(who):
            yield RecipeFinding((*place, right), f"{shown(who)} is none of {', '.join(RIGHTS)}")


def _placeholder(value: Any) -> str:
    """Advice where a template's word was not replaced: `<YOUR BUCKET NAME>`, `{COMPONENT_NAME}`."""
    if isinstance(value, str) and (re.search(r"[<{\[].+[>}\]]|\$\w", value) or _PLACEHOLDER.search(value)):
        return "put the real name in the place of the placeholder"
    return ""
