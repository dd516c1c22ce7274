"""Whether a step is left out, by the condition `Skipif` of its recipe."""

from __future__ import annotations

import os
from collections.abc import Callable

from emflow.recipes.reader.lifecycles import skip_condition
from emflow_emulator.core.recipe import Step


class BadSkipIf(Exception):
    """The condition is none of those that there are."""


def is_skipped(step: Step, finds: Callable[[str], bool]) -> bool:
    """Whether the condition of a step is met; a step without one is never skipped.

    Args:
        finds: whether a program is on the device's PATH.

    Raises:
        BadSkipIf: it has another form than `onpath NAME` or `exists PATH`.
    """
    if not step.skip_if.strip():
        return False
    condition = skip_condition(step.skip_if)
    if condition is None:
        raise BadSkipIf(f"Invalid format for Skipif of {step.name}: {step.skip_if}")
    negated, test, argument = condition
    # Path.expanduser raises an exception where there is no home folder.
    is_met = finds(argument) if test == "onpath" else os.path.exists(os.path.expanduser(argument))  # noqa: PTH110, PTH111
    return is_met != negated
