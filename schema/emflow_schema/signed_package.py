"""Verifies a signed model package, the same on the host and on a device: signature, manifest, files, and times.

A package is a folder (or a zip of it) with the files of a model, `emflow-model.json` (see `model_manifest`) and the
signature of all of them, `model.sig` (see `model_signature`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from emflow_schema.model_files import is_left_by_macos
from emflow_schema.model_manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    NAME,
    BadManifest,
    ModelManifest,
    is_version,
    read_json,
    read_manifest,
    written,
)
from emflow_schema.model_signature import MAX_BUNDLE_BYTES, SIGNATURE, BadSignature, Statement, read_bundle
from emflow_schema.trusted_keys import TrustedKey, signing_key

ED25519_FILES = ("emflow-package.json", "emflow-package.sig")
"""Manifest and signature of packages as emflow signed them before, with Ed25519."""

MAX_PACKAGE_BYTES = 2 * 1024**3
"""Of all files together, manifest and signature left out: Greengrass takes no larger component."""

_MOST_NAMES = 3
"""Files that a message names."""


class BadPackage(Exception):
    """The package is refused; the text is one line that says why."""


class PackageFiles(Protocol):
    """The files of a package, wherever they are. Reading follows no links."""

    def all_names(self) -> Collection[str]:
        """Every file and link, with slashes for subfolders."""

    def read(self, name: str, max_bytes: int) -> bytes:
        """The content of a file of at most `max_bytes` bytes."""

    def digest(self, name: str) -> str:
        """SHA-256 of a file, in hexadecimal."""


@dataclass(frozen=True)
class SignedPackage:
    """A package whose signature is by a trusted key, if there are any; of its files, only the manifest was read.

    manifest: None where it is not among the signed files: the `model_signing` command signs any folder.
    key: which made the signature; None when no keys were given, and the signature was not verified.
    """

    statement: Statement
    manifest: ModelManifest | None
    key: TrustedKey | None

    @property
    def model_files(self) -> list[str]:
        """The signed files without the manifest, sorted."""
        return sorted(self.statement.files.keys() - {MANIFEST})

    def check_file(self, name: str, digest: str) -> None:
        """
        Raises:
            BadPackage: this digest is not what was signed for the file.
        """
        if self.statement.files[name] != digest:
            raise BadPackage(f"{name!r} differs from what was signed (SHA-256)")

    def check_model(self, name: str, version: str = "") -> None:
        """
        Args:
            version: empty where it is not known which one is wanted.

        Raises:
            BadPackage: the package is of another model or version.
        """
        if self.manifest is None:
            raise BadPackage(f"it has no signed {MANIFEST}, which says what model it is; sign it with emflow package")
        if self.manifest.name != name:
            raise BadPackage(f"it is the package of model {self.manifest.name!r}, not of {name[:100]!r}")
        if version and self.manifest.version != version:
            raise BadPackage(f"it is version {self.manifest.version} of {name}, not {version[:50]!r}")


def check_times(
    manifest: ModelManifest | None, key: TrustedKey | None, now: datetime, clock_is_right: bool = True
) -> str:
    """Whether a package and the key that signed it count now.

    Args:
        clock_is_right: whether `now` can be the present.

    Returns:
        A warning, when the clock is not right and something is limited in time; empty otherwise.

    Raises:
        BadPackage: one of them does not count yet, or any more, and the clock is right.
    """
    if clock_is_right:
        problem = _outside_of_its_time(manifest, key, now)
        if problem:
            raise BadPackage(f"{problem}; the clock says {written(now)}")
        return ""
    limits = [manifest.not_before, manifest.not_after] if manifest else []
    limits += [key.valid_from, key.valid_until] if key else []
    what = f"whether {manifest or 'the package'} and its key are in their time was not checked"
    return f"{what}: the clock is wrong, it says {written(now)}" if any(limits) else ""


def _outside_of_its_time(manifest: ModelManifest | None, key: TrustedKey | None, now: datetime) -> str:
    if key and key.valid_until and now > key.valid_until:
        return f"it is signed by {key}, which expired at {written(key.valid_until)}"
    if key and key.valid_from and now < key.valid_from:
        return f"it is signed by {key}, which counts from {written(key.valid_from)}"
    if manifest and manifest.not_after and now > manifest.not_after:
        return f"the package {manifest} expired at {written(manifest.not_after)}"
    if manifest and manifest.not_before and now < manifest.not_before:
        return f"the package {manifest} is valid from {written(manifest.not_before)}"
    return ""


def open_package(files: PackageFiles, keys: Sequence[TrustedKey]) -> SignedPackage:
    """Verify the signature of a package, and that it has exactly the signed files. Their content is checked later,
    with `SignedPackage.check_file`, when it is read anyway.

    Args:
        keys: without any, the signature is not verified.

    Raises:
        BadPackage: it is not signed by one of the keys, or is not complete, or has other files.
        Exception: whatever `files` raises for a file that cannot be read.
    """
    names = set(files.all_names())
    if not names.isdisjoint(ED25519_FILES):
        raise BadPackage(f"it is signed with Ed25519, as emflow did before; sign it anew: {_sign_anew(files, names)}")
    if SIGNATURE not in names:
        raise BadPackage(f"it is not signed (no {SIGNATURE}); sign it with emflow package")
    try:
        bundle = read_bundle(files.read(SIGNATURE, MAX_BUNDLE_BYTES))
        key = signing_key(bundle, keys) if keys else None
        statement = bundle.statement
    except BadSignature as problem:
        raise BadPackage(str(problem)) from None
    missing = statement.files.keys() - names
    if missing:
        raise BadPackage(f"it lacks {_listed(missing)}, which was signed")
    extra = {
        name
        for name in names - statement.files.keys() - {SIGNATURE}
        if not statement.ignores(name) and not is_left_by_macos(name)
    }
    if extra:
        raise BadPackage(f"it has {_listed(extra)}, which was not signed")
    if MANIFEST not in statement.files:
        return SignedPackage(statement, None, key)
    content = files.read(MANIFEST, MAX_MANIFEST_BYTES)
    package = SignedPackage(statement, None, key)
    package.check_file(MANIFEST, hashlib.sha256(content).hexdigest())
    try:
        return SignedPackage(statement, read_manifest(content), key)
    except BadManifest as problem:
        raise BadPackage(f"{MANIFEST} {problem}") from None


def verify_files(files: PackageFiles, keys: Sequence[TrustedKey]) -> SignedPackage:
    """As `open_package`, and every file is read and compared with what was signed."""
    package = open_package(files, keys)
    for name in sorted(package.statement.files):
        package.check_file(name, files.digest(name))
    return package


def _sign_anew(files: PackageFiles, names: Collection[str]) -> str:
    """The command, with the name and the version of the old manifest, where these are allowed now."""
    model: Any = None
    if ED25519_FILES[0] in names:
        try:
            model = read_json(files.read(ED25519_FILES[0], MAX_BUNDLE_BYTES)).get("model")
        except Exception:  # the package is refused anyway
            model = None
    found = {key: model.get(key) if isinstance(model, dict) else None for key in ("name", "version")}
    name = found["name"] if isinstance(found["name"], str) and NAME.fullmatch(found["name"][:64]) else "NAME"
    version = found["version"] if isinstance(found["version"], str) and is_version(found["version"]) else "VERSION"
    return f"emflow package FOLDER --name {name[:64]} --version {version} --key key.pem --out NEW_FOLDER"


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(repr(name[:100]) for name in sorted(names)[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"
