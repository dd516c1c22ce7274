"""Checks of a Greengrass component recipe: a pure function from its text to all errors in it.

Format 2020-01-25, https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html. The cloud
accepts recipes that fail on a device, and the Java nucleus accepts some that the lite nucleus does not accept: keys in
another case, a manifest without `runtime`, steps that it does not have. So all of it is checked before an upload.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from emflow.recipes.lint.access_control import access_control
from emflow.recipes.lint.artifacts import artifacts
from emflow.recipes.lint.context import NOTHING, RecipeContext
from emflow.recipes.lint.finding import RecipeFinding
from emflow.recipes.lint.keys import documented_keys, key_findings, list_of, map_of
from emflow.recipes.lint.lifecycle import lifecycle
from emflow.recipes.lint.platforms import for_lite, platform, reachable
from emflow.recipes.lint.recipe_text import read
from emflow.versions import check_requirement, is_version
from emflow.workflow.redaction import mask_addresses
from emflow.workflow.source.positions import KeyPath

FORMAT = "2020-01-25"

TOP = (
    "RecipeFormatVersion",
    "ComponentName",
    "ComponentVersion",
    "ComponentDescription",
    "ComponentPublisher",
    "ComponentType",
    "ComponentConfiguration",
    "ComponentDependencies",
    "Manifests",
    "Lifecycle",
)

MANIFEST = ("Name", "Platform", "Lifecycle", "Selections", "Artifacts")

DEPENDENCY = ("VersionRequirement", "DependencyType")


def check(text: str, known: RecipeContext = NOTHING) -> tuple[RecipeFinding, ...]:
    """All errors in a recipe, in the order of its lines."""
    reading = read(text)
    found = list(reading.findings)
    if not found and not isinstance(reading.value, dict):
        found.append(RecipeFinding((), "is no map of keys to values", f'begin with RecipeFormatVersion: "{FORMAT}"'))
    if isinstance(reading.value, dict):
        found += _secrets(text)
        found += _recipe(reading.value, known)
    placed = [finding if finding.line else replace(finding, line=reading.line(finding.place)) for finding in found]
    return tuple(sorted(placed, key=lambda finding: finding.line))


def _recipe(found: Mapping[Any, Any], known: RecipeContext) -> Iterator[RecipeFinding]:
    yield from key_findings(found, TOP, ())
    recipe = documented_keys(found, TOP)
    if str(recipe.get("RecipeFormatVersion")) != FORMAT:  # YAML takes it for a date when it is not quoted
        yield RecipeFinding(("RecipeFormatVersion",), f"has to be {FORMAT}")
    yield from _identity(recipe, known)
    dependencies = map_of(recipe, "ComponentDependencies")
    yield from _dependencies(recipe.get("ComponentDependencies"), known)
    configuration = recipe.get("ComponentConfiguration")
    defaults: dict[str, Any] = {}
    if isinstance(configuration, dict):
        yield from key_findings(configuration, ("DefaultConfiguration",), ("ComponentConfiguration",))
        defaults = map_of(documented_keys(configuration, ("DefaultConfiguration",)), "DefaultConfiguration")
    elif configuration is not None:
        yield RecipeFinding(("ComponentConfiguration",), "has to be a map with DefaultConfiguration")
    yield from access_control(defaults, str(recipe.get("ComponentName")), known)
    settings = {**defaults, **known.configuration}
    manifests = recipe.get("Manifests")
    if not isinstance(manifests, list) or not manifests or not all(isinstance(each, dict) for each in manifests):
        mend = 'for example: [{Platform: {os: linux, runtime: "*"}, Lifecycle: {run: …}}]'
        yield RecipeFinding(("Manifests",), "has to be a list of manifests", mend)
        return
    named = {str(name) for each in manifests for name in list_of(documented_keys(each, MANIFEST), "Selections")}
    for index, each in enumerate(manifests):
        place: KeyPath = ("Manifests", index)
        yield from key_findings(each, MANIFEST, place)
        manifest = documented_keys(each, MANIFEST)
        wanted = manifest.get("Platform")
        yield from platform(wanted, (*place, "Platform"))
        lite = not isinstance(wanted, dict) or for_lite(wanted)
        archives: dict[str, Collection[str]] = {}
        files: set[str] = set()
        yield from artifacts(manifest.get("Artifacts"), (*place, "Artifacts"), known.archives, archives, files)
        own = manifest.get("Lifecycle")
        steps, at = (own, (*place, "Lifecycle")) if own is not None else (recipe.get("Lifecycle"), ("Lifecycle",))
        if steps is None:
            yield RecipeFinding((*place, "Lifecycle"), "is missing", "say what to run: Lifecycle: {run: …}")
            continue
        yield from lifecycle(steps, at, named, lite, settings, set(map(str, dependencies)), archives, files)
    platforms = [map_of(documented_keys(each, MANIFEST), "Platform") for each in manifests]
    yield from reachable(platforms, known.architecture)


def _identity(recipe: Mapping[str, Any], known: RecipeContext) -> Iterator[RecipeFinding]:
    name, version = recipe.get("ComponentName"), recipe.get("ComponentVersion")
    if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z0-9._-]{1,128}", name):
        yield RecipeFinding(
            ("ComponentName",), f"cannot be {name!r}", "1 to 128 letters, digits, dots, dashes and underscores"
        )
    elif name.startswith("aws.greengrass."):
        yield RecipeFinding(
            ("ComponentName",), f"{name}: names that begin with aws.greengrass. are AWS's", "choose another"
        )
    elif known.name and name != known.name:
        yield RecipeFinding(("ComponentName",), f"is {name!r}, and the workflow says {known.name!r}")
    if not isinstance(version, str):
        yield RecipeFinding(("ComponentVersion",), f"{version!r} is no text", 'put it in quotes: "1.0.0"')
    elif not is_version(version):
        yield RecipeFinding(("ComponentVersion",), f"{version!r} is no semantic version", 'for example: "1.0.0"')
    elif known.version and version != known.version:
        yield RecipeFinding(
            ("ComponentVersion",), f"is {version!r} and has to be {known.version!r}", "write {{ version }}"
        )
    kind = recipe.get("ComponentType", "aws.greengrass.generic")
    if kind != "aws.greengrass.generic":
        mend = "leave it out: all else is AWS's own, or a Lambda, which the lite nucleus lacks"
        yield RecipeFinding(("ComponentType",), f"is {kind!r}", mend)


def _dependencies(found: Any, known: RecipeContext) -> Iterator[RecipeFinding]:
    top: KeyPath = ("ComponentDependencies",)
    if found is not None and not isinstance(found, dict):
        yield RecipeFinding(top, "has to be a map of component names to requirements")
        return
    for name, wanted in (found or {}).items():
        place = (*top, str(name))
        if not isinstance(wanted, dict):
            yield RecipeFinding(
                place, "has to be a map", 'for example: {VersionRequirement: ">=1.0.0", DependencyType: HARD}'
            )
            continue
        yield from key_findings(wanted, DEPENDENCY, place)
        dependency = documented_keys(wanted, DEPENDENCY)
        requirement = dependency.get("VersionRequirement", ">=0.0.0")
        if not isinstance(requirement, str) or not _is_requirement(requirement):
            mend = 'for example: ">=1.0.0 <2.0.0"'
            yield RecipeFinding((*place, "VersionRequirement"), f"{requirement!r} is no version range", mend)
        if dependency.get("DependencyType", "HARD") not in ("HARD", "SOFT"):
            yield RecipeFinding(
                (*place, "DependencyType"), f"{dependency['DependencyType']!r} is neither HARD nor SOFT"
            )
    for name in known.dependencies:
        if name not in (found or {}):
            mend = "write ComponentDependencies: {{ dependencies | json }} into the template"
            yield RecipeFinding(top, f"does not name {name}, on which the workflow lets it depend", mend)


def _is_requirement(text: str) -> bool:
    try:
        check_requirement(text)
    except ValueError:
        return False
    return bool(text.strip())


def _secrets(text: str) -> Iterator[RecipeFinding]:
    """A recipe can be read by everybody who may describe components, and lies on every device."""
    for number, line in enumerate(text.splitlines(), 1):
        if mask_addresses(line) != line:
            yield RecipeFinding((), "an address with a password in it", "keep it in Secrets Manager", number)
        if re.search(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b", line):
            yield RecipeFinding(
                (), "an AWS access key", "a component gets credentials from TokenExchangeService", number
            )
