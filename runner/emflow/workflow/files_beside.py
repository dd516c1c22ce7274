"""The files beside a workflow: where they are, and which keys name one. No other module builds such a path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from emflow.problems import Problem
from emflow.workflow.model import Workflow
from emflow.workflow.rules.violation import Violation
from emflow.workflow.rules.walk import walk
from emflow.workflow.source.positions import KeyPath
from emflow.workflow.source.root import Root


def path_beside(workflow: Workflow, name: str) -> Path:
    """The path of a file or folder that a workflow names; it need not exist.

    Raises:
        Problem: it leads out of the workflow's root.
        ValueError: the name has a NUL in it.
    """
    return Root(Path(workflow.root or workflow.folder)).check(Path(workflow.folder, name))


def is_beside(workflow: Workflow, name: str) -> bool:
    """Whether a name leads to a path in the workflow's root; True for one with a NUL, which is no path at all."""
    try:
        path_beside(workflow, name)
    except Problem:
        return False
    except ValueError:
        return True
    return True


def named_files(workflow: Workflow) -> Iterator[tuple[KeyPath, str]]:
    """The value of every key that names a file or folder of the host, with its key path; addresses are left out."""
    for key_path, value, key in walk(workflow):
        if key.host_file and isinstance(value, str) and "://" not in value:
            yield key_path, value


def outside(workflow: Workflow) -> Iterator[Violation]:
    """Rule: the files that a workflow names are in its root. Imported files are read, and checked, before."""
    for key_path, name in named_files(workflow):
        try:
            path_beside(workflow, name)
        except Problem as problem:
            yield Violation(key_path, f"{problem.where}: {problem.what}", problem.mend)
        except ValueError:
            continue  # a NUL in the name: the rules that read the file report it
