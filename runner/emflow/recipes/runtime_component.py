"""The Runtime component: the wheels of a lock as one zip with the program that installs them, and its recipe.

It is sent to a device again only when the lock changes: an update of the application has none of it. What the image
provides is not in it. The same lock gives the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emflow.board.lock import Lock
from emflow.board.requirements import MODULES, name_of
from emflow.json_text import to_json
from emflow.problems import Problem
from emflow.recipes.bundle import MAX_ARTIFACT_BYTES, bundle_key, package_files, zip_entry
from emflow.recipes.lint.context import RecipeContext
from emflow.recipes.render import Artifact, RenderedRecipe, render_template, runtime_template
from emflow_schema.board import NUMPY, NUMPY_USERS

RUNTIME = "emflow-runtime.zip"
PROGRAM = "emflow_runtime"
"""The package with the install program, which the zip has beside the wheels."""

BLOCK = 4096
"""Bytes that a file takes at least on a board's disk."""
_CHUNK = 1 << 20
_LEAST_SECONDS, _SECONDS_PER_MB = 300, 3
"""For the Timeout of the install step: 1500 s for 400 MB. A worn eMMC writes small files at some MB/s, and the import
of everything takes a minute on a slow processor."""


@dataclass(frozen=True)
class RuntimeBundle:
    """The zip of the Runtime component, in a file.

    Args:
        lock: what it was made of.
        sha256: of the zip, in hexadecimal.
        size: bytes of the zip.
        unpacked: bytes of what is in it, on a board's disk.
        installed: bytes of the installed packages, on a board's disk.
    """

    path: Path
    lock: Lock
    sha256: str
    size: int
    unpacked: int
    installed: int
    name: str = RUNTIME

    @property
    def digest(self) -> str:
        """The lock's digest: the name of the folder with the packages, in the component's work folder."""
        return self.lock.digest


def build_runtime(lock: Lock, wheels: Mapping[str, Path], target: Path) -> RuntimeBundle:
    """Write the zip of the Runtime component.

    Args:
        wheels: every file of the lock, by name, as `emflow.board.wheels.fetch` gives them.
        target: the file to write.

    Raises:
        Problem: a wheel is no zip, the zip would be larger than Greengrass takes, or it cannot be written.
    """
    installed = sum(_installed_size(wheels[each.wheel.name]) for each in lock.locked)
    texts = {"board.json": _board_json(lock, installed), "requirements.txt": _requirements(lock)}
    files: dict[str, bytes | Path] = {name: text.encode() for name, text in texts.items()}
    files |= dict(package_files(PROGRAM))
    files |= {f"wheels/{each.wheel.name}": wheels[each.wheel.name] for each in lock.locked}
    if lock.installer:
        files[lock.installer.wheel.name] = wheels[lock.installer.wheel.name]
    size = sum(each.stat().st_size for each in files.values() if isinstance(each, Path))
    if size > MAX_ARTIFACT_BYTES:
        what = f"the packages have {size / 1e9:.1f} GB, and Greengrass accepts {MAX_ARTIFACT_BYTES / 1e9:.1f}"
        raise Problem(what, mend="Leave some of them to the image: edge.board.provides.")
    try:
        _write_zip(target, files)
    except OSError as error:
        raise Problem(f"cannot be written: {error.strerror}", where=str(target), mend="Make room there.") from None
    unpacked = sum(_on_disk(each.stat().st_size if isinstance(each, Path) else len(each)) for each in files.values())
    with target.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return RuntimeBundle(target, lock, sha256, target.stat().st_size, unpacked, installed)


def packages_folder(component: str, digest: str) -> str:
    """The folder of the installed packages, as the script of another component writes it. Needs no dependency."""
    return f"{{kernel:rootPath}}/work/{component}/{digest}"


def render_runtime(
    component: str, bundle: RuntimeBundle, bucket: str, version: str | None = None, publisher: str = "emflow"
) -> RenderedRecipe:
    """The recipe of the Runtime component, for both nuclei.

    Args:
        component: its name.
        bucket: that of the artifacts.
        version: three numbers; made of the content when None.
    """
    artifact = Artifact(f"s3://{bucket}/{bundle_key(component, bundle)}", bundle.name)
    lock = bundle.lock
    values: dict[str, Any] = {
        "component": component,
        "publisher": publisher,
        "description": f"Python packages for {lock.architecture}, Python {lock.python}; lock {lock.digest[:12]}",
        "artifact": artifact,
        "timeout": install_timeout(bundle.installed),
    }
    text, where = runtime_template()
    if version is None:
        version = content_version(render_template(text, {**values, "version": "0.0.0"}, where))
    with zipfile.ZipFile(bundle.path) as archive:
        contents = frozenset(archive.namelist())
    known = RecipeContext(component, version, archives={artifact.uri: contents}, architecture=lock.architecture)
    recipe = render_template(text, {**values, "version": version}, where)
    return RenderedRecipe(recipe, component, where, known, built_in=True)


def content_version(recipe: str) -> str:
    """A component version that stands for a recipe's text, in which the digest of its zip is.

    Three numbers of six digits at most, as Greengrass takes them; their order means nothing.
    """
    number = int.from_bytes(hashlib.sha256(recipe.encode()).digest()[:8], "big")
    return f"1.{number // 10**6 % 10**6}.{number % 10**6}"


def install_timeout(installed: int) -> int:
    """Seconds for the install step of packages with so many bytes."""
    return _LEAST_SECONDS + _SECONDS_PER_MB * (installed // 10**6)


def _board_json(lock: Lock, installed: int) -> str:
    """What the install program has to know."""
    needed = {name_of(each) for each in lock.requirements}
    here = {each.name for each in lock.locked}
    blocked = []
    if lock.packages == "both" and NUMPY in here:
        blocked = [module for name, module in NUMPY_USERS.items() if name not in here | lock.provides.keys()]
    board = {
        "architecture": lock.architecture,
        "blocked": sorted(blocked),
        "bytes": installed,
        "digest": lock.digest,
        "glibc": lock.glibc,
        "modules": {name: module for name, module in MODULES.items() if name in needed},
        "packages": lock.packages,
        "provides": dict(lock.provides),
        "python": lock.python,
        "requirements": list(lock.requirements),
        "wheels": sorted(each.wheel.name for each in lock.locked),
    }
    return to_json(board, indent=1, sort_keys=True) + "\n"


def _requirements(lock: Lock) -> str:
    """For pip, with hashes."""
    locked = sorted(lock.locked, key=lambda each: each.name)
    return "".join(f"{each.name}=={each.version} --hash=sha256:{each.wheel.sha256}\n" for each in locked)


def _installed_size(wheel: Path) -> int:
    """Bytes on the disk of an installed wheel. Its modules count twice: Python keeps them compiled, too."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            sizes = [(each.file_size, each.filename.endswith(".py")) for each in archive.infolist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise Problem(f"is no wheel: {error}", where=str(wheel)) from None
    return sum(_on_disk(size) * (2 if is_module else 1) for size, is_module in sizes)


def _on_disk(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _write_zip(target: Path, files: Mapping[str, bytes | Path]) -> None:
    """Stored, not compressed: wheels are compressed already. Under another name first, so that it is whole."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for name, content in sorted(files.items()):
                entry_of = zip_entry(name)
                entry_of.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
                with archive.open(entry_of, "w") as entry:
                    for block in _blocks(content):
                        entry.write(block)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _blocks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(_CHUNK):
            yield block
