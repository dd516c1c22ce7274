"""Plans the components of a deployment before they start: recipe, configuration, and scripts with their variables.

Recipe variables, such as `{artifacts:decompressedPath}` or `{configuration:/topic}`:
https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html#recipe-variables. An unknown
one stays in the text, as in the real nucleus: a shell's own `${NAME}` and `{a,b}` must not be changed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from emflow.json_text import to_json
from emflow.recipes.reader.recipe import Artifact
from emflow.recipes.reader.structure import GENERIC, NUCLEUS
from emflow_emulator.core.configuration import Configuration, find, pointer_keys
from emflow_emulator.core.layout import Layout
from emflow_emulator.core.nuclei import CLASSIC, NucleusModel
from emflow_emulator.core.recipe import Recipe, Step
from emflow_emulator.core.token_exchange import TOKEN_EXCHANGE

_VARIABLE = re.compile(r"\{(?:(?P<component>[\w.-]+):)?(?P<namespace>[\w-]+):(?P<key>[^:}]*)\}")


@dataclass(frozen=True)
class ComponentValues:
    """The values of one component that recipe variables can refer to."""

    name: str
    version: str
    configuration: Mapping[str, Any]


def interpolate(
    text: str, me: ComponentValues, dependencies: Mapping[str, ComponentValues], layout: Layout, thing: str
) -> str:
    """Fill in the variables of one script, as the classic nucleus does: what is no variable stays as it is.

    Args:
        me: the component of the script.
        dependencies: its direct dependencies, the only other components to which a script may refer.
    """

    def value(variable: re.Match[str]) -> str:
        about = dependencies.get(variable["component"]) if variable["component"] else me
        answer = _value(variable["namespace"], variable["key"], about, layout, thing) if about else None
        return variable[0] if answer is None else answer

    return _VARIABLE.sub(value, text)


def interpolate_until_braces(text: str, me: ComponentValues, layout: Layout, thing: str) -> tuple[str, bool]:
    """Fill in the variables of one script, as the lite nucleus does: it ends at braces that are no variable.

    Returns:
        The script, and whether it is complete.
    """
    result, done = "", 0
    while (brace := text.find("{", done)) >= 0:
        result += text[done:brace]
        variable = _VARIABLE.match(text, brace)
        value = None
        if variable and not variable["component"] and not _is_in_a_list(variable, me.configuration):
            value = _value(variable["namespace"], variable["key"], me, layout, thing)
        if variable is None or value is None:
            return result, False
        result, done = result + value, variable.end()
    return result + text[done:], True


def _is_in_a_list(variable: re.Match[str], configuration: Mapping[str, Any]) -> bool:
    """Whether a variable is for an element of a list, or for something in one."""
    if variable["namespace"] != "configuration":
        return False
    keys = pointer_keys(variable["key"])
    try:
        return any(isinstance(find(configuration, keys[:at]), list) for at in range(len(keys)))
    except KeyError:
        return False


def _value(namespace: str, key: str, about: ComponentValues, layout: Layout, thing: str) -> str | None:
    match namespace, key:
        case "configuration", pointer:
            return _configured(about, pointer)
        case "artifacts", "path":
            return str(layout.artifacts(about.name, about.version))
        case "artifacts", "decompressedPath":
            return str(layout.unarchived(about.name, about.version))
        case "work", "path":
            return str(layout.work(about.name))
        case "kernel", "rootPath":
            return str(layout.root)
        case "iot", "thingName":
            return thing
    return None


def _configured(about: ComponentValues, pointer: str) -> str | None:
    """A configured value as text: a string unchanged, any other value as JSON."""
    if not pointer.startswith("/"):
        return None
    try:
        value = find(about.configuration, pointer_keys(pointer))
    except KeyError:
        return None
    return value if isinstance(value, str) else to_json(value, separators=(",", ":"))


@dataclass(frozen=True)
class Plan:
    """A component as a deployment defines it; a component whose plan stays equal is not restarted.

    Configuration is part of it only where it is filled into a script: the component is notified of other changes over
    IPC.

    `steps` have their variables filled in. `builtin`: a part of the device itself, which runs while it is deployed.
    `configured`: the last deployment with a configurationUpdate, where the nucleus restarts the component for that.
    """

    name: str
    version: str
    builtin: bool = False
    root: bool = field(default=True, compare=False)
    hard: frozenset[str] = frozenset()
    soft: frozenset[str] = frozenset()
    steps: Mapping[str, Step] = field(default_factory=dict)
    setenv: Mapping[str, str] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    configured: str = ""

    def installs_like(self, other: Plan) -> bool:
        """Whether the install step of the other plan need not be repeated for this one."""
        mine, others = ((each.version, each.artifacts, each.steps.get("install")) for each in (self, other))
        return mine == others


def plans(
    recipes: Mapping[str, Recipe],
    configurations: Mapping[str, Configuration],
    roots: Collection[str],
    layout: Layout,
    thing: str,
    nucleus: NucleusModel = CLASSIC,
) -> dict[str, Plan]:
    """The plans of all components, by name.

    Args:
        roots: the components that a deployment names; the others are their dependencies.
    """
    subjects = {
        name: ComponentValues(name, recipe.version, configurations[name].values) for name, recipe in recipes.items()
    }
    return {name: _plan(recipe, subjects, name in roots, layout, thing, nucleus) for name, recipe in recipes.items()}


def _plan(
    recipe: Recipe,
    subjects: Mapping[str, ComponentValues],
    root: bool,
    layout: Layout,
    thing: str,
    nucleus: NucleusModel,
) -> Plan:
    me = subjects[recipe.name]
    dependencies = {name: subjects[name] for name in recipe.dependencies if name in subjects}

    def filled(text: str) -> str:
        if nucleus.braces_end_scripts:
            return interpolate_until_braces(text, me, layout, thing)[0]
        return interpolate(text, me, dependencies, layout, thing)

    def filled_step(step: Step) -> Step:
        variables = (*recipe.setenv.values(), *step.setenv.values())
        # The lite nucleus writes the variables into the script, before everything else.
        if nucleus.braces_end_scripts and not all(
            interpolate_until_braces(each, me, layout, thing)[1] for each in variables
        ):
            return dataclasses.replace(step.filled(filled), script="")
        return step.filled(filled)

    part_of_device = recipe.kind not in (GENERIC, NUCLEUS) or recipe.name == TOKEN_EXCHANGE
    return Plan(
        name=recipe.name,
        version=recipe.version,
        builtin=nucleus.builtins and part_of_device,
        root=root,
        hard=frozenset(name for name, dependency in recipe.dependencies.items() if dependency.hard),
        soft=frozenset(name for name, dependency in recipe.dependencies.items() if not dependency.hard),
        steps={name: filled_step(step) for name, step in recipe.steps.items()},
        setenv={name: filled(value) for name, value in recipe.setenv.items()},
        artifacts=recipe.artifacts,
    )
