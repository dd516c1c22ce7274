"""Writes files atomically, and keeps the output folder of `emflow render` up to date.

A file is written completely or not at all, so that a full disk does not destroy the version that was there. In the
output folder, files of an earlier render that are no longer part of the output are removed; the folder holds a list of
them, and no other file is touched.
"""

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
"""Paths such as `/dev/stdout`: the file behind them is open already, and must not be replaced."""

RENDER_LIST = ".emflow-render"
"""Lists the files of a render, one name a line; no other file in the folder is ever removed."""

MAX_LIST_BYTES = 1024 * 1024
ANOTHER_FOLDER = "give another folder with -o"
RENDERED = re.compile(r"deployment\.json|(recipes|artifacts|configuration)/.+")


def write_atomically(path: Path, data: bytes, *, mend: str, private: bool = False, folder: bool = False) -> None:
    """Write to a temporary file in the same folder, and rename it.

    An existing file keeps its permissions, and a symbolic link to it stays a link. A pipe or a terminal is written to
    directly.

    Args:
        mend: what the error says about how to fix it.
        private: readable by this user only, from its first byte on.
        folder: create the folder if it does not exist.

    Raises:
        Problem: it cannot be written; an existing file is unchanged.
    """
    try:
        if folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, data, private=private)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            why = f"{error.filename} is a file, not a folder"
        raise Problem(f"cannot be written: {why}", where=str(path), mend=mend) from error


def _write(path: Path, data: bytes, *, private: bool) -> None:
    try:
        existing = path.stat()
    except FileNotFoundError:
        existing = None
    if existing and (not S_ISREG(existing.st_mode) or os.path.abspath(path).startswith(DESCRIPTORS)):  # noqa: PTH100
        path.write_bytes(data)
        return
    if existing and not os.access(path, os.W_OK):  # renaming would replace it without this permission
        raise PermissionError(13, "Permission denied")
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}")
    mode = 0o600 if private or existing else 0o666
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
            file.flush()
            if existing and not private:
                os.fchmod(file.fileno(), S_IMODE(existing.st_mode))
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_render_folder(
    folder: Path, files: Mapping[str, bytes], private: Collection[str], component: str | None
) -> None:
    """Write the files of a render, and remove those of an earlier one that are no longer part of it.

    Args:
        files: name in the folder → content.
        private: names of the files that only this user may read.
        component: the files are those of this component only, so only its old files are removed.

    Raises:
        Problem: a file cannot be written or removed.
    """
    before = _read_list(folder)
    # The list first, with old and new names: after an interruption it must not lack any file.
    _write_list(folder, before | files.keys())
    for name, data in files.items():
        write_atomically(folder / name, data, mend=ANOTHER_FOLDER, private=name in private, folder=True)
    old = {name for name in before - files.keys() if component is None or _belongs_to(component, name)}
    for name in old:
        _remove(folder, name)
    _write_list(folder, (before | files.keys()) - old)


def _read_list(folder: Path) -> set[str]:
    try:
        names = read_text(folder / RENDER_LIST, MAX_LIST_BYTES).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except (OSError, ValueError, Problem) as error:
        raise Problem(f"cannot be read: {error}", where=str(folder / RENDER_LIST), mend=ANOTHER_FOLDER) from None
    # The list may come from somebody else, with the folder: it must not name files outside of it.
    return {name for name in names if RENDERED.fullmatch(name) and ".." not in PurePosixPath(name).parts}


def _write_list(folder: Path, names: Collection[str]) -> None:
    write_atomically(
        folder / RENDER_LIST, "".join(f"{name}\n" for name in sorted(names)).encode(), mend=ANOTHER_FOLDER, folder=True
    )


def _belongs_to(component: str, name: str) -> bool:
    exact = re.escape(component)
    pattern = rf"recipes/{exact}-\d+\.\d+\.\d+[^/]*|artifacts/{exact}/.+|configuration/{exact}\.json"
    return re.fullmatch(pattern, name) is not None


def _remove(folder: Path, name: str) -> None:
    path = folder / name
    if folder.resolve() not in path.parent.resolve().parents and path.parent.resolve() != folder.resolve():
        return  # a symbolic link now leads out of the folder
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise Problem(f"cannot be removed: {error.strerror}", where=str(path), mend=ANOTHER_FOLDER) from error
    for parent in list(path.parents)[: len(PurePosixPath(name).parts) - 1]:
        try:
            parent.rmdir()
        except OSError:  # it holds other files
            break
