"""What is in the files that a configuration names: a file that is replaced under its path is another setting.

It is read when a configuration arrives, so that two settings with the same paths and other files are not the same, and
so that settings stay what they were when the files under them change.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from emflow_schema.labels import read_labels
from emflow_schema.model_facts import model_file

_MOST_FILES = 10_000
# Certificates and labels are small; what is larger is compared by its size and times, as a model is.
_LARGEST_READ = 4 << 20

Contents = tuple[tuple[str, str], ...]
"""Path and content of files: as digest, or as what changes with each change of a file."""


def label_lines(path: Path) -> tuple[str, ...] | None:
    """The labels in a file; None where it cannot be read, which is reported when they are needed."""
    try:
        return read_labels(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError):
        return None


def contents(files: Iterable[Path]) -> Contents:
    """Path and content of each of these files, sorted; a file that cannot be read has none."""
    return tuple(sorted((str(path), _content(path)) for path in {*files}))


def model_content(folder: Path) -> str:
    """What changes when another model is put into a folder, or the one in it is written again; empty without a model.

    Models are large, so their files are not read for this: the system changes a file's ctime with each write, also
    where a program that unpacks an archive sets its time to that in the archive.
    """
    file = model_file(folder)
    walk = ((root, name) for root, _, names in os.walk(folder) for name in names)
    files = [file] if file else [Path(root, name) for root, name in islice(walk, _MOST_FILES)]
    listed = sorted(map(_stat, files))
    return _digest("\n".join(listed).encode("utf-8", "surrogateescape")) if listed else ""


def _content(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        return _digest(path.read_bytes()) if path.stat().st_size <= _LARGEST_READ else _stat(path)
    except (OSError, ValueError):
        return ""


def _stat(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return f"{path}"
    return f"{path} {stat.st_dev} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
