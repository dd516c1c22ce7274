"""The recipes that a workflow makes, checked without AWS: what is wrong with one becomes findings at its place."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator

from emflow.problems import Finding, Problem, Severity
from emflow.recipes.components import WorkflowComponent, application_component, own_component
from emflow.recipes.lint import lite
from emflow.recipes.lint.context import Target
from emflow.workflow.load import Checked
from emflow.workflow.model import Workflow
from emflow.workflow.partial import Unknown
from emflow.workflow.rules import files
from emflow.workflow.source.positions import KeyPath
from emflow.workflow.variables.limits import Budget

CODE = "EM076"
LITE = "EM077"
"""What only the lite nucleus refuses: a warning, unless the devices are known to have it."""

ANY_VERSION = "0.0.0"
"""For `auto`: which version comes next, only AWS knows; a template that writes another one is reported."""


def findings(checked: Checked, nucleus: Target | None = None) -> Iterator[Finding]:
    """Every mistake of every recipe, at the key in the workflow that the recipe comes from.

    A component whose template or folder is not there is left out: the workflow's own warning has said so (EM072). So
    is one whose part of the workflow has errors: its recipe would only repeat them. What the lite nucleus does not
    do of a workflow is reported of one without errors.

    Args:
        nucleus: the one on the devices. None: what only the lite nucleus refuses is a warning, without findings about
            what emflow itself makes, which the workflow's author cannot change.

    Raises:
        Problem: emflow itself is not wholly installed.
    """
    missing = {violation.place for violation in files.missing(checked.workflow)}
    budget = Budget()  # one for all templates: a workflow may have any number of components
    with contextlib.suppress(Unknown):
        yield from _of_application(checked, missing, budget, nucleus)
    with contextlib.suppress(Unknown):
        for index in range(len(checked.workflow.components)):
            with contextlib.suppress(Unknown):
                yield from _of_own(checked, index, missing, budget, nucleus)
    if nucleus is not Target.CLASSIC and not checked.errors:
        for violation in lite.violations(checked.workflow, asked=nucleus is not None):
            finding = checked.document.finding(LITE, *violation)
            severity: Severity = "warning" if nucleus is None else "error"
            yield dataclasses.replace(finding, severity=severity, nucleus="lite")


def _of_application(
    checked: Checked, missing: Collection[KeyPath], budget: Budget, nucleus: Target | None
) -> Iterator[Finding]:
    workflow = checked.workflow
    edge: KeyPath = ("edge", "component")
    if (*edge, "recipe") in missing or _has_errors(checked, ("edge",), ("cloud", "package"), ("cloud", "deployment")):
        return
    if files.LABELS in missing:  # they go into the zip, not into the recipe
        workflow = _without_labels(workflow)
    place = (*edge, "recipe") if workflow.edge.component.recipe is not None else edge
    yield from _of_recipe(checked, application_component(workflow, budget), place, nucleus)


def _of_own(
    checked: Checked, index: int, missing: Collection[KeyPath], budget: Budget, nucleus: Target | None
) -> Iterator[Finding]:
    place: KeyPath = ("components", index)
    if {(*place, "recipe"), (*place, "artifacts")} & set(missing) or _has_errors(checked, place):
        return
    try:
        ours = own_component(checked.workflow, checked.workflow.components[index], f"components[{index}]", budget)
    except Problem as problem:  # the folder; the template has not been read yet
        yield _finding(checked, (*place, "artifacts"), problem)
        return
    yield from _of_recipe(checked, ours, (*place, "recipe"), nucleus)


def _has_errors(checked: Checked, *sections: KeyPath) -> bool:
    return any(key_path[: len(section)] == section for key_path in checked.wrong for section in sections)


def _of_recipe(checked: Checked, ours: WorkflowComponent, place: KeyPath, nucleus: Target | None) -> Iterator[Finding]:
    try:
        rendered = ours.rendered(ANY_VERSION if ours.version == "auto" else ours.version)
    except Problem as problem:
        yield _finding(checked, place, problem)
        return
    for fault in rendered.findings(nucleus):
        if rendered.built_in and nucleus is None and fault.nucleus == "lite":
            continue
        where = f"line {fault.line} of its recipe" if fault.line else "its recipe"
        on = "" if fault.nucleus == "any" else f" on the {fault.nucleus} nucleus"
        would = f"would not work{on}" if fault.severity == "error" or fault.nucleus == "lite" else f"may not work{on}"
        message = f"{ours.name} {would}: {fault.about}: {fault.message} ({where})"
        finding = checked.document.finding(LITE if fault.nucleus == "lite" else CODE, place, message, fault.mend)
        yield dataclasses.replace(finding, severity=fault.severity, nucleus=fault.nucleus)


def _finding(checked: Checked, place: KeyPath, problem: Problem) -> Finding:
    what = f"{problem.where}: {problem.what}" if problem.where else problem.what
    return checked.document.finding(CODE, place, what, problem.mend)


def _without_labels(workflow: Workflow) -> Workflow:
    model_io = dataclasses.replace(workflow.edge.model_io, labels=None)
    return dataclasses.replace(workflow, edge=dataclasses.replace(workflow.edge, model_io=model_io))
