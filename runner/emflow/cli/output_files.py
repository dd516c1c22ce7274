"""Files that commands write: whole or not at all, so that a full disk costs nobody the good one that was there."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from stat import S_IMODE, S_ISREG

from emflow.problems import Problem
from emflow.workflow.source.safe_open import read_text

DESCRIPTORS = ("/dev/", "/proc/")
"""`/dev/stdout` and its like: what is behind them is open already, and must stay the same file."""


def write_whole(path: Path, data: bytes, *, mend: str, private: bool = False, folder: bool = False) -> None:
    """Write a file beside its place and put it there in one step.

    A file that was there keeps its permissions, and its link if it was behind one. What is no file (a pipe, a
    terminal) is written into as it is.

    Args:
        mend: what to do when that cannot be done.
        folder: make the folder it goes to, where there is none.
        private: for nobody but whoever runs this, from its first byte on.

    Raises:
        Problem: it cannot be written; what was there is as it was.
    """
    try:
        if folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, data, private=private)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        raise Problem(f"cannot be written: {why}", where=str(path), mend=mend) from error


def _write(path: Path, data: bytes, *, private: bool) -> None:
    try:
        there = path.stat()
    except FileNotFoundError:
        there = None
    if there and (not S_ISREG(there.st_mode) or os.path.abspath(path).startswith(DESCRIPTORS)):  # noqa: PTH100
        path.write_bytes(data)
        return
    if there and not os.access(path, os.W_OK):  # a replacement would not ask
        raise PermissionError(13, "Permission denied")
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}")
    mode = 0o600 if private or there else 0o666
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
            file.flush()
            if there and not private:
                os.fchmod(file.fileno(), S_IMODE(there.st_mode))
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


# The folder that `emflow render` writes: it remembers which files are its own, and takes away those that are old.


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
