"""The files that are uploaded: the zips of components and the model's archive. Same content, same bytes.

Their SHA-256 is part of S3 keys, and decides about component versions and jobs. So they contain nothing that differs
between machines: no times, owners, permissions or file system order, and no compression, because the output of zlib
differs between builds.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Protocol

from emflow.problems import Problem, is_utf8
from emflow.workflow.files_beside import path_beside
from emflow.workflow.model import Workflow
from emflow.workflow.rules.files import (
    MOST_BYTES,
    MOST_LABEL_BYTES,
    check_labels,
    check_model,
    without_files_of_macos,
)
from emflow.workflow.source.safe_open import read_regular
from emflow_schema.installation import how_to_install
from emflow_schema.model_files import TFLITE, is_archive

PACKAGES = ("emflow_edge", "emflow_proto", "emflow_schema")
"""The packages of the application component: read as files, never imported here."""

NOT_FOR_DEVICES = (".schema.json", "py.typed")
"""Endings of files in these packages that no program on a device opens."""

BUNDLE = "emflow-edge.zip"
LABELS = "labels.txt"
ARTIFACTS = "artifacts.zip"
"""The zip of a component under `components`. With one dot only: the folder on the device has the name before it."""
MAX_ARTIFACT_BYTES = 2 * 1024**3
"""Greengrass's limit for all artifacts of one component version."""

MAX_USTAR_NAME = 100
"""Bytes of a name in a USTAR archive. The model's name in the archive has no meaning."""

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""


class StoredZip(Protocol):
    """The zip of a component, wherever its bytes are. `sha256` in hexadecimal."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class Bundle:
    """The zip of a component. `sha256` in hexadecimal."""

    name: str
    data: bytes
    sha256: str


@dataclass(frozen=True)
class ModelArchive:
    """The model as Neo takes it: a .tar.gz with exactly one .tflite. `sha256` in hexadecimal."""

    name: str
    data: bytes
    sha256: str


def application_bundle(workflow: Workflow) -> Bundle:
    """The zip of `PACKAGES` and, when the workflow has labels, `labels.txt` at its root.

    Raises:
        Problem: the labels file is missing or unusable, or a package is not installed.
    """
    files = [file for package in PACKAGES for file in package_files(package)]
    if workflow.edge.model_io.labels is not None:
        path = _existing(workflow, workflow.edge.model_io.labels, "edge.model_io.labels")
        check_labels(path)
        files.append((LABELS, read_regular(path, MOST_LABEL_BYTES)))
    data = reproducible_zip(files)
    return Bundle(BUNDLE, data, hashlib.sha256(data).hexdigest())


def folder_bundle(workflow: Workflow, folder: str, key: str) -> Bundle:
    """The zip of a folder beside the workflow; files that are executable stay executable.

    Args:
        key: the key path in the workflow, for messages.

    Raises:
        Problem: the folder does not exist, is empty or too large, or holds something that is not a file, or a
            symbolic link that leads out of it.
    """
    root = _path(workflow, folder, key)
    if not root.is_dir():
        raise Problem(f"{key}: there is no such folder", where=str(root), mend="create it, or change the path")
    try:
        paths = list(_component_files(root, key))
        size = sum(path.stat().st_size for path in paths)
        if size > MAX_ARTIFACT_BYTES:
            what = f"{key}: the files have {size / 1e9:.1f} GB, and Greengrass accepts {MAX_ARTIFACT_BYTES / 1e9:.1f}"
            raise Problem(what, where=str(root), mend="let the component fetch large files itself")
        executable = {path.relative_to(root).as_posix() for path in paths if path.stat().st_mode & 0o100}
        files = [(path.relative_to(root).as_posix(), read_regular(path, MAX_ARTIFACT_BYTES)) for path in paths]
    except OSError as error:
        raise Problem(f"{key}: cannot be read: {error.strerror}", where=error.filename or str(root)) from error
    if not files:
        raise Problem(f"{key}: the folder is empty", where=str(root), mend="put the component's files into it")
    data = reproducible_zip(files, executable)
    return Bundle(ARTIFACTS, data, hashlib.sha256(data).hexdigest())


def _component_files(root: Path, key: str) -> Iterator[Path]:
    """The files of a component's folder, in order; a symbolic link stands for the file that it leads to."""
    inside = root.resolve()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if _is_excluded(name):
            continue
        if not is_utf8(str(name)):  # a zip, a recipe and S3 have names in UTF-8 only
            what = f"{key}: a file name that is not UTF-8"
            raise Problem(what, where=str(path), mend="rename the file, or remove it from the folder")
        mode = path.lstat().st_mode
        if S_ISLNK(mode):
            target = Path(os.path.realpath(path))  # not resolve(), which raises no OSError for a cycle of links
            if not target.is_relative_to(inside):
                what = f"{key}: a link leads out of the folder, to {path.readlink()}"
                raise Problem(what, where=str(path), mend="put the file itself into the folder")
            if _is_excluded(target.relative_to(inside)):
                what = f"{key}: a link leads to a hidden file, {path.readlink()}"
                raise Problem(what, where=str(path), mend="hidden files are not uploaded: rename the file")
            if target.is_dir():
                what = f"{key}: a link leads to a folder, {path.readlink()}"
                raise Problem(what, where=str(path), mend="copy the folder there")
            mode = path.stat().st_mode  # raises an error that names the file when the link is broken
        if S_ISREG(mode):
            yield path
        elif not S_ISDIR(mode):
            what = f"{key}: not a file, but a device, a pipe or a socket"
            raise Problem(what, where=str(path), mend="remove it from the folder")


def names_in(bundle: Bundle) -> frozenset[str]:
    """The names of the files in a zip."""
    with zipfile.ZipFile(io.BytesIO(bundle.data)) as archive:
        return frozenset(archive.namelist())


def bundle_key(component: str, bundle: StoredZip) -> str:
    """The zip's S3 key. It contains the hash: an object that a component version refers to is never overwritten."""
    return f"artifacts/{component}/{bundle.sha256}/{bundle.name}"


def model_archive(workflow: Workflow) -> ModelArchive:
    """The model as Neo takes it: the archive itself, or a new one around a .tflite.

    A new one also where macOS added files to the archive; an ending in capitals is written in small letters in it.

    Raises:
        Problem: the file is missing, or is neither.
    """
    path = _existing(workflow, workflow.cloud.model.artifact, "cloud.model.artifact")
    check_model(path)
    if is_archive(path.name):
        name, data = path.name, read_regular(path, MOST_BYTES)
        added_to = without_files_of_macos(data)
        if added_to:
            data = _tar_gz(_inner_name(added_to[0]), added_to[1])
    else:
        name, data = f"{path.stem}.tar.gz", _tar_gz(_inner_name(path.name), read_regular(path, MOST_BYTES))
    return ModelArchive(name, data, hashlib.sha256(data).hexdigest())


def _inner_name(name: str) -> str:
    name = name[: -len(TFLITE)] + TFLITE
    return name if is_utf8(name) and len(name.encode()) <= MAX_USTAR_NAME else f"model{TFLITE}"


def _existing(workflow: Workflow, name: str, key: str) -> Path:
    path = _path(workflow, name, key)
    if path.is_file():
        return path
    raise Problem(f"{key}: there is no such file", where=str(path), mend="add the file, or change the path")


def _path(workflow: Workflow, name: str, key: str) -> Path:
    try:
        return path_beside(workflow, name)
    except Problem as problem:
        raise Problem(f"{key}: {problem.what}", where=problem.where, mend=problem.mend) from None


def package_files(package: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file of an installed package, without caches and hidden files."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Problem(
            f"the package {package} is not installed", mend=f"Install it with: {how_to_install('emflow-device')}"
        )
    root = Path(spec.submodule_search_locations[0])
    for path in root.rglob("*"):
        inside = path.relative_to(root)
        if path.is_file() and not _is_excluded(inside) and not path.name.endswith(NOT_FOR_DEVICES):
            yield str(PurePosixPath(package, inside.as_posix())), path.read_bytes()


def _is_excluded(path: Path) -> bool:
    """Whether a file is Python's cache, or hidden: those of editors and version control are."""
    return path.suffix == ".pyc" or any(part == "__pycache__" or part.startswith(".") for part in path.parts)


def reproducible_zip(files: list[tuple[str, bytes]], executable: Collection[str] = ()) -> bytes:
    """A zip of files, whose bytes depend on nothing but their names and content, and which of them are executable."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files):
            archive.writestr(zip_entry(name, executable=name in executable), content)
    return target.getvalue()


def zip_entry(name: str, *, executable: bool = False) -> zipfile.ZipInfo:
    """A file's entry in a zip, with nothing in it that differs between machines."""
    info = zipfile.ZipInfo(name, _ZIP_EPOCH)
    info.create_system = 3  # Unix, on every system: the permissions below are those of Unix
    info.external_attr = (0o100755 if executable else 0o100644) << 16
    return info


def _tar_gz(name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo(name)  # time 0, owner 0, mode 0644
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return _gzip(target.getvalue())


def _gzip(data: bytes) -> bytes:
    """A gzip file (RFC 1952) of stored blocks (RFC 1951, 3.2.4). Quantised weights hardly compress anyway."""
    parts = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]  # deflate, no name, no time, unknown system
    blocks = range(0, max(1, len(data)), 0xFFFF)
    for start in blocks:
        block = data[start : start + 0xFFFF]
        last = start == blocks[-1]
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    parts.append(struct.pack("<LL", zlib.crc32(data), len(data) & 0xFFFFFFFF))
    return b"".join(parts)
