"""Checks of the components that a recipe depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from emflow.recipes.lint.context import RecipeContext
from emflow.recipes.lint.keys import key_findings
from emflow.recipes.reader.finding import RecipeFinding
from emflow.recipes.reader.keys import DEPENDENCY, documented_keys
from emflow.workflow.source.positions import KeyPath

OF_LITE = ("aws.greengrass.Nucleus", "aws.greengrass.NucleusLite", "aws.greengrass.TokenExchangeService")
"""Dependencies that the lite nucleus meets by itself, so their type does not matter."""

PLUGINS = (
    "aws.greengrass.Cli",
    "aws.greengrass.DiskSpooler",
    "aws.greengrass.DockerApplicationManager",
    "aws.greengrass.LambdaManager",
    "aws.greengrass.LocalDebugConsole",
    "aws.greengrass.LogManager",
    "aws.greengrass.SecretManager",
    "aws.greengrass.ShadowManager",
    "aws.greengrass.crypto.Pkcs11Provider",
    "aws.greengrass.telemetry.NucleusEmitter",
)
"""AWS's components that run inside the classic nucleus, and so on no other.

https://docs.aws.amazon.com/greengrass/v2/developerguide/public-components.html, type "Plugin".
"""


def dependencies(found: Mapping[str, Any], known: RecipeContext, *, lite: bool) -> Iterator[RecipeFinding]:
    """Dependencies that the workflow needs and the recipe does not name, and what the lite nucleus makes of them."""
    top: KeyPath = ("ComponentDependencies",)
    for name in known.dependencies:
        if name not in found:
            mend = "write {{ dependencies | json }} into the template"
            yield RecipeFinding(top, f"does not name {name}, which this component needs", mend)
    for name, wanted in found.items():
        if not isinstance(wanted, dict):
            continue
        place = (*top, name)
        yield from key_findings(wanted, DEPENDENCY, place, lite=lite)
        if lite:
            yield from _for_lite(name, documented_keys(wanted, DEPENDENCY).get("DependencyType"), place)


def _for_lite(name: str, given: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    if name in PLUGINS:
        what = "is a plugin of the classic nucleus, which the lite nucleus lacks"
        if name == "aws.greengrass.SecretManager":
            what += ": a component gets no secrets there"
        yield RecipeFinding(place, what, "do without it on the lite nucleus", nucleus="lite")
        return
    if name in OF_LITE:
        return
    at, mend = (*place, "DependencyType"), "write SOFT, and let the program wait for what it needs"
    if given is None:
        what = "is missing: the classic nucleus takes it for HARD, and the lite nucleus waits for nothing"
        yield RecipeFinding(at, what, mend, nucleus="lite")
    elif str(given).upper() == "HARD":
        what = (
            "is HARD: the lite nucleus fails where the dependency only installs, and does not start this component "
            "again when the dependency comes back"
        )
        yield RecipeFinding(at, what, mend, nucleus="lite")
