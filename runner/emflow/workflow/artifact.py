"""The files beside a workflow: the model (a .tflite, or an archive that holds exactly one) and its labels."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from emflow.problems import Problem

ARCHIVES = (".tar.gz", ".tgz")
"""What Neo takes."""


def is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVES)


def is_model(name: str) -> bool:
    return name.lower().endswith(".tflite")


def check_model(path: Path) -> None:
    """Look into a model file that exists.

    Raises:
        Problem: it is no TFLite model and no .tar.gz that holds exactly one, or it cannot be read.
    """
    try:
        if is_archive(path.name):
            _check_archive(path)
        else:
            with path.open("rb") as file:
                _check_tflite(file.read(8), str(path))
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise Problem(
            f"no .tar.gz archive: {error}", where=str(path), mend="make it with: tar -czf … model.tflite"
        ) from None
    except OSError as error:
        raise Problem(f"cannot be read: {error.strerror or error}", where=str(path)) from None


def check_labels(path: Path) -> None:
    """Look into a labels file that exists.

    Raises:
        Problem: it is empty, not UTF-8, or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Problem("not UTF-8 text", where=str(path), mend="one label a line, in UTF-8") from None
    except OSError as error:
        raise Problem(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    if not text.strip():
        raise Problem("no label in it", where=str(path), mend="one label a line, in the order of the model's outputs")


def _check_archive(path: Path) -> None:
    with tarfile.open(path, "r:gz") as archive:
        names = []
        for member, content in _files(archive):
            if is_model(member):
                names.append(member)
                _check_tflite(content.read(8), f"{path}: {member}")
    if len(names) != 1:
        found = f"{len(names)} .tflite files ({', '.join(names)})" if names else "no .tflite file"
        raise Problem(f"holds {found}", where=str(path), mend="put exactly one .tflite into the archive")


def _files(archive: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for member in archive:
        content = archive.extractfile(member) if member.isfile() else None
        if content:
            yield member.name, content


def _check_tflite(head: bytes, where: str) -> None:
    # A FlatBuffer's file identifier stands behind the offset of its root table; TFLite's is TFL3.
    if head[4:8] != b"TFL3":
        raise Problem("no TFLite model", where=where, mend="give the .tflite that the converter wrote")
