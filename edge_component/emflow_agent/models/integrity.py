"""Which bytes of a model's folder may be loaded: those that its manifest lists, whose signature somebody trusted gave.

Two kinds of manifest are known: our own (`emflow-package.json`, docs/model-packages.md), and the one that an edge
packaging job of the embedded AWS leaves (`manifest.json` beside `manifest.sig`). A folder without either is taken as it
is, unless keys are configured that packages have to be signed with.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emflow_agent.errors import BadOption, CannotLoad
from emflow_agent.models.folder import ModelFolder, relative_parts
from emflow_schema.installation import how_to_install

# Signatures of model packages: the keys that are trusted, and what a signature is worth with and without them.
#
# Ours are Ed25519, of exactly the manifest's bytes, in base64. A packaging job's are ECDSA over P-256 with SHA-256.
# `cryptography` (extra `signing`) is imported when it is needed, so that an agent without keys works without it.


def install_signing() -> str:
    """For messages: how to install `cryptography`."""
    return f"install it (extra signing): {how_to_install('emflow-device', 'signing')}"


class TrustedKeys:
    """The keys whose signatures count.

    Args:
        keys: public keys; where there are any, packages without a signature of one of them are refused.
    """

    def __init__(self, keys: Sequence[Any] = ()) -> None:
        self._keys = tuple(keys)

    @property
    def signature_required(self) -> bool:
        return bool(self._keys)

    def check(self, manifest: bytes, signature: bytes, certificate: bytes = b"") -> str:
        """What the signature of a manifest's bytes is worth, for the log.

        Without keys, a signature that came with its own certificate still tells damage, and nothing else.

        Raises:
            CannotLoad: it is worth nothing.
        """
        try:
            signed = base64.b64decode(signature.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise CannotLoad("the signature is no base64") from None
        if self._keys:
            if not any(_verifies(key, signed, manifest) for key in self._keys):
                raise CannotLoad("the manifest's signature is not one of a key that this agent trusts")
            return "signed by a trusted key"
        if not certificate:
            return "digests match the manifest; its signature was not checked, for no key is trusted"
        try:
            carried = _public_key(certificate)
        except ImportError:
            return "digests match the manifest; its signature was not checked, for cryptography is not installed"
        except ValueError as error:
            raise CannotLoad(f"the package's certificate cannot be read: {error}") from None
        if not _verifies(carried, signed, manifest):
            raise CannotLoad("the manifest's signature is not that of the certificate beside it")
        return "signed by the certificate beside it, which no configured key vouches for"


def read_trusted_keys(setting: str, files: Sequence[Path], required: bool = False) -> TrustedKeys:
    """The keys in PEM files: public keys, or certificates of them.

    Raises:
        BadOption: a file cannot be read or holds no such key; signatures are required and there is no key.
    """
    if required and not files:
        raise BadOption(f"{setting}: signatures are required and no key is given that could have made them")
    return TrustedKeys([_read_key(setting, file) for file in files])


def _read_key(setting: str, file: Path) -> Any:
    try:
        return _public_key(file.read_bytes())
    except ImportError as error:
        raise BadOption(f"{setting}: {error}; signatures need cryptography; {install_signing()}") from None
    except OSError as error:
        raise BadOption(f"{setting}: {str(file)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadOption(f"{setting}: {str(file)!r}: {error}") from None


def _public_key(pem: bytes) -> Any:
    """Raises: ImportError, ValueError."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY" in pem:
        raise ValueError("it is a private key; a device needs the public one only")
    try:
        certified = b"BEGIN CERTIFICATE" in pem
        key = x509.load_pem_x509_certificate(pem).public_key() if certified else load_pem_public_key(pem)
    except Exception:
        raise ValueError("it is no public key or certificate in PEM") from None
    if not isinstance(key, (ed25519.Ed25519PublicKey, ec.EllipticCurvePublicKey)):
        raise ValueError("its key is neither Ed25519 nor of an elliptic curve")
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
    """What a manifest says of a file; a packaging job's says nothing of its size."""

    sha256: str
    size: int | None = None


@dataclass(frozen=True)
class Manifest:
    """A model's files, by their path in the folder, and what it is."""

    files: Mapping[str, ManifestEntry]
    model: str = ""
    version: str = ""
    target: str = ""


@dataclass(frozen=True)
class VerifiedPackage:
    """A folder's manifest after its signature was looked at."""

    manifest: Manifest | None
    remark: str

    def __str__(self) -> str:
        facts = self.manifest
        return f"{facts.model} {facts.version}, {self.remark}" if facts else self.remark

    def names(self, folder: ModelFolder) -> list[str]:
        """The files that may be loaded: what is not in a manifest is not part of the package."""
        return sorted(self.manifest.files) if self.manifest else folder.names()

    def size(self, folder: ModelFolder, name: str) -> int:
        entry = self.manifest.files[name] if self.manifest else None
        return entry.size if entry and entry.size is not None else folder.size(name)

    def read(self, folder: ModelFolder, name: str, most: int) -> bytes:
        """A file's bytes, those that were checked: there is no second look at the file.

        Raises:
            CannotLoad: it is not what the manifest says, or see Folder.read.
        """
        content = folder.read(name, most)
        entry = self.manifest.files[name] if self.manifest else None
        if entry and entry.size is not None and len(content) != entry.size:
            raise CannotLoad(f"{name!r} has {len(content)} bytes and its manifest says {entry.size}")
        if entry and hashlib.sha256(content).hexdigest() != entry.sha256:
            raise CannotLoad(f"{name!r} is not the file that its manifest lists: its SHA-256 differs")
        return content


def verify_package(folder: ModelFolder, trust: TrustedKeys) -> VerifiedPackage:
    """Read a folder's manifest and check its signature.

    Raises:
        CannotLoad: a manifest that is damaged, a signature that nobody trusted gave, or none where one is needed.
    """
    there = folder.names()
    if MANIFEST in there:
        return _verify_manifest(folder, trust, read_manifest, MANIFEST, SIGNATURE if SIGNATURE in there else "")
    if SIGNATURE in there:
        raise CannotLoad(f"there is {SIGNATURE} and no {MANIFEST}; the package is not whole")
    if JOB_MANIFEST in there and JOB_SIGNATURE in there:
        certificate = JOB_CERTIFICATE if JOB_CERTIFICATE in there else ""
        return _verify_manifest(folder, trust, read_job_manifest, JOB_MANIFEST, JOB_SIGNATURE, certificate)
    if trust.signature_required:
        raise CannotLoad(f"the package is not signed (there is no {MANIFEST}), and this agent loads signed ones only")
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
        signed = folder.read(signature, MAX_SIGNATURE_BYTES)
        carried = folder.read(certificate, MAX_SIGNATURE_BYTES) if certificate else b""
        remark = trust.check(content, signed, carried)
    elif trust.signature_required:
        raise CannotLoad(
            f"{manifest} is not signed (there is no {SIGNATURE}), and this agent loads signed packages only"
        )
    else:
        remark = "digests match the manifest, which is not signed"
    return VerifiedPackage(read(content), remark)


def read_manifest(content: bytes) -> Manifest:
    """Our own manifest.

    Raises:
        CannotLoad: it is something else.
    """
    said = _object(content, MANIFEST)
    version = said.get("schemaVersion")
    if version != SCHEMA_VERSION:
        raise CannotLoad(f"{MANIFEST}: schemaVersion is {version!r}, and this agent knows {SCHEMA_VERSION}")
    files, model = said.get("files"), said.get("model", {})
    if not isinstance(model, dict) or not isinstance(files, dict):
        raise CannotLoad(f"{MANIFEST}: model and files have to be objects")
    entries = {}
    for name, entry in files.items():
        if not isinstance(entry, dict):
            raise CannotLoad(f"{MANIFEST}: {name!r} has to have sha256 and size")
        size = entry.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise CannotLoad(f"{MANIFEST}: size of {name!r} is {size!r}, which is no number of bytes")
        entries[name] = ManifestEntry(_digest(MANIFEST, name, entry.get("sha256")), size)
    facts = [model.get("name", ""), model.get("version", ""), said.get("target", "")]
    if not all(isinstance(fact, str) for fact in facts):
        raise CannotLoad(f"{MANIFEST}: name, version and target are texts")
    return Manifest(_checked(MANIFEST, entries), *facts)


def read_job_manifest(content: bytes) -> Manifest:
    """The manifest of a packaging job of the embedded AWS.

    Raises:
        CannotLoad: it is something else.
    """
    said = _object(content, JOB_MANIFEST)
    files = said.get("files")
    if said.get("algorithm") != "SHA-256" or not isinstance(files, dict):
        raise CannotLoad(f"{JOB_MANIFEST} is no manifest with SHA-256 digests of files")
    entries = {name: ManifestEntry(_digest(JOB_MANIFEST, name, digest)) for name, digest in files.items()}
    model, version = str(said.get("model_name", "")), str(said.get("model_version", ""))
    return Manifest(_checked(JOB_MANIFEST, entries), model, version)


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        said = json.loads(content, object_pairs_hook=_without_duplicate_keys)
    except (ValueError, RecursionError) as error:
        raise CannotLoad(f"{what} is damaged: {error}") from None
    if not isinstance(said, dict):
        raise CannotLoad(f"{what} is no JSON object")
    return said


def _without_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two entries of one name would mean one thing to us and another to whoever signed."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key comes twice")
    return made


def _digest(what: str, name: str, said: object) -> str:
    if not isinstance(said, str) or not _DIGEST.fullmatch(said):
        raise CannotLoad(f"{what}: sha256 of {name!r} is no SHA-256 digest in hexadecimal")
    return said


def _checked(what: str, files: Mapping[str, ManifestEntry]) -> Mapping[str, ManifestEntry]:
    if not 0 < len(files) <= MAX_FILES:
        raise CannotLoad(f"{what} lists {len(files)} files; it has to be 1 to {MAX_FILES}")
    for name in files:
        relative_parts(name)
    return files
