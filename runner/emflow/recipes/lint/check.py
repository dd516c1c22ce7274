"""Checks of a Greengrass component recipe: a pure function from its text to all mistakes in it.

The reader (`emflow.recipes.reader`) finds what no nucleus takes. Here is what shows on the device only: variables
without a value, files that are not there, keys without an effect; and what the lite nucleus refuses or does otherwise,
as measured, or as AWS documents it: https://github.com/aws-greengrass/aws-greengrass-lite, in
docs/RECIPE_SUPPORT_CHANGES.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from emflow.json_text import to_json
from emflow.recipes.lint.access_control import access_control
from emflow.recipes.lint.artifacts import artifacts
from emflow.recipes.lint.context import NOTHING, RecipeContext, Target
from emflow.recipes.lint.dependencies import dependencies
from emflow.recipes.lint.execution import execution
from emflow.recipes.lint.keys import key_findings
from emflow.recipes.lint.lifecycle import lifecycle, steps_for_lite
from emflow.recipes.lint.platforms import (
    CLASSIC,
    LITE,
    Audience,
    audience,
    is_for_every_lite_device,
    platform,
    reachable,
)
from emflow.recipes.lint.variables import Surroundings
from emflow.recipes.reader.finding import Nucleus, RecipeFinding
from emflow.recipes.reader.keys import CONFIGURATION, MANIFEST, TOP, documented_keys, list_of, map_of
from emflow.recipes.reader.platforms import ALL
from emflow.recipes.reader.recipe import Recipe, in_order, read
from emflow.recipes.reader.structure import GENERIC, NUCLEUS, selection_names
from emflow.workflow.redaction import mask_addresses
from emflow.workflow.source.positions import KeyPath

MAX_LITE_BYTES = 8196
"""The lite nucleus reads a recipe into a buffer of this size (modules/ggl-recipe/src/recipe.c)."""


def check(text: str, known: RecipeContext = NOTHING) -> tuple[RecipeFinding, ...]:
    """All mistakes in a recipe that concern the nucleus of `known`, in the order of its lines."""
    reading = read(text)
    found = list(reading.findings)
    if isinstance(reading.text.value, dict):
        found += _secrets(text)
        found += _recipe(reading.text.value, reading.recipe, known)
    return tuple(_judged(in_order(found, reading.text), known))


def _judged(found: Sequence[RecipeFinding], known: RecipeContext) -> Iterator[RecipeFinding]:
    """The findings that count for the nucleus."""
    for finding in found:
        if known.nucleus is None and finding.nucleus == "lite":
            yield replace(finding, severity="warning")
        elif known.nucleus in (None, Target.ANY) or finding.nucleus in ("any", known.nucleus):
            yield finding


def _recipe(found: Mapping[str, Any], read: Recipe | None, known: RecipeContext) -> Iterator[RecipeFinding]:
    recipe = documented_keys(found, TOP)
    manifests = [each if isinstance(each, dict) else {} for each in list_of(recipe, "Manifests")]
    asked = known.nucleus in (Target.LITE, Target.ANY)
    looks = list(_lite_looks([documented_keys(each, MANIFEST).get("Platform") for each in manifests], asked=asked))
    lite = any(looks)
    yield from key_findings(found, TOP, (), lite=lite)
    yield from _identity(recipe, known)
    kind = recipe.get("ComponentType")
    if kind == NUCLEUS:
        yield RecipeFinding(("ComponentType",), f"{kind!r} is AWS's own", f"write {GENERIC}")
    elif isinstance(kind, str) and kind != GENERIC:
        what = "is a type of component that the lite nucleus lacks"
        if lite:
            yield RecipeFinding(("ComponentType",), what, f"write {GENERIC}, or leave it out", nucleus="lite")
        what = "is started by AWS's nucleus only: the device of `emflow up` runs nothing of it"
        yield RecipeFinding(("ComponentType",), what, severity="warning")
    yield from dependencies(map_of(recipe, "ComponentDependencies"), known, lite=lite)
    configuration = map_of(recipe, "ComponentConfiguration")
    yield from key_findings(configuration, CONFIGURATION, ("ComponentConfiguration",), lite=lite)
    defaults = map_of(documented_keys(configuration, CONFIGURATION), "DefaultConfiguration")
    yield from access_control(defaults, str(recipe.get("ComponentName")), known, lite=lite)
    settings = {**defaults, **known.configuration}
    names = selection_names(recipe)
    for index, each in enumerate(manifests):
        place: KeyPath = ("Manifests", index)
        yield from key_findings(each, MANIFEST, place, lite=looks[index])
        manifest = documented_keys(each, MANIFEST)
        yield from platform(manifest.get("Platform"), (*place, "Platform"))
        archives: dict[str, Collection[str]] = {}
        files: set[str] = set()
        given, where = manifest.get("Artifacts"), (*place, "Artifacts")
        yield from artifacts(given, where, known.archives, archives, files, lite=looks[index])
        if given is None and looks[index]:
            mend = "write Artifacts: [] where there are none"
            yield RecipeFinding(
                where, "is missing, and the lite nucleus wants it in every manifest", mend, nucleus="lite"
            )
        own = manifest.get("Lifecycle")
        steps, at = (own, (*place, "Lifecycle")) if own else (recipe.get("Lifecycle"), ("Lifecycle",))
        around = Surroundings(settings, set(map_of(recipe, "ComponentDependencies")), archives, files, looks[index])
        yield from lifecycle(steps, at, frozenset() if own else names, around)
        yield from execution(steps, at, given)
        if looks[index] and read is not None:
            yield from steps_for_lite(read.manifests[index].lifecycle, at)
            if not own:
                yield from _recipe_wide_for_lite(steps, manifest)
    if manifests:
        platforms = [map_of(documented_keys(each, MANIFEST), "Platform") for each in manifests]
        yield from reachable(platforms, known.architecture)
        yield from _nucleus_without_manifest(platforms, known)
    if lite and read is not None:
        yield from _size_for_lite(read)


def _lite_looks(platforms: Sequence[Any], *, asked: bool) -> Iterator[bool]:
    """Whether the lite nucleus uses each manifest.

    It skips one without `runtime`, so nothing else is reported of that, and takes the first that matches: one for both
    nuclei that follows one for all lite devices is for the classic nucleus.
    """
    taken = False
    for wanted in platforms:
        who = audience(wanted)
        yield (who is Audience.BOTH and not taken) or (who is Audience.UNSAID and asked)
        taken = taken or is_for_every_lite_device(wanted)


def _identity(recipe: Mapping[str, Any], known: RecipeContext) -> Iterator[RecipeFinding]:
    name, version = recipe.get("ComponentName"), recipe.get("ComponentVersion")
    if isinstance(name, str) and known.name and name != known.name:
        yield RecipeFinding(("ComponentName",), f"is {name!r}, and the workflow says {known.name!r}")
    if isinstance(version, str) and known.version and version != known.version:
        what = f"is {version!r} and has to be {known.version!r}"
        yield RecipeFinding(("ComponentVersion",), what, "write {{ version }}")


def _recipe_wide_for_lite(steps: Any, manifest: Mapping[str, Any]) -> Iterator[RecipeFinding]:
    """The lite nucleus finds a recipe-wide lifecycle under `all` or `linux` only."""
    chosen = [each for each in list_of(manifest, "Selections") if isinstance(each, str)] or ["all"]
    if isinstance(steps, dict) and steps and not {"all", "linux"} & set(chosen) & steps.keys():
        mend = "put the steps into the manifest, or under `all` in the recipe-wide Lifecycle"
        yield RecipeFinding(("Lifecycle",), "is not where the lite nucleus looks for it", mend, nucleus="lite")


def _nucleus_without_manifest(platforms: Sequence[Mapping[str, Any]], known: RecipeContext) -> Iterator[RecipeFinding]:
    """The devices have a nucleus, as the workflow's user says, that takes none of the manifests."""
    runtimes: tuple[tuple[Nucleus, str], ...] = (("classic", CLASSIC), ("lite", LITE))
    for nucleus, runtime in runtimes:
        if known.nucleus not in (nucleus, Target.ANY):
            continue
        wanted = [str(documented_keys(each, ("runtime",)).get("runtime", "*")) for each in platforms]
        if not any(each in (runtime, *ALL) or each.startswith("/") for each in wanted):
            what = f"has none for the {nucleus} nucleus, so the deployment would fail"
            mend = f'write runtime: "*" for both, or add a manifest with runtime: {runtime}'
            yield RecipeFinding(("Manifests",), what, mend, nucleus=nucleus)


def _size_for_lite(recipe: Recipe) -> Iterator[RecipeFinding]:
    size = len(to_json(recipe.document, separators=(",", ":"), ascii_only=False).encode())
    if size > MAX_LITE_BYTES:
        what = f"has {size} bytes as JSON, and the lite nucleus reads {MAX_LITE_BYTES} at most"
        yield RecipeFinding((), what, "put scripts into files among the artifacts", nucleus="lite")


def _secrets(text: str) -> Iterator[RecipeFinding]:
    """A recipe can be read by everybody who may describe components, and lies on every device."""
    for number, line in enumerate(text.splitlines(), 1):
        if mask_addresses(line) != line:
            yield RecipeFinding((), "an address with a password in it", "keep it in Secrets Manager", number)
        if re.search(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b", line):
            yield RecipeFinding(
                (), "an AWS access key", "a component gets credentials from TokenExchangeService", number
            )
