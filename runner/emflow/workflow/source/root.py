"""The root of a workflow: the folder that all its files have to be in. A workflow of a stranger reads no others.

`validate` runs on workflows of strangers, in CI with the secrets of CI in files and in the environment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from emflow.problems import Problem, UsageProblem
from emflow.workflow.source.safe_open import SHELL_PIPES

OPTION = "--root"


@dataclass(frozen=True)
class Root:
    """The folder that the files of a workflow have to be in."""

    folder: Path

    def holds(self, path: Path) -> bool:
        """Whether a path is in the folder when all symbolic links are resolved; it need not exist.

        Raises:
            ValueError: the path has a NUL in it.
        """
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder))

    def check(self, path: Path) -> Path:
        """The path itself, if the folder holds it.

        Raises:
            Problem: it leads out of the folder.
            ValueError: as for `holds`.
        """
        if self.holds(path):
            return path
        link = Path(os.path.abspath(path)).is_relative_to(os.path.abspath(self.folder))  # noqa: PTH100 links are kept
        how = "a symbolic link leads out of" if link else "is outside of"
        raise Problem(
            f"{how} the folder that the files of this workflow may be in, {self.folder.absolute()}",
            where=str(path),
            mend=f"put the file there, or allow a folder that has both with {OPTION} DIR",
        )


def refuse_missing(root: Path | None) -> None:
    """Check that the folder of --root exists.

    Raises:
        UsageProblem: it does not. Otherwise each file would be reported as outside of it.
    """
    if root is not None and not root.is_dir():
        what = "is not a folder" if root.exists() else "there is no such folder"
        raise UsageProblem(what, where=f"{OPTION} {root}", mend="give a folder that has the workflow's files in it")


def check_named_by_user(path: Path, root: Path | None) -> Path:
    """A file of the command line may be anywhere; but when it is a link, not one that leads out of its folder and root.

    In a checkout of a stranger's branch, the file that the user means may be such a link.

    Raises:
        Problem: as `Root.check`.
    """
    if str(path).startswith(SHELL_PIPES):
        return path
    try:
        if root is not None and Root(root).holds(path):
            return path
        return Root(path.parent).check(path)
    except ValueError:  # a NUL in the name: reading it reports that
        return path
