"""Packages of an edge packaging job, as the embedded AWS makes them: `manifest.json` with the digests of the files,
`manifest.sig`, and `certificate.pem`.

The signature is of exactly the bytes of the manifest: ECDSA over P-256 with SHA-256, in base64 of DER.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from emflow_agent.errors import CannotLoad
from emflow_agent.models.folder import ModelFolder, relative_parts
from emflow_schema.model_manifest import read_json
from emflow_schema.model_signature import MAX_FILES
from emflow_schema.trusted_keys import TrustedKey, key_of, read_keys

MANIFEST, SIGNATURE, CERTIFICATE = "manifest.json", "manifest.sig", "certificate.pem"

MAX_MANIFEST_BYTES = 1 << 20
MAX_SIGNATURE_BYTES = 1 << 14

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class JobManifest:
    """The files of a model with their SHA-256, by their path in the folder, and its identification."""

    files: Mapping[str, str]
    name: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class JobPackage:
    """A package whose signature was verified as far as `remark` says. key: the trusted key that made it."""

    manifest: JobManifest
    remark: str
    key: TrustedKey | None = None


def is_job_package(names: Collection[str]) -> bool:
    """Whether files with these names in a folder are such a package."""
    return MANIFEST in names and SIGNATURE in names


def open_job_package(folder: ModelFolder, keys: Sequence[TrustedKey]) -> JobPackage:
    """Verify the signature of a package; the files are not read.

    Args:
        keys: one of them has to have made the signature. Without any, the certificate beside it has to be of the key
            that made it, which shows damage, and not who made the package.

    Raises:
        CannotLoad: it is damaged, or not signed by one of these keys.
    """
    content = folder.read(MANIFEST, MAX_MANIFEST_BYTES)
    try:
        signature = base64.b64decode(folder.read(SIGNATURE, MAX_SIGNATURE_BYTES).strip(), validate=True)
    except (binascii.Error, ValueError):
        raise CannotLoad(f"{SIGNATURE} is not base64") from None
    if keys:
        made_it = key_of(signature, content, keys)
        if made_it is None:
            raise CannotLoad(f"{MANIFEST} is not signed by a key that this agent trusts")
        if made_it.revoked:
            raise CannotLoad(f"{MANIFEST} is signed by {made_it}, which was revoked")
        return JobPackage(read_job_manifest(content), f"signed by {made_it}", made_it)
    return JobPackage(read_job_manifest(content), _check_certificate(folder, signature, content))


def _check_certificate(folder: ModelFolder, signature: bytes, content: bytes) -> str:
    if CERTIFICATE not in folder.names():
        return "digests match the manifest; its signature was not checked: no trusted key is configured"
    try:
        (key,) = read_keys(folder.read(CERTIFICATE, MAX_SIGNATURE_BYTES).decode())
    except ImportError:
        return "digests match the manifest; its signature was not checked: cryptography is not installed"
    except ValueError as error:
        raise CannotLoad(f"the package's certificate cannot be read: {error}") from None
    if not key.verifies(signature, content):
        raise CannotLoad("the manifest is not signed by the certificate beside it")
    return "signed by the certificate beside it, which is not a trusted key"


def read_job_manifest(content: bytes) -> JobManifest:
    """
    Raises:
        CannotLoad: it is not a valid manifest.
    """
    try:
        document = read_json(content)
    except ValueError as error:
        raise CannotLoad(f"{MANIFEST} is damaged: {error}") from None
    files = document.get("files")
    if document.get("algorithm") != "SHA-256" or not isinstance(files, dict):
        raise CannotLoad(f"{MANIFEST} is not a manifest with SHA-256 digests of files")
    if not 0 < len(files) <= MAX_FILES:
        raise CannotLoad(f"{MANIFEST} lists {len(files)} files; it must be 1 to {MAX_FILES}")
    for name, digest in files.items():
        relative_parts(name)
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise CannotLoad(f"{MANIFEST}: sha256 of {name!r} is not a SHA-256 digest in hexadecimal")
    return JobManifest(files, str(document.get("model_name", "")), str(document.get("model_version", "")))
