"""The files beside a workflow: the model (a .tflite, or an archive that holds exactly one) and its labels."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from emflow.problems import Problem
from emflow.workflow import network
from emflow.workflow.network import Network
from emflow.workflow.source.safe_open import open_regular, read_regular, read_text

_MEND = "put exactly one .tflite into the archive"

ARCHIVES = (".tar.gz", ".tgz")
"""What Neo takes."""

MOST_BYTES = 512 * 1024 * 1024
"""Of a model, or of all that an archive unpacks to: far more than a board's NPU can hold, and no archive's way to eat
the memory of whoever checks it."""

MOST_LABEL_BYTES = 16 * 1024 * 1024


def is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVES)


def is_model(name: str) -> bool:
    return name.lower().endswith(".tflite")


def check_model(path: Path) -> Network:
    """Look into a model file that exists: its inputs and outputs.

    Raises:
        Problem: it is no TFLite model and no .tar.gz that holds exactly one, or it cannot be read.
    """
    try:
        if is_archive(path.name):
            return _in_archive(path)
        return _network(read_regular(path, MOST_BYTES), str(path))
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise Problem(
            f"no .tar.gz archive: {error}", where=str(path), mend="make it with: tar -czf … model.tflite"
        ) from None
    except OSError as error:
        raise Problem(f"cannot be read: {error.strerror or error}", where=str(path)) from None


def check_labels(path: Path) -> tuple[str, ...]:
    """Look into a labels file that exists: its labels, without the empty lines at its end.

    Raises:
        Problem: it is empty, not UTF-8, or cannot be read.
    """
    try:
        text = read_text(path, MOST_LABEL_BYTES)
    except UnicodeDecodeError:
        raise Problem("not UTF-8 text", where=str(path), mend="one label a line, in UTF-8") from None
    except OSError as error:
        raise Problem(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    if not text.strip():
        raise Problem("no label in it", where=str(path), mend="one label a line, in the order of the model's outputs")
    return tuple(text.rstrip().splitlines())


def _in_archive(path: Path) -> Network:
    found: dict[str, Network] = {}
    size = 0
    with open_regular(path, MOST_BYTES) as file, tarfile.open(fileobj=file, mode="r:gz") as archive:
        for member, content in _files(archive):
            size += member.size
            if size > MOST_BYTES:
                raise Problem(f"unpacks to more than {MOST_BYTES // 2**20} MiB", where=str(path), mend=_MEND)
            if is_model(member.name):
                found[member.name] = _network(content.read(), f"{path}: {member.name}")
    if len(found) != 1:
        holds = f"{len(found)} .tflite files ({', '.join(found)})" if found else "no .tflite file"
        raise Problem(f"holds {holds}", where=str(path), mend=_MEND)
    return next(iter(found.values()))


def _files(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    for member in archive:
        content = archive.extractfile(member) if member.isfile() else None
        if content:
            yield member, content


def _network(data: bytes, where: str) -> Network:
    try:
        return network.read(data)
    except ValueError as error:
        raise Problem(str(error), where=where, mend="give the .tflite that the converter wrote") from None
