"""The file of device names that a workflow may point at: one name a line, `#` begins a comment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from emflow.problems import Problem
from emflow.workflow.files_beside import is_beside, path_beside
from emflow.workflow.model import DEVICE_NAME, Workflow
from emflow.workflow.rules.violation import Violation
from emflow.workflow.source.positions import KeyPath
from emflow.workflow.source.safe_open import read_text

PLACE: KeyPath = ("cloud", "fleet", "devices_file")

MOST_BYTES = 16 * 1024 * 1024
"""A fleet of a quarter of a million devices, with the longest names that there are."""


def named_devices(workflow: Workflow) -> tuple[str, ...]:
    """The devices that the workflow names itself, in its list and in its file, each once, in order.

    Raises:
        Problem: the file is missing, is no text, or has a name in it that no device can have.
    """
    fleet = workflow.cloud.fleet
    listed = () if fleet.devices_file is None else read(path_beside(workflow, fleet.devices_file))
    return tuple(dict.fromkeys((*fleet.devices, *listed)))


def read(path: Path) -> tuple[str, ...]:
    """The names in a file, each once. Raises as `named_devices` does."""
    try:
        text = read_text(path, MOST_BYTES)
    except (OSError, ValueError, Problem) as error:
        why = error.what if isinstance(error, Problem) else getattr(error, "strerror", None) or "it is not UTF-8"
        raise Problem(
            f"the file of devices cannot be read: {why}",
            where=str(path),
            mend="Correct cloud.fleet.devices_file; its path starts at the workflow's folder.",
        ) from error
    names: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name = line.partition("#")[0].strip()
        # The text itself is not quoted: what is no list of devices may hold secrets.
        if name and not re.fullmatch(DEVICE_NAME, name):
            raise Problem(
                "this is no device name: Edge Manager takes 1 to 63 letters, digits and dashes",
                where=f"{path}:{number}:{line.index(name) + 1}",
                mend="One name a line, with a letter or digit at both ends; # begins a comment.",
            )
        if name:
            names[name] = None
    return tuple(names)


def devices_file(workflow: Workflow) -> Iterator[Violation]:
    """A file that is not there yet is no mistake of the workflow; it is missed when it is needed."""
    name = workflow.cloud.fleet.devices_file
    if name is not None and is_beside(workflow, name) and Path(workflow.folder, name).exists():
        try:
            read(path_beside(workflow, name))
        except Problem as problem:
            yield Violation(PLACE, f"{problem.where}: {problem.what}", problem.mend)
