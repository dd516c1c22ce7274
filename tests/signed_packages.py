"""Signs model folders for tests: with the format's own module, so that boards' tests need nothing of the host."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from emflow_schema.model_manifest import MANIFEST
from emflow_schema.model_signature import SIGNATURE, Bundle, Statement, pre_authentication_encoding
from emflow_schema.signed_package import BadPackage
from emflow_schema.trusted_keys import fingerprint

IGNORED = (SIGNATURE, ".git")


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: Any) -> str:
    """The public half of a private key."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return pem.decode()


def private_pem(key: Any, passphrase: bytes = b"") -> bytes:
    hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    return pem


def manifest(name: str = "scenes", version: str = "1.2.0", **more: Any) -> bytes:
    return json.dumps({"format": 1, "name": name, "version": version, **more}).encode()


def signed(key: Any, payload: bytes, hint: str | None = None) -> bytes:
    """The content of a bundle over this payload, whatever it is."""
    signature = key.sign(pre_authentication_encoding(payload), ec.ECDSA(hashes.SHA256()))
    return Bundle(payload, signature, fingerprint(key.public_key()) if hint is None else hint).encoded()


def statement(files: dict[str, bytes]) -> Statement:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != SIGNATURE}
    return Statement(digests, IGNORED, "scenes")


def package(key: Any, files: dict[str, bytes], about: bytes | None = None) -> dict[str, bytes]:
    """These files with manifest and signature."""
    whole = {**files, MANIFEST: manifest() if about is None else about}
    return {**whole, SIGNATURE: signed(key, statement(whole).encoded())}


def sign_folder(folder: Path, key: Any, name: str = "scenes", version: str = "1.2.0", **more: Any) -> Path:
    """Write manifest and signature into a folder, over those that are there."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (MANIFEST, SIGNATURE)
    }
    made = package(key, files, manifest(name, version, **more))
    for file in (MANIFEST, SIGNATURE):
        (folder / file).write_bytes(made[file])
    return folder


class InMemory:
    """The files of a package in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def all_names(self) -> Sequence[str]:
        return list(self.files)

    def read(self, name: str, max_bytes: int) -> bytes:
        if len(self.files[name]) > max_bytes:
            raise BadPackage(f"{name} is longer than {max_bytes} bytes")
        return self.files[name]

    def digest(self, name: str) -> str:
        return hashlib.sha256(self.files[name]).hexdigest()
