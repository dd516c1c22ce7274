"""Artifacts of a component version: downloads them from S3, checks their digests, unpacks them, and sets permissions.

A file that differs from the digest that the cloud recorded when the version was created is refused and removed. Who may
read and execute a file is what the recipe's `Permission` says, whatever the modes in a zip are.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from emflow.json_text import to_json
from emflow.recipes.reader.recipe import Artifact
from emflow.unpacking import check_zip
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.layout import Layout
from emflow_emulator.core.recipe import Recipe

Download = Callable[[str, str, Path], None]
"""Takes bucket, key and the target file. Raises DeploymentFailure."""

_DOWNLOADING = "ARTIFACT_DOWNLOAD_ERROR"


class Staged:
    """The artifacts of a component version in a folder of their own, complete, until they are put where recipes look.

    The folders that they replace are kept until `finish`, so that a failed deployment can take them back.
    """

    def __init__(self, recipe: Recipe, layout: Layout) -> None:
        self._recipe = recipe
        self._layout = layout
        name, version = recipe.name, recipe.version
        self.artifacts = layout.staged / "artifacts" / name / version
        self.unarchived = layout.staged / "artifacts-unarchived" / name / version
        replaced = layout.replaced / name / version
        self._moves = (
            (self.artifacts, layout.artifacts(name, version), replaced / "artifacts"),
            (self.unarchived, layout.unarchived(name, version), replaced / "artifacts-unarchived"),
        )
        self._before: str | None = None
        self._put = False
        for _, target, _ in self._moves:
            target.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.artifacts, self.unarchived):
            folder.mkdir(parents=True)

    def put(self) -> None:
        """Put them in place. No component may run from the folders that are replaced.

        Raises:
            OSError: the folders cannot be moved.
        """
        record = self._layout.artifact_record(self._recipe.name, self._recipe.version)
        self._before = record.read_text() if record.exists() else None
        record.unlink(missing_ok=True)  # written at the end: what is found without one is not complete
        self._put = True
        for staged, target, replaced in self._moves:
            if target.exists():
                replaced.parent.mkdir(parents=True, exist_ok=True)
                target.rename(replaced)
            staged.rename(target)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(_record(self._recipe))

    def undo(self) -> None:
        """Take back what was in place before `put`; does nothing if that was not called."""
        if not self._put:
            return
        record = self._layout.artifact_record(self._recipe.name, self._recipe.version)
        record.unlink(missing_ok=True)
        for staged, target, replaced in self._moves:
            if not staged.exists():  # it was moved
                shutil.rmtree(target, ignore_errors=True)
            if replaced.exists():
                replaced.rename(target)
        if self._before is not None:
            record.write_text(self._before)
        self._put = False


def fetch(recipe: Recipe, layout: Layout, download: Download) -> None:
    """Download all artifacts of a component version, and put them in place; what is there and right stays untouched.

    Raises:
        DeploymentFailure: an artifact does not exist, has changed, or cannot be unpacked.
    """
    staged = stage(recipe, layout, download)
    if staged:
        staged.put()
    finish(layout)


def stage(recipe: Recipe, layout: Layout, download: Download) -> Staged | None:
    """Download and unpack all artifacts of a component version, beside what is in place.

    None when what is in place was made from the same artifacts. The component may be running from it, so nothing of it
    is touched: only an artifact whose bytes are no longer right is downloaded again, and only an unpacked folder that
    is gone as a whole is unpacked again. What a component has made or changed among its unpacked files is its own.

    Raises:
        DeploymentFailure: an artifact does not exist, has changed, or cannot be unpacked.
    """
    record = layout.artifact_record(recipe.name, recipe.version)
    folder = layout.artifacts(recipe.name, recipe.version)
    if record.exists() and record.read_text() == _record(recipe):
        _complete(recipe, layout, download)
        return None
    staged = Staged(recipe, layout)
    try:
        for artifact in recipe.artifacts:
            file = staged.artifacts / artifact.name
            if _is_right(artifact, folder / artifact.name):
                shutil.copyfile(folder / artifact.name, file)
                file.chmod(_mode(artifact))
            else:
                _load(recipe, artifact, file, download)
            if artifact.unarchive:
                _unpack(recipe, artifact, file, staged.unarchived / Path(artifact.name).stem)
    except BaseException:
        finish(layout)
        raise
    return staged


def _complete(recipe: Recipe, layout: Layout, download: Download) -> None:
    """Bring back what is missing or no longer right of the artifacts in place, each at once and complete."""
    folder, unarchived = layout.artifacts(recipe.name, recipe.version), layout.unarchived(recipe.name, recipe.version)
    fresh = layout.staged / "missing"
    for artifact in recipe.artifacts:
        file, unpacked = folder / artifact.name, unarchived / Path(artifact.name).stem
        if not _is_right(artifact, file):
            folder.mkdir(parents=True, exist_ok=True)
            _load(recipe, artifact, file, download)
        if artifact.unarchive and not unpacked.is_dir():
            try:
                _unpack(recipe, artifact, file, fresh)
                unarchived.mkdir(parents=True, exist_ok=True)
                unpacked.unlink(missing_ok=True)  # a file, or a link to nothing
                fresh.rename(unpacked)
            except BaseException:
                finish(layout)
                raise


def finish(layout: Layout) -> None:
    """Remove what a deployment has staged and not used, and what it has replaced."""
    for folder in (layout.staged, layout.replaced):
        shutil.rmtree(folder, ignore_errors=True)


def _record(recipe: Recipe) -> str:
    """What the folders of a component version were made from."""
    return to_json([dataclasses.asdict(artifact) for artifact in recipe.artifacts])


def _is_right(artifact: Artifact, file: Path) -> bool:
    return file.is_file() and digest(file) == artifact.digest


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
            layout.artifact_record(name, version.name).unlink(missing_ok=True)
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
        part.chmod(_mode(artifact))
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _unpack(recipe: Recipe, artifact: Artifact, file: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(file) as archive:
            check_zip(archive, file.stat().st_size)
            for member in archive.infolist():
                if ".." in Path(member.filename).parts:
                    # extract() would write it into the folder under another name; a board refuses the whole zip.
                    raise ValueError(f"Entry is outside of the target dir: {member.filename}")
                archive.extract(member, target)
        for path in target.rglob("*"):
            path.chmod(0o755 if path.is_dir() else _mode(artifact))
    except Exception as error:  # zipfile does not convert the exceptions of its decompressors
        raise DeploymentFailure(
            f"Failed to unarchive '{artifact.uri}' of component {recipe.name}-{recipe.version}: {error}",
            "IO_ERROR",
            "IO_UNZIP_ERROR",
        ) from error
