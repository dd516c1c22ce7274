"""Where captured data lies, a folder or something like it, walked newest first, hour by hour."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from emflow.problems import Problem

HOUR = re.compile(r"\d{4}/\d\d/\d\d/\d\d")
DEEPEST = 12
"""Folders above the year: the prefix may have several, then come fleet and model."""


@dataclass(frozen=True)
class Children:
    """What lies in one folder: names of folders, and of files with the time of their last change."""

    folders: tuple[str, ...]
    files: tuple[tuple[str, float], ...]


class Place(Protocol):
    """A tree of objects. Keys and prefixes are like S3's: with slashes, and none at the front."""

    def children(self, prefix: str) -> Children: ...

    def read(self, key: str) -> bytes | None:
        """An object's bytes; None when it is not there."""

    def __str__(self) -> str: ...


class Folder:
    """A folder of this machine, such as an agent's CaptureDataDiskPath or a copy of it.

    Raises:
        Problem: it is not there.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise Problem("there is no such folder", where=str(root), mend="Give a folder, a bucket or a workflow.")
        self._root = root

    def children(self, prefix: str) -> Children:
        found = list((self._root / prefix).iterdir())
        files = tuple((path.name, path.stat().st_mtime) for path in found if path.is_file())
        return Children(tuple(path.name for path in found if path.is_dir()), files)

    def read(self, key: str) -> bytes | None:
        try:
            return (self._root / key).read_bytes()
        except FileNotFoundError:
            return None

    def __str__(self) -> str:
        return str(self._root)


def batches(place: Place, top: str = "", model: str | None = None) -> Iterator[str]:
    """The keys of all batches below a prefix, newest first.

    Args:
        top: a prefix with a slash at its end, or nothing.
        model: only this one's.
    """
    of_models = [_of_model(place, prefix) for prefix in _models(place, top) if model in (None, _last(prefix))]
    for _, _, key in heapq.merge(*of_models, reverse=True):
        yield key


def _models(place: Place, prefix: str, depth: int = 0) -> Iterator[str]:
    """Prefixes whose folders are years."""
    folders = place.children(prefix).folders
    if any(re.fullmatch(r"\d{4}", name) for name in folders):
        yield prefix
    elif depth < DEEPEST:
        for name in sorted(folders):
            yield from _models(place, f"{prefix}{name}/", depth + 1)


def _of_model(place: Place, prefix: str) -> Iterator[tuple[str, float, str]]:
    for hour in _hours(place, prefix, ""):
        files = place.children(f"{prefix}{hour}/").files
        lines = sorted(((changed, name) for name, changed in files if name.endswith(".jsonl")), reverse=True)
        for changed, name in lines:
            yield hour, changed, f"{prefix}{hour}/{name}"


def _hours(place: Place, prefix: str, so_far: str) -> Iterator[str]:
    """`YYYY/MM/DD/HH`, the last first."""
    if HOUR.fullmatch(so_far):
        yield so_far
        return
    if so_far.count("/") >= 3:
        return
    base = f"{prefix}{so_far}/" if so_far else prefix
    for name in sorted(filter(str.isdigit, place.children(base).folders), reverse=True):
        yield from _hours(place, prefix, f"{so_far}/{name}" if so_far else name)


def _last(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("/")[2]
