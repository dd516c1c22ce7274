"""Decides whether a model folder may be loaded, and gives out its files, verified.

Two kinds of packages are known: those of `emflow package`, in the format of OpenSSF model signing
(`emflow_schema.signed_package`), and those of an edge packaging job of the embedded AWS (`job_package`). With trusted
keys, anything else is refused. Without keys, a folder that is not signed is loaded as it is, and the digests of a
signed one tell damage.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Union

from emflow_agent.errors import BadOption, CannotLoad
from emflow_agent.models import job_package
from emflow_agent.models.folder import MAX_FILE_BYTES, ModelFolder, sha256
from emflow_agent.models.job_package import JobManifest
from emflow_agent.models.trust_state import TrustState
from emflow_schema.installation import how_to_install
from emflow_schema.model_manifest import MANIFEST, ModelManifest, written
from emflow_schema.model_signature import SIGNATURE
from emflow_schema.signed_package import (
    ED25519_FILES,
    MAX_PACKAGE_BYTES,
    BadPackage,
    SignedPackage,
    check_times,
    open_package,
)
from emflow_schema.trusted_keys import MAX_KEYS_BYTES, TrustedKey, read_keys

log = logging.getLogger(__name__)

PackageManifest = Union[ModelManifest, JobManifest]
"""What a package of either kind says of its model: `name` and `version` at least."""


@dataclass(frozen=True)
class TrustedKeys:
    """The public keys whose signatures are accepted, and what the agent remembers about times and versions.

    keys: with at least one, packages without a signature by one of them are refused.
    """

    keys: Sequence[TrustedKey] = ()
    state: TrustState = field(default_factory=TrustState)

    @property
    def signature_required(self) -> bool:
        return bool(self.keys)


def read_trusted_keys(
    setting: str, given: Sequence[str], required: bool = False, state: TrustState | None = None
) -> TrustedKeys:
    """Read public keys, or certificates with them.

    Args:
        setting: its name, for messages.
        given: each the path of a file, or keys as text (`emflow_schema.trusted_keys`).
        required: whether it is a mistake to give none.

    Raises:
        BadOption: a file cannot be read or holds no key; or signatures are required and no key is given.
    """
    if required and not given:
        raise BadOption(f"{setting}: signatures are required, but no trusted key is given")
    return TrustedKeys([key for each in given for key in _read_keys(setting, each)], state or TrustState())


def _read_keys(setting: str, given: str) -> list[TrustedKey]:
    as_text = "-----BEGIN" in given
    place = setting if as_text else f"{setting}: {given!r}"
    try:
        return read_keys(given if as_text else _read_file(setting, Path(given)))
    except ImportError as error:
        needs = (
            f"signatures need cryptography; install it (extra signing): {how_to_install('emflow-device', 'signing')}"
        )
        raise BadOption(f"{setting}: {error}; {needs}") from None
    except ValueError as error:
        raise BadOption(f"{place}: {error}") from None


def _read_file(setting: str, file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_KEYS_BYTES + 1).decode("utf-8", "replace")
    except OSError as error:
        beside = "" if file.is_absolute() else f" in {Path.cwd()}"
        raise BadOption(f"{setting}: {str(file)!r} cannot be read{beside}: {error.strerror}") from None


class VerifiedFile(NamedTuple):
    """A file that is what was signed, if anything was; `sha256` in hexadecimal."""

    content: bytes
    sha256: str


@dataclass(frozen=True)
class VerifiedPackage:
    """A folder whose signature was verified.

    digests: SHA-256 of the signed files, those about the package left out; None for a folder without a signature.
    manifest: of the package; without trusted keys, nothing shows who wrote it.
    remark: what was verified, for the log.
    """

    remark: str
    digests: Mapping[str, str] | None = None
    manifest: PackageManifest | None = None

    def __str__(self) -> str:
        return self.remark

    def names(self, folder: ModelFolder) -> list[str]:
        """The files that may be loaded; a file that is not signed is not part of the package."""
        return folder.names() if self.digests is None else sorted(self.digests)

    def read(self, folder: ModelFolder, name: str, most: int) -> VerifiedFile:
        """The verified content of a file. It is read once, so it cannot change after the check.

        Raises:
            CannotLoad: it differs from what was signed; or see ModelFolder.read.
        """
        content = folder.read(name, most)
        digest = sha256(content, folder.check_wanted)
        if self.digests is not None and self.digests[name] != digest:
            raise CannotLoad(f"{name!r} differs from what was signed (SHA-256)")
        return VerifiedFile(content, digest)

    def check_sizes(self, folder: ModelFolder) -> None:
        """Check the sizes of all signed files, of which none is read: whoever may write to the folder can make them as
        large as he likes, and their digests are made while no other model can be loaded.

        Raises:
            CannotLoad: a file, or all of them together, is larger than in any package; or see ModelFolder.read.
        """
        total = 0
        for name in self.digests or {}:
            size = folder.size(name)
            total += size
            if size > MAX_FILE_BYTES:
                raise CannotLoad(f"{name!r} has {size} bytes; a file of a package has at most {MAX_FILE_BYTES}")
        if total > MAX_PACKAGE_BYTES:
            raise CannotLoad(f"its signed files have {total} bytes; a package has at most {MAX_PACKAGE_BYTES}")

    def check_others(self, folder: ModelFolder, read: Collection[str]) -> None:
        """Check the signed files that were not read.

        Raises:
            CannotLoad: one differs from what was signed; or see ModelFolder.read.
        """
        for name, digest in (self.digests or {}).items():
            if name not in read and folder.digest(name) != digest:
                raise CannotLoad(f"{name!r} differs from what was signed (SHA-256)")


def verify_package(folder: ModelFolder, trust: TrustedKeys, model: str = "", version: str = "") -> VerifiedPackage:
    """Verify the signature of a folder, and with trusted keys also that it may be loaded now, as this model.

    Args:
        model: the name that it is loaded as. version: that it has to have; empty for any.

    Raises:
        CannotLoad: one of these is not so; the text says which.
    """
    names = folder.names()
    if SIGNATURE in names or not set(names).isdisjoint(ED25519_FILES):
        try:
            return _verify_signed(open_package(folder, trust.keys), trust, model, version)
        except BadPackage as problem:
            raise CannotLoad(str(problem)) from None
    if job_package.is_job_package(names):
        job = job_package.open_job_package(folder, trust.keys)
        if job.key:
            _check_times(None, job.key, trust.state)
        return VerifiedPackage(f"{job.manifest}, {job.remark}", job.manifest.files, job.manifest)
    if trust.signature_required:
        raise CannotLoad(f"the package is not signed (no {SIGNATURE}); this agent loads signed packages only")
    return VerifiedPackage("not signed")


def _verify_signed(package: SignedPackage, trust: TrustedKeys, model: str, version: str) -> VerifiedPackage:
    """Raises: BadPackage, CannotLoad."""
    manifest, digests = package.manifest, package.statement.files
    what = str(manifest) if manifest else f"without {MANIFEST}"
    if package.key is None:
        check_version(manifest, version)
        remark = f"{what}; its signature was not checked: no trusted key is configured"
    else:
        package.check_model(model, version)
        assert manifest is not None  # check_model requires it
        _check_times(manifest, package.key, trust.state)
        trust.state.check_floor(manifest)
        remark = f"{what}, signed by {package.key}"
    return VerifiedPackage(remark, {name: digests[name] for name in package.model_files}, manifest)


def check_version(manifest: PackageManifest | None, version: str) -> None:
    """Compare the version that a client wants with that of a signed package; nothing else says which one it is.

    Args:
        version: empty for any.

    Raises:
        CannotLoad: the package is of another version.
    """
    if version and isinstance(manifest, ModelManifest) and manifest.version != version:
        raise CannotLoad(f"it is version {manifest.version} of {manifest.name}, not {version[:50]!r}")


def _check_times(manifest: ModelManifest | None, key: TrustedKey, state: TrustState) -> None:
    """Raises: CannotLoad."""
    clock = state.clock()
    try:
        warning = check_times(manifest, key, clock.now, clock.is_right)
    except BadPackage as problem:
        raise CannotLoad(str(problem)) from None
    if warning:
        log.warning("%s; the newest time that was seen is %s", warning, written(clock.newest))
    try:
        state.note_time()
    except CannotLoad as problem:  # a full disk does not keep a good model from running
        log.warning("the time is not remembered: %s", problem)
