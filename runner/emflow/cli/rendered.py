"""The folder that `emflow render` writes: it remembers which files are its own, and takes away those that are old."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from emflow.cli.output_files import write_whole
from emflow.problems import Problem
from emflow.workflow.source.safe_open import read_text

LIST = ".emflow-render"
"""The names of the files that a render wrote, one a line; nothing else in the folder is ever taken away."""

MOST_BYTES = 1024 * 1024
MEND = "give another folder with -o"
OWN = re.compile(r"deployment\.json|(recipes|artifacts|configuration)/.+")


def write_rendered(folder: Path, made: Mapping[str, bytes], private: Collection[str], component: str | None) -> None:
    """Write the files, and remove those of an earlier render that this one no longer makes.

    Args:
        made: name in the folder → content.
        private: the names that are for nobody else.
        component: only what belongs to it is made, so only what belongs to it is removed.

    Raises:
        Problem: a file cannot be written or removed.
    """
    before = _listed(folder)
    # First the list with all of both: after an interruption there is nothing of ours that it does not know.
    _list(folder, before | made.keys())
    for name, data in made.items():
        write_whole(folder / name, data, mend=MEND, private=name in private, folder=True)
    old = {name for name in before - made.keys() if component is None or _belongs(name, component)}
    for name in old:
        _remove(folder, name)
    _list(folder, (before | made.keys()) - old)


def _listed(folder: Path) -> set[str]:
    try:
        names = read_text(folder / LIST, MOST_BYTES).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except (OSError, ValueError, Problem) as error:
        raise Problem(f"cannot be read: {error}", where=str(folder / LIST), mend=MEND) from None
    # Whoever sent the folder may have written the list: it names nothing outside.
    return {name for name in names if OWN.fullmatch(name) and ".." not in PurePosixPath(name).parts}


def _list(folder: Path, names: Collection[str]) -> None:
    write_whole(folder / LIST, "".join(f"{name}\n" for name in sorted(names)).encode(), mend=MEND, folder=True)


def _belongs(name: str, component: str) -> bool:
    exact = re.escape(component)
    own = rf"recipes/{exact}-\d+\.\d+\.\d+[^/]*|artifacts/{exact}/.+|configuration/{exact}\.json"
    return re.fullmatch(own, name) is not None


def _remove(folder: Path, name: str) -> None:
    path = folder / name
    if folder.resolve() not in path.parent.resolve().parents and path.parent.resolve() != folder.resolve():
        return  # a link leads elsewhere by now
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise Problem(f"cannot be removed: {error.strerror}", where=str(path), mend=MEND) from error
    for parent in list(path.parents)[: len(PurePosixPath(name).parts) - 1]:
        try:
            parent.rmdir()
        except OSError:  # somebody else's files are in it
            break
