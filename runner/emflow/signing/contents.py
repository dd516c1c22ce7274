"""The files of a package before it is signed: from a folder, one model file, or an archive of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

from emflow.problems import Problem
from emflow.unpacking import BROKEN, TooLarge, files_in_tar_gz
from emflow.workflow.source.safe_open import open_regular, read_regular
from emflow_schema.model_files import NEO_LIBRARY, is_archive, is_left_by_macos, is_onnx, is_tflite
from emflow_schema.model_manifest import MANIFEST
from emflow_schema.model_signature import MAX_FILES, SIGNATURE, BadSignature, check_path
from emflow_schema.signed_package import ED25519_FILES, MAX_PACKAGE_BYTES
from emflow_schema.trusted_keys import MAX_KEYS_BYTES

MOST_LEVELS = 32
"""Folders below each other, as on a device."""

_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")

MADE_HERE = (MANIFEST, SIGNATURE, *ED25519_FILES)
"""What a package has beside the model: replaced when a folder is signed anew."""


def read_contents(source: Path) -> dict[str, bytes]:
    """The files of a model by their path in the package, without manifest and signature of an earlier package.

    What macOS and version control put beside files (`.git…`) is left out.

    Args:
        source: a folder, a model file, or a .tar.gz.

    Raises:
        Problem: it does not exist, cannot be read, holds no model, or what cannot be signed: links, special files.
    """
    try:
        if source.is_dir():
            files = dict(_in_folder(source))
        elif is_archive(source.name):
            files = dict(_in_archive(source))
        else:
            files = {source.name: read_regular(source, MAX_PACKAGE_BYTES)}
    except OSError as error:
        raise Problem(f"cannot be read: {error.strerror or error}", where=str(error.filename or source)) from None
    _check(files, source)
    return files


def _check(files: dict[str, bytes], source: Path) -> None:
    if not any(is_tflite(name) or is_onnx(name) or name == NEO_LIBRARY for name in files if "/" not in name):
        mend = "give a folder with a .tflite, a .onnx or a Neo-compiled model in it, or the model file itself"
        raise Problem("there is no model", where=str(source), mend=mend)
    if len(files) > MAX_FILES - 1:
        raise Problem(f"has {len(files)} files; a package has at most {MAX_FILES}", where=str(source))
    for name, content in files.items():
        try:
            check_path(name)
        except BadSignature as problem:
            raise Problem(str(problem), where=str(source), mend="rename the file") from None
        if len(content) <= MAX_KEYS_BYTES and _PRIVATE_KEY.search(content):
            mend = "move it out of the folder: a package goes to every device"
            raise Problem(f"{name!r} holds a private key", where=str(source), mend=mend)


def _in_folder(root: Path) -> Iterator[tuple[str, bytes]]:
    size = 0
    for path in walk(root):
        name = path.relative_to(root).as_posix()
        if name in MADE_HERE or is_left_by_macos(name) or _of_version_control(name):
            continue
        mode = path.lstat().st_mode
        if S_ISLNK(mode):
            raise Problem(
                "is a symbolic link, which no device follows", where=str(path), mend="put the file itself there"
            )
        if not S_ISREG(mode):
            raise Problem("is not a file, but a device, a pipe or a socket", where=str(path), mend="remove it")
        content = read_regular(path, MAX_PACKAGE_BYTES)
        size += len(content)
        if size > MAX_PACKAGE_BYTES:
            what = f"has more than {MAX_PACKAGE_BYTES / 1e9:.1f} GB"
            raise Problem(what, where=str(root), mend="remove what is not needed")
        yield name, content


def walk(root: Path, levels: int = MOST_LEVELS) -> Iterator[Path]:
    """Everything in a folder that is no folder itself, sorted. Links are not followed.

    Raises:
        OSError: it cannot be read.
        Problem: it has folders below each other, more than `levels`.
    """
    if levels < 0:
        raise Problem(f"is more than {MOST_LEVELS} folders deep", where=str(root), mend="pack less deeply")
    with os.scandir(root) as entries:
        paths = sorted(Path(entry.path) for entry in entries)
    for path in paths:
        if S_ISDIR(path.lstat().st_mode):
            yield from walk(path, levels - 1)
        else:
            yield path


def _of_version_control(name: str) -> bool:
    """What the `model_signing` command leaves out by default, and so would miss."""
    return name.split("/")[0] in (".git", ".gitattributes", ".github", ".gitignore")


def _in_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    try:
        with open_regular(path, MAX_PACKAGE_BYTES) as file:
            for member, content in files_in_tar_gz(file, MAX_PACKAGE_BYTES):
                name = member.name.removeprefix("./")
                if name in MADE_HERE or is_left_by_macos(name) or _of_version_control(name):
                    continue
                if name in seen:
                    raise Problem(f"has {name!r} twice", where=str(path), mend="pack the model anew")
                seen.add(name)
                yield name, content.read()
    except TooLarge as error:
        raise Problem(str(error), where=str(path), mend="remove what is not needed") from None
    except BROKEN:
        raise Problem("no .tar.gz archive", where=str(path), mend="make it with: tar -czf … model.tflite") from None


def digests(files: dict[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file, in hexadecimal."""
    return {name: sha256(content).hexdigest() for name, content in files.items()}
