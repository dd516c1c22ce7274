"""The recipes that a workflow makes, checked without AWS: what is wrong with one becomes findings at its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from emflow.problems import Finding, Problem
from emflow.recipes.components import WorkflowComponent, application_component, own_component
from emflow.recipes.render import RecipeProblem
from emflow.workflow.load import Checked
from emflow.workflow.model import Workflow
from emflow.workflow.rules import files
from emflow.workflow.source.positions import KeyPath

CODE = "EM076"

ANY_VERSION = "0.0.0"
"""For `auto`: which version comes next, only AWS knows; a template that writes another one is reported."""


def findings(checked: Checked) -> Iterator[Finding]:
    """Every mistake of every recipe, at the key in the workflow that the recipe comes from.

    A component whose template or folder is not there is left out: the workflow's own warning has said so (EM072).

    Raises:
        Problem: emflow itself is not wholly installed.
    """
    workflow = checked.workflow
    missing = {violation.place for violation in files.missing(workflow)}
    if files.LABELS in missing:  # they go into the zip, not into the recipe
        workflow = _without_labels(workflow)
    edge: KeyPath = ("edge", "component")
    if (*edge, "recipe") not in missing:
        place = (*edge, "recipe") if workflow.edge.component.recipe is not None else edge
        yield from _of_recipe(checked, application_component(workflow), place)
    for index, component in enumerate(workflow.components):
        place = ("components", index)
        if {(*place, "recipe"), (*place, "artifacts")} & missing:
            continue
        try:
            ours = own_component(workflow, component, f"components[{index}]")
        except Problem as problem:  # the folder; the template has not been read yet
            yield _finding(checked, (*place, "artifacts"), problem)
            continue
        yield from _of_recipe(checked, ours, (*place, "recipe"))


def _of_recipe(checked: Checked, ours: WorkflowComponent, place: KeyPath) -> Iterator[Finding]:
    try:
        ours.recipe(ANY_VERSION if ours.version == "auto" else ours.version)
    except RecipeProblem as problem:
        for fault in problem.findings:
            where = f"line {fault.line} of its recipe" if fault.line else "its recipe"
            message = f"{ours.name} would not work: {fault.about}: {fault.message} ({where})"
            yield checked.document.finding(CODE, place, message, fault.mend)
    except Problem as problem:
        yield _finding(checked, place, problem)


def _finding(checked: Checked, place: KeyPath, problem: Problem) -> Finding:
    what = f"{problem.where}: {problem.what}" if problem.where else problem.what
    return checked.document.finding(CODE, place, what, problem.mend)


def _without_labels(workflow: Workflow) -> Workflow:
    model_io = dataclasses.replace(workflow.edge.model_io, labels=None)
    return dataclasses.replace(workflow, edge=dataclasses.replace(workflow.edge, model_io=model_io))
