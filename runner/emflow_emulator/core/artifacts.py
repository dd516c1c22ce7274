"""Artifacts of a component version: downloads them from S3, checks their digests and unpacks them.

A file that differs from the digest that the cloud recorded when the version was created is refused and removed.
"""

from __future__ import annotations

import base64
import hashlib
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
        if artifact.unarchive:
            _unpack(recipe, artifact, file, layout.unarchived(recipe.name, recipe.version) / Path(artifact.name).stem)


def digest(file: Path) -> str:
    """SHA-256 of a file, in base64 as in recipes."""
    with file.open("rb") as stream:
        return base64.b64encode(hashlib.file_digest(stream, "sha256").digest()).decode()


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
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    try:
        with zipfile.ZipFile(file) as archive:
            check_zip(archive, file.stat().st_size)
            for member in archive.infolist():
                # extract() never writes outside of the folder, but loses the execute permissions.
                path = Path(archive.extract(member, target))
                mode = member.external_attr >> 16 & 0o777
                if mode and not member.is_dir():
                    path.chmod(mode | 0o600)
    except Exception as error:  # zipfile does not convert the exceptions of its decompressors
        raise DeploymentFailure(
            f"Failed to unarchive '{artifact.uri}' of component {recipe.name}-{recipe.version}: {error}",
            "IO_ERROR",
            "IO_UNZIP_ERROR",
        ) from error
