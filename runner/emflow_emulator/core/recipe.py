"""Recipes as a core device reads them: the manifest for its platform, with the times of the classic nucleus.

What a recipe means, `emflow.recipes.reader` knows, for this device as for the cloud and the check of workflows.
"""

from __future__ import annotations

import dataclasses
import platform as host
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emflow.recipes.reader import lifecycles
from emflow.recipes.reader.keys import TOP, documented_keys
from emflow.recipes.reader.lifecycles import seconds
from emflow.recipes.reader.platforms import is_pattern
from emflow.recipes.reader.recipe import Artifact, Dependency, read
from emflow.recipes.reader.recipe import Recipe as WholeRecipe
from emflow.recipes.reader.structure import GENERIC
from emflow.recipes.reader.variables import has_variable
from emflow_emulator.architecture import of_this_machine
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.nuclei import CLASSIC, NucleusModel

TIMEOUTS = {
    "bootstrap": 120.0,
    "install": 120.0,
    "startup": 120.0,
    "shutdown": 15.0,
    "recover": 60.0,
    "uninstall": 120.0,
}
"""Default limit of a step in seconds; `run` has none."""


@dataclass(frozen=True)
class Step:
    """One lifecycle step. `key` is its name in the logs, such as `run.script`; `timeout` is in seconds.

    `on_rollback`: a bootstrap step that runs when a failed deployment is rolled back, too. `timeout_text` and
    `privileged_text` have a variable, whose value the component's configuration has.
    """

    name: str
    key: str
    script: str
    timeout: float | None = None
    setenv: Mapping[str, str] = field(default_factory=dict)
    skip_if: str = ""
    privileged: bool = False
    on_rollback: bool = False
    timeout_text: str = ""
    privileged_text: str = ""

    def filled(self, fill: Callable[[str], str]) -> Step:
        """With its variables filled in by `fill`.

        Raises:
            DeploymentFailure: the time is then no number of seconds.
        """
        timeout, privileged = self.timeout, self.privileged
        if self.timeout_text:
            text = fill(self.timeout_text)
            try:
                timeout = _seconds(text)
            except ValueError as error:
                what = f"Timeout of the step {self.name}, {self.timeout_text}: {error}"
                raise DeploymentFailure(what, *_PARSING) from error
        if self.privileged_text:
            privileged = fill(self.privileged_text) in lifecycles.TRUE
        return dataclasses.replace(
            self,
            script=fill(self.script),
            skip_if=fill(self.skip_if),
            setenv={name: fill(value) for name, value in self.setenv.items()},
            timeout=timeout,
            privileged=privileged,
            timeout_text="",
            privileged_text="",
        )


@dataclass(frozen=True)
class Recipe:
    """A component version for this device's platform. `text` is what it was read from."""

    name: str
    version: str
    kind: str = GENERIC
    dependencies: Mapping[str, Dependency] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    steps: Mapping[str, Step] = field(default_factory=dict)
    setenv: Mapping[str, str] = field(default_factory=dict)
    text: str = field(default="", repr=False, compare=False)


def device_platform(architecture: str = "", nucleus: NucleusModel = CLASSIC) -> dict[str, str]:
    """The device's platform attributes, as the nucleus has them.

    Args:
        architecture: the one that the device says it has; empty for that of this machine.
    """
    return {
        "os": host.system().lower(),
        "architecture": architecture or of_this_machine(),
        "runtime": nucleus.runtime,
    }


_PARSING = ("COMPONENT_PACKAGE_LOADING_ERROR", "RECIPE_PARSE_ERROR")


def parse(text: str | bytes, platform: Mapping[str, str], nucleus: NucleusModel = CLASSIC) -> Recipe:
    """Read a recipe, JSON or YAML, and pick the first manifest for `platform`.

    Raises:
        DeploymentFailure: it is not a recipe, has no manifest for this platform, or no step that the nucleus runs.
    """
    reading = read(text)
    recipe = reading.recipe
    if recipe is None:
        values = reading.text.value
        name = documented_keys(values, TOP).get("ComponentName") if isinstance(values, dict) else None
        whose = f" of {name}" if isinstance(name, str) else ""
        wrong = "; ".join(map(str, reading.errors))
        raise DeploymentFailure(f"Failed to parse recipe{whose}: {wrong}", *_PARSING)
    found = {name for each in recipe.manifests for name in each.lifecycle.steps}
    if nucleus.needed_steps and not found & set(nucleus.needed_steps):
        raise DeploymentFailure(
            f"Component {recipe.name} version {recipe.version}: Lifecycle with no phase. The {nucleus.name} nucleus "
            f"needs one of: {', '.join(nucleus.needed_steps)}",
            *_PARSING,
        )
    manifest = _usable(recipe, nucleus).manifest_for(platform)
    if manifest is None:
        has = ", ".join(f"{key}={value}" for key, value in platform.items())
        wanted = "; ".join(str(dict(each.platform)) for each in recipe.manifests)
        raise DeploymentFailure(
            f"Component {recipe.name} version {recipe.version} has no manifest for this device's platform ({has}); "
            f"its manifests are for: {wanted}",
            "NO_AVAILABLE_COMPONENT_VERSION",
            "COMPONENT_VERSION_REQUIREMENTS_NOT_MET",
        )
    steps = {name: step for name, step in manifest.lifecycle.steps.items() if name in nucleus.steps}
    return Recipe(
        name=recipe.name,
        version=recipe.version,
        kind=recipe.kind,
        dependencies=recipe.dependencies,
        defaults=recipe.defaults,
        artifacts=manifest.artifacts,
        steps={name: _step(step, nucleus) for name, step in steps.items()},
        setenv=manifest.lifecycle.setenv,
        text=text if isinstance(text, str) else text.decode(),
    )


def _usable(recipe: WholeRecipe, nucleus: NucleusModel) -> WholeRecipe:
    """The recipe without the manifests that the nucleus ignores."""
    if nucleus.any_runtime:
        return recipe
    manifests = (
        each
        for each in recipe.manifests
        if {"os", "runtime"} <= each.platform.keys() and not any(map(is_pattern, each.platform.values()))
    )
    return dataclasses.replace(recipe, manifests=tuple(manifests))


def _step(step: lifecycles.Step, nucleus: NucleusModel) -> Step:
    late = has_variable(step.timeout)
    return Step(
        name=step.name,
        key=step.name if step.bare else f"{step.name}.script",
        script=step.script,
        timeout=_seconds(step.timeout) if step.timeout and not late else TIMEOUTS.get(step.name),
        setenv=step.setenv,
        skip_if=step.skip_if if nucleus.skips else "",
        privileged=step.privileged == "true",
        on_rollback=step.on_rollback,
        timeout_text=step.timeout if late else "",
        privileged_text=step.privileged if has_variable(step.privileged) else "",
    )


def _seconds(text: str) -> float:
    """A number of seconds, limited to what a thread can wait. Raises ValueError when it is none."""
    return min(seconds(text), threading.TIMEOUT_MAX)
