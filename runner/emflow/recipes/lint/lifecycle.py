"""Checks of a lifecycle: steps and keys as both nuclei read them, and variables in scripts that have a value.

What the lite nucleus lacks: https://github.com/aws-greengrass/aws-greengrass-lite, docs/RECIPE_SUPPORT_CHANGES.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Any

from emflow.recipes.lint.keys import key_findings
from emflow.recipes.lint.variables import Surroundings, paths, text_findings, timeout_findings
from emflow.recipes.reader.finding import RecipeFinding
from emflow.recipes.reader.keys import LIFECYCLE, STEP, STEPS, documented_keys
from emflow.recipes.reader.lifecycles import Lifecycle
from emflow.workflow.source.positions import KeyPath

CLASSIC_ONLY = ("shutdown", "recover", "uninstall")
MAKING = ("bootstrap", "install")
"""Steps that run once, and make what the others need."""
CLASSIC_MEND = "do without, or say in Platform that only the classic nucleus takes it: runtime: aws_nucleus_classic"

_ENVIRONMENT_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


def lifecycle(
    found: Any, place: KeyPath, selections: AbstractSet[str], around: Surroundings
) -> Iterator[RecipeFinding]:
    """What is wrong with a lifecycle whose shape the reader accepts.

    Args:
        selections: names that narrow the recipe-wide lifecycle to a manifest.
    """
    if not isinstance(found, dict):
        return
    if selections & found.keys():  # the recipe-wide one, narrowed by its outermost keys
        for name, inner in found.items():
            at = (*place, name)
            if name in selections:
                yield from lifecycle(inner, at, selections, around)
            else:
                what, mend = "has no effect beside selections", "put it under one of them"
                yield RecipeFinding(at, what, mend, severity="warning")
        return
    yield from key_findings(found, LIFECYCLE, place, lite=around.lite)
    steps = documented_keys(found, LIFECYCLE)
    if steps.get("run") and steps.get("startup"):
        what = "is what starts: `run` never does beside it"
        yield RecipeFinding((*place, "startup"), what, "keep the one that is meant", severity="warning")
    for step in CLASSIC_ONLY:
        if around.lite and step in steps:
            what = "is a step that the lite nucleus lacks"
            yield RecipeFinding((*place, step), what, CLASSIC_MEND, nucleus="lite")
    made = tuple(path for step in MAKING for text in _texts(steps.get(step)) for path in paths(text))
    for name, body in steps.items():
        near = replace(around, making=True) if name in MAKING else replace(around, made=made)
        if name == "Setenv":
            yield from _each_selection(body, (*place, name), selections, partial(_setenv, around=near))
        elif name in STEPS:
            yield from _each_selection(body, (*place, name), selections, partial(_step, around=near))


def _texts(body: Any) -> Iterator[str]:
    if isinstance(body, str):
        yield body
    elif isinstance(body, dict):
        for inner in body.values():
            yield from _texts(inner)


def steps_for_lite(found: Lifecycle, place: KeyPath) -> Iterator[RecipeFinding]:
    """The lite nucleus wants something to start."""
    if "run" in found.steps or "startup" in found.steps:
        return
    what = "only installs: on the lite nucleus the deployment then fails after 300 s"
    if not found.steps.keys() & {"install", "bootstrap"}:
        what = "has no step that the lite nucleus runs, and without one it refuses the component"
    yield RecipeFinding(place, what, "add run: exit 0", nucleus="lite")


def _each_selection(
    body: Any,
    place: KeyPath,
    selections: AbstractSet[str],
    check: Callable[[Any, KeyPath], Iterator[RecipeFinding]],
) -> Iterator[RecipeFinding]:
    if isinstance(body, dict) and selections & body.keys():
        for name in sorted(selections & body.keys()):
            yield from _each_selection(body[name], (*place, name), selections, check)
    else:
        yield from check(body, place)


def _step(body: Any, place: KeyPath, around: Surroundings) -> Iterator[RecipeFinding]:
    if isinstance(body, str):
        yield from _script(body, place, around)
    elif body in (None, {}):
        yield RecipeFinding(place, "is empty, and does nothing", "leave it out", severity="warning")
    if not isinstance(body, dict):
        return
    yield from key_findings(body, STEP, place, lite=around.lite)
    step = documented_keys(body, STEP)
    yield from _script(step.get("Script"), (*place, "Script"), around)
    yield from _setenv(step.get("Setenv"), (*place, "Setenv"), around)
    skip, privileged, timeout = step.get("Skipif"), step.get("RequiresPrivilege"), step.get("Timeout")
    for key, value in (("Skipif", skip), ("RequiresPrivilege", privileged)):
        if isinstance(value, str):
            yield from text_findings(value, (*place, key), around)
    yield from timeout_findings(timeout, (*place, "Timeout"), around)
    if not around.lite:
        return
    if skip is not None:
        what = "is something that the lite nucleus lacks"
        yield RecipeFinding((*place, "Skipif"), what, CLASSIC_MEND, nucleus="lite")
    if isinstance(privileged, str) and privileged not in ("true", "false"):
        what = f"{privileged!r} is something that the lite nucleus cannot read"
        yield RecipeFinding((*place, "RequiresPrivilege"), what, "write true or false", nucleus="lite")
    if isinstance(timeout, str | float):
        what = "is no whole number, and the lite nucleus reads no other"
        yield RecipeFinding((*place, "Timeout"), what, "write a number of seconds, without quotes", nucleus="lite")


def _script(script: Any, place: KeyPath, around: Surroundings) -> Iterator[RecipeFinding]:
    if not isinstance(script, str):
        return
    if not script.strip():
        yield RecipeFinding(place, "is empty, and does nothing", "leave the step out", severity="warning")
    yield from text_findings(script, place, around, script=True)


def _setenv(found: Any, place: KeyPath, around: Surroundings) -> Iterator[RecipeFinding]:
    for name, value in found.items() if isinstance(found, dict) else ():
        at = (*place, name)
        if isinstance(value, str):
            yield from text_findings(value, at, around, script=True)
        elif around.lite and isinstance(value, int | float):
            what = (
                f"has to be a text, this is {'the number ' if not isinstance(value, bool) else ''}{str(value).lower()}"
            )
            yield RecipeFinding(
                at, f"{what}: the lite nucleus ends the script there", "put it in quotes", nucleus="lite"
            )
        if around.lite and not _ENVIRONMENT_NAME.fullmatch(name):
            what = f"{name!r} is a name that the lite nucleus refuses"
            yield RecipeFinding(at, what, "letters, digits and underscores", nucleus="lite")
