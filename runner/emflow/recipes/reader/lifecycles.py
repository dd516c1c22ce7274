"""The lifecycle of a component: its steps and their scripts, for all manifests or for one.

A recipe-wide lifecycle may be narrowed by `Selections`, at the top, in each step and below, as the classic nucleus does
(PlatformResolver.filterPlatform in https://github.com/aws-greengrass/aws-greengrass-nucleus).
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from emflow.recipes.reader.finding import RecipeFinding
from emflow.recipes.reader.keys import LIFECYCLE, STEP, STEPS, documented_keys, repeated_keys
from emflow.recipes.reader.variables import has_variable, without_quotes
from emflow.workflow.source.positions import KeyPath

TRUE = ("true", "yes", "on", "t", "y", "Y")
FALSE = ("false", "no", "off", "f", "n", "N")
"""Texts that the classic nucleus takes for true, and what people write for false."""

_SKIP_IF = re.compile(r"\s*(?P<negated>!?)\s*(?P<test>onpath|exists)\s+(?P<argument>.+)")


@dataclass(frozen=True)
class Step:
    """One lifecycle step, variables not filled in.

    Args:
        bare: the step is a script only, not a map with `Script`.
        timeout: seconds, as a number in a text or with a variable; empty where there is none.
        privileged: `true`, `false`, or a text with a variable.
        on_rollback: a bootstrap step that runs when a failed deployment is rolled back, too.
    """

    name: str
    script: str
    bare: bool = False
    timeout: str = ""
    setenv: Mapping[str, str] = field(default_factory=dict)
    skip_if: str = ""
    privileged: str = "false"
    on_rollback: bool = False


@dataclass(frozen=True)
class Lifecycle:
    """The steps by their names in lower case, and the environment variables of all of them."""

    steps: Mapping[str, Step] = field(default_factory=dict)
    setenv: Mapping[str, str] = field(default_factory=dict)


def seconds(text: str) -> float:
    """A number of seconds above 0.

    Raises:
        ValueError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{text!r} is no number of seconds")
    return value


def skip_condition(text: str) -> tuple[bool, str, str] | None:
    """`onpath NAME` or `exists PATH`, perhaps after `!`, as (negated, test, argument); None where it is neither.

    Raises:
        ValueError: a quote in it is not closed.
    """
    found = _SKIP_IF.fullmatch(text)
    return (found["negated"] == "!", found["test"], " ".join(shlex.split(found["argument"]))) if found else None


def narrowed(found: Any, names: AbstractSet[str], selections: Sequence[str]) -> Any:
    """A recipe-wide lifecycle for one manifest; None where nothing of it is for that.

    Args:
        names: of all selections in the recipe, and `all`.
        selections: the manifest's, the most important first.
    """
    if not isinstance(found, dict):
        return found
    if not names & found.keys():
        kept = {key: narrowed(inner, names, selections) for key, inner in found.items()}
        return {key: inner for key, inner in kept.items() if inner is not None}
    for each in (*selections, "all"):
        if found.get(each) is not None:
            return narrowed(found[each], names, selections)
    return None


def lifecycle(found: Mapping[str, Any]) -> Lifecycle:
    """The steps of a lifecycle that has no errors, narrowed to one manifest."""
    known = documented_keys(found, LIFECYCLE)
    steps = (_step(name, known[name]) for name in STEPS if known.get(name) not in (None, {}))
    return Lifecycle({step.name: step for step in steps}, _setenv(known.get("Setenv")))


def _step(name: str, body: Any) -> Step:
    if isinstance(body, str):
        return Step(name, body, bare=True)
    step = documented_keys(body, STEP)
    timeout = step.get("Timeout")
    return Step(
        name,
        step.get("Script") or "",  # nothing, where a selection left nothing of it
        timeout="" if timeout is None else as_text(timeout),
        setenv=_setenv(step.get("Setenv")),
        skip_if=step.get("Skipif") or "",
        privileged=_truth(step.get("RequiresPrivilege")),
        on_rollback=_truth(step.get("BootstrapOnRollback")) == "true",
    )


def _truth(value: Any) -> str:
    """`true` or `false`, as the classic nucleus takes it; a text with a variable as it is."""
    text = as_text(value) if value is not None else "false"
    return text if has_variable(text) else str(text in TRUE).lower()


def _setenv(found: Any) -> dict[str, str]:
    return {name: as_text(value) for name, value in (found or {}).items()}


def as_text(value: Any) -> str:
    """A text, number or boolean as the classic nucleus makes it a text: `true`, not Python's `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


_Check = Callable[[Any, KeyPath], Iterator[RecipeFinding]]


def lifecycle_findings(found: Any, place: KeyPath, names: AbstractSet[str] = frozenset()) -> Iterator[RecipeFinding]:
    """Why no nucleus can run a lifecycle.

    Args:
        names: those of selections, for a recipe-wide one.
    """
    if found is None or without_quotes(found):
        return
    if not isinstance(found, dict):
        yield RecipeFinding(place, "has to be a map of steps", "for example: {run: python3 main.py}")
        return
    if names & found.keys():
        for name in sorted(names & found.keys()):
            yield from lifecycle_findings(found[name], (*place, name), names)
        return
    yield from repeated_keys(found, LIFECYCLE, place)
    for name, body in documented_keys(found, LIFECYCLE).items():
        if name in LIFECYCLE:
            check = _setenv_findings if name == "Setenv" else partial(_step_findings, names=names)
            yield from _for_each_selection(body, (*place, name), names, check)


def _for_each_selection(body: Any, place: KeyPath, names: AbstractSet[str], check: _Check) -> Iterator[RecipeFinding]:
    if isinstance(body, dict) and names & body.keys():
        for name in sorted(names & body.keys()):
            yield from _for_each_selection(body[name], (*place, name), names, check)
    else:
        yield from check(body, place)


def _step_findings(body: Any, place: KeyPath, names: AbstractSet[str]) -> Iterator[RecipeFinding]:
    if body is None or isinstance(body, str) or body == {} or without_quotes(body):
        return
    if not isinstance(body, dict):
        mend = (
            f'put "{as_text(body)}" in quotes'
            if isinstance(body, bool | int | float)
            else "for example: run: sh run.sh"
        )
        yield RecipeFinding(place, "has to be a script in a text, or a map with Script", mend)
        return
    yield from repeated_keys(body, STEP, place)
    step = documented_keys(body, STEP)
    for key, check in _OF_STEP.items():
        if key in step or key == "Script":
            yield from _for_each_selection(step.get(key), (*place, key), names, check)


def _script_findings(script: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    if script is None:
        yield RecipeFinding(place, "is missing", 'say what to run, for example: python3 "{artifacts:path}/main.py"')
    elif not isinstance(script, str) and not without_quotes(script):
        yield RecipeFinding(place, "has to be a script in a text", 'for example: python3 "{artifacts:path}/main.py"')


def _timeout_findings(timeout: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    if timeout is None or without_quotes(timeout) or (isinstance(timeout, str) and has_variable(timeout)):
        return
    try:
        if isinstance(timeout, bool) or not isinstance(timeout, str | int | float):
            raise ValueError
        seconds(str(timeout))
    except (ValueError, OverflowError):
        yield RecipeFinding(place, f"{shown(timeout)} is no number of seconds above 0", "for example: Timeout: 300")


def _truth_findings(value: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    if value is None or isinstance(value, bool) or without_quotes(value):
        return
    if not isinstance(value, str) or not (value in (*TRUE, *FALSE) or has_variable(value)):
        yield RecipeFinding(place, f"{shown(value)} is neither true nor false")


def _skip_if_findings(value: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    if value is None or without_quotes(value):
        return
    try:
        fine = isinstance(value, str) and (has_variable(value) or skip_condition(value))
    except ValueError:
        fine = False
    if not fine:
        yield RecipeFinding(
            place, f"{shown(value)} is no condition", "write onpath NAME or exists PATH, perhaps after !"
        )


def _setenv_findings(found: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    if found is None or without_quotes(found):
        return
    if not isinstance(found, dict):
        yield RecipeFinding(place, "has to be a map of names to texts", "for example: {NAME: value}")
        return
    for name, value in found.items():
        if not name or "=" in name:
            yield RecipeFinding((*place, name), f"{name!r} cannot be the name of an environment variable")
        if not isinstance(value, str | int | float) and not without_quotes(value):
            mend = 'write "" for an empty one' if value is None else "put it in quotes, or write it as JSON in a text"
            yield RecipeFinding((*place, name), f"has to be a text, this is {kind(value)}", mend)


_OF_STEP: Mapping[str, _Check] = {
    "Script": _script_findings,
    "Timeout": _timeout_findings,
    "RequiresPrivilege": _truth_findings,
    "BootstrapOnRollback": _truth_findings,
    "Skipif": _skip_if_findings,
    "Setenv": _setenv_findings,
}


def kind(value: Any) -> str:
    """What a value of JSON is, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return as_text(value)
    kinds = {dict: "a map", list: "a list", str: "a text"}
    return next((word for each, word in kinds.items() if isinstance(value, each)), f"the number {value}")


def shown(value: Any) -> str:
    """A value of JSON for a message: a text in quotes, what is long by its kind."""
    return repr(value) if isinstance(value, str) else kind(value)
