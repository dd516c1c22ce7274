"""Artifacts of a component version: downloads them from S3, checks their digests, unpacks them, and sets permissions.

A file that differs from the digest that the cloud recorded when the version was created is refused and removed. Who may
read and execute a file is what the recipe's `Permission` says, whatever the modes in a zip are.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from emflow.recipes.reader.recipe import Artifact
from emflow.unpacking import check_zip
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.layout import Layout
from emflow_emulator.core.recipe import Recipe

Download = Callable[[str, str, Path], None]
"""Takes bucket, key and the target file. Raises DeploymentFailure."""

_DOWNLOADING = "ARTIFACT_DOWNLOAD_ERROR"


def fetch(recipe: Recipe, layout: Layout, download: Download) -> None:
    """Download all artifacts of a component version; a file that exists with the right digest is not loaded again.

    Raises:
        DeploymentFailure: an artifact does not exist, has changed, or cannot be unpacked.
    """
    folder = layout.artifacts(recipe.name, recipe.version)
    folder.mkdir(parents=True, exist_ok=True)
    layout.unarchived(recipe.name, recipe.version).mkdir(parents=True, exist_ok=True)
    for artifact in recipe.artifacts:
        file = folder / artifact.name
        if not file.exists() or digest(file) != artifact.digest:
            _load(recipe, artifact, file, download)
        mode = _mode(artifact)
        file.chmod(mode)
        if artifact.unarchive:
            unpacked = layout.unarchived(recipe.name, recipe.version) / Path(artifact.name).stem
            _unpack(recipe, artifact, file, unpacked)
            for path in unpacked.rglob("*"):
                if not path.is_symlink():  # one that a component made; its target is not to be changed
                    path.chmod(0o755 if path.is_dir() else mode)


def digest(file: Path) -> str:
    """SHA-256 of a file, in base64 as in recipes."""
    with file.open("rb") as stream:
        return base64.b64encode(hashlib.file_digest(stream, "sha256").digest()).decode()


def _mode(artifact: Artifact) -> int:
    """The mode of an artifact's files, as the nucleus sets it.

    The owner can always read, and execution includes reading. `OWNER` is owner and group, because a core device gives
    the files to the component's user and group. Only a device that does not run as root keeps the right to write, which
    it needs to remove the files.
    """
    readers = {"OWNER": 0o040, "ALL": 0o044}
    executors = {"OWNER": 0o150, "ALL": 0o155}
    write = 0o200 if os.geteuid() else 0
    return 0o400 | write | readers.get(artifact.read, 0) | executors.get(artifact.execute, 0)


def remove_all_but(keep: Iterable[Recipe], layout: Layout) -> list[str]:
    """Remove the artifacts of versions that are no longer deployed; returns `name-vX.Y.Z` of each removed version."""
    kept = {(recipe.name, recipe.version) for recipe in keep}
    removed = []
    for version in sorted(layout.artifact_store.glob("*/*")):
        name = version.parent.name
        if (name, version.name) not in kept:
            shutil.rmtree(version)
            shutil.rmtree(layout.unarchived(name, version.name), ignore_errors=True)
            removed.append(f"{name}-v{version.name}")
    return removed


def _load(recipe: Recipe, artifact: Artifact, file: Path, download: Download) -> None:
    what = f"artifact name: '{artifact.uri}' for component {recipe.name}-{recipe.version}"
    scheme, _, rest = artifact.uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme.lower() != "s3":
        raise DeploymentFailure(
            f"Failed to download {what}, reason: only s3:// artifacts can be downloaded here",
            _DOWNLOADING,
            "UNSUPPORTED_ARTIFACT_SCHEME",
        )
    if artifact.digest is None or (artifact.algorithm or "").upper() != "SHA-256":
        raise DeploymentFailure(
            f"Failed to download {what}, reason: Algorithm missing from artifact",
            _DOWNLOADING,
            "RECIPE_MISSING_ARTIFACT_HASH_ALGORITHM",
        )
    part = file.with_name(file.name + ".part")
    try:
        download(bucket, key, part)
        if digest(part) != artifact.digest:
            raise DeploymentFailure(
                f"Failed to download {what}, reason: Integrity check for downloaded artifact failed. The object is "
                "not the one whose digest the cloud recorded when the component version was created",
                _DOWNLOADING,
                "ARTIFACT_CHECKSUM_MISMATCH",
            )
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _unpack(recipe: Recipe, artifact: Artifact, file: Path, target: Path) -> None:
    """Unpack a zip; what is there with the right size stays, because a component may be running from it."""
    target.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(file) as archive:
            check_zip(archive, file.stat().st_size)
            for member in archive.infolist():
                if ".." in Path(member.filename).parts:
                    # extract() would write it into the folder under another name; a board refuses the whole zip.
                    raise ValueError(f"Entry is outside of the target dir: {member.filename}")
                there = target / member.filename.lstrip("/")
                if member.is_dir() or not there.is_file() or there.stat().st_size != member.file_size:
                    archive.extract(member, target)
    except Exception as error:  # zipfile does not convert the exceptions of its decompressors
        shutil.rmtree(target, ignore_errors=True)
        raise DeploymentFailure(
            f"Failed to unarchive '{artifact.uri}' of component {recipe.name}-{recipe.version}: {error}",
            "IO_ERROR",
            "IO_UNZIP_ERROR",
        ) from error
