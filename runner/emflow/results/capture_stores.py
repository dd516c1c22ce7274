"""Stores of captured data: a local folder or an S3 bucket, and their batches, newest first.

Agents write batches as `<prefix>/<fleet>/<model>/YYYY/MM/DD/HH/<name>.jsonl`.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from emflow.problems import Problem
from emflow.workflow.source.safe_open import read_regular

HOUR = re.compile(r"\d{4}/\d\d/\d\d/\d\d")
MAX_DEPTH = 12
"""Levels of folders above the year: those of the prefix, fleet and model."""


MOST_BYTES = 1024**3
"""Bytes of one object; an agent's batches and tensors are far smaller."""


class Unreadable(Exception):
    """An object that is there and cannot be read, while others may be. The message says why."""


@dataclass(frozen=True)
class Children:
    """The content of one folder: names of folders, and names of files with their last change (Unix time)."""

    folders: tuple[str, ...]
    files: tuple[tuple[str, float], ...]


class CaptureStore(Protocol):
    """A tree of objects. Keys and prefixes are like those of S3: with slashes, but without a leading one."""

    def children(self, prefix: str) -> Children:
        """The content of the folder `prefix`, which ends with a slash; none when there is none. Raises Unreadable."""

    def read(self, key: str) -> bytes | None:
        """An object's bytes; None when it does not exist. Raises Unreadable."""

    def __str__(self) -> str: ...


class FolderStore:
    """A local folder, such as an agent's CaptureDataDiskPath or a copy of it.

    Raises:
        Problem: it does not exist, or cannot be read.
    """

    def __init__(self, root: Path) -> None:
        try:
            with os.scandir(root):
                pass
        except OSError as error:
            known = {errno.ENOENT: "there is no such folder", errno.ENOTDIR: "is not a folder"}
            what = known.get(error.errno or 0, f"cannot be read: {error.strerror}")
            mend = "Give a folder that can be read, s3://BUCKET, or a workflow (.yaml)."
            raise Problem(what, where=str(root), mend=mend) from None
        self._root = root

    def children(self, prefix: str) -> Children:
        folders, files = [], []
        try:
            with os.scandir(self._root / prefix) as found:
                for each in found:
                    with contextlib.suppress(OSError):  # it has just been removed, or is a broken link
                        if each.is_dir():
                            folders.append(each.name)
                        elif each.is_file():
                            files.append((each.name, each.stat().st_mtime))
        except (FileNotFoundError, NotADirectoryError):
            return Children((), ())
        except OSError as error:
            raise Unreadable(f"the folder cannot be read: {error.strerror}") from None
        return Children(tuple(folders), tuple(files))

    def read(self, key: str) -> bytes | None:
        try:
            return read_regular(self._root / key, MOST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, Problem) as error:
            raise Unreadable(
                f"cannot be read: {error.what if isinstance(error, Problem) else error.strerror}"
            ) from None

    def __str__(self) -> str:
        return str(self._root)


def batches(
    store: CaptureStore,
    prefix: str = "",
    model: str | None = None,
    unreadable: Callable[[str], object] = lambda _: None,
) -> Iterator[str]:
    """The keys of all batches below a prefix, newest first.

    Args:
        prefix: ends with a slash, or is empty.
        model: only batches of this model.
        unreadable: gets a message for each folder that cannot be read; what is in the others is there.
    """
    tree = _Tree(store, unreadable)
    by_model = [
        tree.batches_of_model(each) for each in tree.model_prefixes(prefix) if model in (None, _last_folder(each))
    ]
    for _, _, key in heapq.merge(*by_model, reverse=True):
        yield key


class _Tree:
    """The folders of a store, of which some cannot be read."""

    def __init__(self, store: CaptureStore, unreadable: Callable[[str], object]) -> None:
        self._store = store
        self._unreadable = unreadable

    def model_prefixes(self, prefix: str, depth: int = 0) -> Iterator[str]:
        """The prefixes whose folders are years."""
        folders = self._children(prefix).folders
        if any(re.fullmatch(r"\d{4}", name) for name in folders):
            yield prefix
        elif depth < MAX_DEPTH:
            for name in sorted(folders):
                yield from self.model_prefixes(f"{prefix}{name}/", depth + 1)

    def batches_of_model(self, prefix: str) -> Iterator[tuple[str, float, str]]:
        for hour in self._hour_folders(prefix, ""):
            files = self._children(f"{prefix}{hour}/").files
            lines = sorted(((changed, name) for name, changed in files if name.endswith(".jsonl")), reverse=True)
            for changed, name in lines:
                yield hour, changed, f"{prefix}{hour}/{name}"

    def _hour_folders(self, prefix: str, so_far: str) -> Iterator[str]:
        """The folders `YYYY/MM/DD/HH`, newest first."""
        if HOUR.fullmatch(so_far):
            yield so_far
            return
        if so_far.count("/") >= 3:
            return
        base = f"{prefix}{so_far}/" if so_far else prefix
        for name in sorted(filter(str.isdigit, self._children(base).folders), reverse=True):
            yield from self._hour_folders(prefix, f"{so_far}/{name}" if so_far else name)

    def _children(self, prefix: str) -> Children:
        try:
            return self._store.children(prefix)
        except Unreadable as error:
            self._unreadable(f"{prefix or self._store}: {error}")
            return Children((), ())


def _last_folder(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("/")[2]
