"""Recipes as they are written in public, each with what either nucleus does with it.

They have the essence of public ones: of AWS's documentation and development kit, of its laboratories' components, of
workshops and of questions about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Known:
    """What is known of a recipe.

    Args:
        classic: empty where the classic nucleus runs it on Linux, else a part of what the check says.
        lite: a part of each error that the check has for the lite nucleus, without order.
    """

    classic: str = ""
    lite: tuple[str, ...] = ()


CASE = "in another case"
NO_RUNTIME = "has no `runtime`"
NO_MANIFEST = "has none for the lite nucleus"

CORPUS = {
    "first-steps.json": Known(lite=(NO_RUNTIME, CASE, CASE)),
    "both-nuclei.yaml": Known(),
    "database-in-a-container.yaml": Known(lite=(NO_MANIFEST,)),
    "files-for-another.json": Known(lite=(CASE, "has no step that the lite nucleus runs")),
    "recipe-wide-lifecycle.yaml": Known(lite=("is not where the lite nucleus looks for it",)),
    "selections.yaml": Known(lite=("is not where the lite nucleus looks for it",)),
    "selection-of-all.yaml": Known(),
    "virtual-environment.yaml": Known(lite=(NO_RUNTIME, CASE, CASE, CASE)),
    "unpacked-by-itself.json": Known(lite=(NO_RUNTIME, CASE, CASE, CASE)),
    "from-the-configuration.yaml": Known(lite=("cannot read", "is no whole number", "Skipif")),
    "with-a-secret.yaml": Known(lite=("gets no secrets", "GetSecretValue is a call")),
    "with-a-shadow.yaml": Known(lite=("is a plugin", "GetThingShadow is a call", "UpdateThingShadow is a call")),
    "service-with-startup.yaml": Known(
        lite=(
            NO_RUNTIME,
            "regular expression",
            "is missing, and the lite nucleus wants it",
            *(CASE,) * 4,
            "Skipif",
            *("is no whole number",) * 2,
            *("is a step that the lite nucleus lacks",) * 2,
        )
    ),
    "bootstrap-writes-a-file.yaml": Known(lite=(NO_RUNTIME, CASE, CASE, CASE, "braces that are no variable")),
    "model-that-only-installs.yaml": Known(lite=("only installs",)),
    "plugin-of-the-nucleus.json": Known(lite=(NO_MANIFEST,)),
    "only-for-windows.yaml": Known("has none for linux", ("has none for linux",)),
    "only-for-lite.yaml": Known("has none for the classic nucleus"),
    "number-in-a-script.yaml": Known(),
    "asks-its-dependency.yaml": Known(lite=("is HARD", "{com.example.Model:artifacts:path}")),
    "shell-with-braces.yaml": Known(lite=("{1..3}, ${number}, ${ROOT:-/}",)),
    "environment-of-numbers.yaml": Known(lite=("the number 8080", "this is true")),
    "list-in-the-configuration.yaml": Known(lite=("at elements of lists: {configuration:/servers/0}",)),
    "keys-in-every-case.yaml": Known(lite=(CASE,) * 21),
    "unknown-keys.yaml": Known(),
    "template-of-the-kit.yaml": Known("placeholder", (*("placeholder",) * 3, NO_RUNTIME, CASE)),
    "placeholder-of-a-workshop.yaml": Known("placeholder", ("placeholder", NO_RUNTIME, CASE, CASE)),
    "switched-on-at-eight.yaml": Known("YAML reads as true", ("reads as true", "reads as false")),
    "registers-by-number.yaml": Known("YAML reads as a number", ("reads as a number",)),
    "variable-without-quotes.yaml": Known("is a map to YAML", ("is a map to YAML",)),
    "version-as-a-number.yaml": Known("the number 1.0", ("the number 1.0",)),
    "without-manifests.json": Known("one at least", ("one at least",)),
    "step-without-a-script.yaml": Known("Script (line 6): is missing", ("Script (line 6): is missing",)),
    "needs-no-version.yaml": Known("VersionRequirement (line 5): is missing", ("VersionRequirement",)),
}
