"""Verifies a model folder: signature of the manifest by a trusted key, and the digest of every file that is loaded.

Two kinds of manifest are supported: our own (`emflow-package.json`, docs/model-packages.md), signed with Ed25519, and
the one of an edge packaging job of the embedded AWS (`manifest.json` beside `manifest.sig`), signed with ECDSA P-256
and SHA-256. Signatures are of exactly the bytes of the manifest, in base64. A folder without a manifest is loaded as it
is, unless trusted keys are configured. The package `cryptography` is imported only when it is needed.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from emflow_agent.errors import BadOption, CannotLoad
from emflow_agent.models.folder import ModelFolder, relative_parts, sha256
from emflow_schema.installation import how_to_install

# Signatures of model packages: the keys that are trusted, and what a signature is worth with and without them.
#
# Ours are Ed25519, of exactly the manifest's bytes, in base64. A packaging job's are ECDSA over P-256 with SHA-256.
# `cryptography` (extra `signing`) is imported when it is needed, so that an agent without keys works without it.


def install_signing() -> str:
    """For messages: how to install `cryptography`."""
    return f"install it (extra signing): {how_to_install('emflow-device', 'signing')}"


class TrustedKeys:
    """The public keys whose signatures are accepted.

    Args:
        keys: public keys; with at least one, packages without a signature by one of them are refused.
    """

    def __init__(self, keys: Sequence[Any] = ()) -> None:
        self._keys = tuple(keys)

    @property
    def signature_required(self) -> bool:
        return bool(self._keys)

    def check(self, manifest: bytes, signature: bytes, certificate: bytes = b"") -> str:
        """Verify the signature of a manifest; returns what was verified, for the log.

        Without trusted keys, a signature with its own certificate can only show that the files are not damaged.

        Raises:
            CannotLoad: the signature is not valid.
        """
        try:
            signature_bytes = base64.b64decode(signature.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise CannotLoad("the signature is not base64") from None
        if self._keys:
            if not any(_verifies(key, signature_bytes, manifest) for key in self._keys):
                raise CannotLoad("the manifest is not signed by a key that this agent trusts")
            return "signed by a trusted key"
        if not certificate:
            return "digests match the manifest; its signature was not checked: no trusted key is configured"
        try:
            certificate_pem = _public_key(certificate)
        except ImportError:
            return "digests match the manifest; its signature was not checked: cryptography is not installed"
        except ValueError as error:
            raise CannotLoad(f"the package's certificate cannot be read: {error}") from None
        if not _verifies(certificate_pem, signature_bytes, manifest):
            raise CannotLoad("the manifest is not signed by the certificate beside it")
        return "signed by the certificate beside it, which is not a trusted key"


def read_trusted_keys(setting: str, files: Sequence[Path], required: bool = False) -> TrustedKeys:
    """Read public keys, or certificates with them, from PEM files.

    Raises:
        BadOption: a file cannot be read or holds no key; or signatures are required and no key is given.
    """
    if required and not files:
        raise BadOption(f"{setting}: signatures are required, but no trusted key is given")
    return TrustedKeys([_read_key(setting, file) for file in files])


def _read_key(setting: str, file: Path) -> Any:
    try:
        return _public_key(file.read_bytes())
    except ImportError as error:
        raise BadOption(f"{setting}: {error}; signatures need cryptography; {install_signing()}") from None
    except OSError as error:
        beside = "" if file.is_absolute() else f" in {Path.cwd()}"
        raise BadOption(f"{setting}: {str(file)!r} cannot be read{beside}: {error.strerror}") from None
    except ValueError as error:
        raise BadOption(f"{setting}: {str(file)!r}: {error}") from None


def _public_key(pem: bytes) -> Any:
    """Raises: ImportError, ValueError."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY" in pem:
        raise ValueError("it is a private key; a device must have the public key only")
    try:
        certified = b"BEGIN CERTIFICATE" in pem
        key = x509.load_pem_x509_certificate(pem).public_key() if certified else load_pem_public_key(pem)
    except Exception:
        raise ValueError("it is not a public key or certificate in PEM format") from None
    if not isinstance(key, (ed25519.Ed25519PublicKey, ec.EllipticCurvePublicKey)):
        raise ValueError("the key is neither Ed25519 nor an elliptic curve key")
    return key


def _verifies(key: Any, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, content)
        else:
            key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


MANIFEST, SIGNATURE = "emflow-package.json", "emflow-package.sig"
JOB_MANIFEST, JOB_SIGNATURE, JOB_CERTIFICATE = "manifest.json", "manifest.sig", "certificate.pem"

SCHEMA_VERSION = 1

MAX_MANIFEST_BYTES = 1 << 20
MAX_SIGNATURE_BYTES = 1 << 14
MAX_FILES = 1000

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ManifestEntry:
    """A file in a manifest; manifests of packaging jobs have no sizes."""

    sha256: str
    size: int | None = None


@dataclass(frozen=True)
class Manifest:
    """The files of a model, by their path in the folder, and its identification."""

    files: Mapping[str, ManifestEntry]
    model: str = ""
    version: str = ""
    target: str = ""


class VerifiedFile(NamedTuple):
    """A file that is what the manifest says, if there is one; `sha256` in hexadecimal."""

    content: bytes
    sha256: str


@dataclass(frozen=True)
class VerifiedPackage:
    """A folder whose manifest and signature were verified."""

    manifest: Manifest | None
    remark: str

    def __str__(self) -> str:
        details = self.manifest
        return f"{details.model} {details.version}, {self.remark}" if details else self.remark

    def names(self, folder: ModelFolder) -> list[str]:
        """The files that may be loaded; a file that the manifest does not list is not part of the package."""
        return sorted(self.manifest.files) if self.manifest else folder.names()

    def size(self, folder: ModelFolder, name: str) -> int:
        entry = self.manifest.files[name] if self.manifest else None
        return entry.size if entry and entry.size is not None else folder.size(name)

    def read(self, folder: ModelFolder, name: str, most: int) -> VerifiedFile:
        """The verified content of a file. It is read once, so it cannot change after the check.

        Raises:
            CannotLoad: it differs from the manifest; or see ModelFolder.read.
        """
        content = folder.read(name, most)
        digest = sha256(content, folder.check_wanted)
        entry = self.manifest.files[name] if self.manifest else None
        if entry and entry.size is not None and len(content) != entry.size:
            raise CannotLoad(f"{name!r} has {len(content)} bytes; the manifest says {entry.size}")
        if entry and digest != entry.sha256:
            raise CannotLoad(f"{name!r} differs from the manifest (SHA-256)")
        return VerifiedFile(content, digest)


def verify_package(folder: ModelFolder, trust: TrustedKeys) -> VerifiedPackage:
    """Read the manifest of a folder and verify its signature.

    Raises:
        CannotLoad: the manifest is damaged, the signature is not by a trusted key, or a required one is missing.
    """
    names = folder.names()
    if MANIFEST in names:
        return _verify_manifest(folder, trust, read_manifest, MANIFEST, SIGNATURE if SIGNATURE in names else "")
    if SIGNATURE in names:
        raise CannotLoad(f"{SIGNATURE} exists but {MANIFEST} does not; the package is incomplete")
    if JOB_MANIFEST in names and JOB_SIGNATURE in names:
        certificate = JOB_CERTIFICATE if JOB_CERTIFICATE in names else ""
        return _verify_manifest(folder, trust, read_job_manifest, JOB_MANIFEST, JOB_SIGNATURE, certificate)
    if trust.signature_required:
        raise CannotLoad(f"the package is not signed (no {MANIFEST}); this agent loads signed packages only")
    return VerifiedPackage(None, "not signed")


def _verify_manifest(
    folder: ModelFolder,
    trust: TrustedKeys,
    read: Callable[[bytes], Manifest],
    manifest: str,
    signature: str,
    certificate: str = "",
) -> VerifiedPackage:
    content = folder.read(manifest, MAX_MANIFEST_BYTES)
    if signature:
        signature_bytes = folder.read(signature, MAX_SIGNATURE_BYTES)
        certificate_pem = folder.read(certificate, MAX_SIGNATURE_BYTES) if certificate else b""
        remark = trust.check(content, signature_bytes, certificate_pem)
    elif trust.signature_required:
        raise CannotLoad(f"{manifest} is not signed (no {SIGNATURE}); this agent loads signed packages only")
    else:
        remark = "digests match the manifest, which is not signed"
    return VerifiedPackage(read(content), remark)


def read_manifest(content: bytes) -> Manifest:
    """Parse our own manifest.

    Raises:
        CannotLoad: it is not a valid manifest.
    """
    document = _json_object(content, MANIFEST)
    version = document.get("schemaVersion")
    if version != SCHEMA_VERSION:
        raise CannotLoad(f"{MANIFEST}: schemaVersion is {version!r}; this agent supports {SCHEMA_VERSION}")
    files, model = document.get("files"), document.get("model", {})
    if not isinstance(model, dict) or not isinstance(files, dict):
        raise CannotLoad(f"{MANIFEST}: model and files must be objects")
    entries = {}
    for name, entry in files.items():
        if not isinstance(entry, dict):
            raise CannotLoad(f"{MANIFEST}: {name!r} must have sha256 and size")
        size = entry.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise CannotLoad(f"{MANIFEST}: size of {name!r} is {size!r}, not a number of bytes")
        entries[name] = ManifestEntry(_digest(MANIFEST, name, entry.get("sha256")), size)
    details = [model.get("name", ""), model.get("version", ""), document.get("target", "")]
    if not all(isinstance(fact, str) for fact in details):
        raise CannotLoad(f"{MANIFEST}: name, version and target must be text")
    return Manifest(_check_names(MANIFEST, entries), *details)


def read_job_manifest(content: bytes) -> Manifest:
    """Parse the manifest of an edge packaging job of the embedded AWS.

    Raises:
        CannotLoad: it is not a valid manifest.
    """
    document = _json_object(content, JOB_MANIFEST)
    files = document.get("files")
    if document.get("algorithm") != "SHA-256" or not isinstance(files, dict):
        raise CannotLoad(f"{JOB_MANIFEST} is not a manifest with SHA-256 digests of files")
    entries = {name: ManifestEntry(_digest(JOB_MANIFEST, name, digest)) for name, digest in files.items()}
    model, version = str(document.get("model_name", "")), str(document.get("model_version", ""))
    return Manifest(_check_names(JOB_MANIFEST, entries), model, version)


def _json_object(content: bytes, file_name: str) -> dict[str, Any]:
    try:
        document = json.loads(content, object_pairs_hook=_without_duplicate_keys)
    except (ValueError, RecursionError) as error:
        raise CannotLoad(f"{file_name} is damaged: {error}") from None
    if not isinstance(document, dict):
        raise CannotLoad(f"{file_name} is not a JSON object")
    return document


def _without_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate keys: readers of JSON disagree about which one counts."""
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a key is given twice")
    return unique


def _digest(file_name: str, name: str, document: object) -> str:
    if not isinstance(document, str) or not _DIGEST.fullmatch(document):
        raise CannotLoad(f"{file_name}: sha256 of {name!r} is not a SHA-256 digest in hexadecimal")
    return document


def _check_names(file_name: str, files: Mapping[str, ManifestEntry]) -> Mapping[str, ManifestEntry]:
    if not 0 < len(files) <= MAX_FILES:
        raise CannotLoad(f"{file_name} lists {len(files)} files; it must be 1 to {MAX_FILES}")
    for name in files:
        relative_parts(name)
    return files
