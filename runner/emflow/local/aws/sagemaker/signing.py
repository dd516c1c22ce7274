"""Signatures of model packages: a manifest of digests, signed with a key that this AWS made for itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

MANIFEST, SIGNATURE, CERTIFICATE = "manifest.json", "manifest.sig", "certificate.pem"


@dataclass(frozen=True)
class Signed:
    """A manifest, its signature and the certificate to check it with, as they lie in a package.

    The signature is ECDSA over P-256 with SHA-256, DER in base64, of exactly the manifest's bytes.
    """

    manifest: bytes
    signature: bytes
    certificate: bytes

    @property
    def files(self) -> dict[str, bytes]:
        return {MANIFEST: self.manifest, SIGNATURE: self.signature, CERTIFICATE: self.certificate}


class Signer:
    """A key and its self-signed certificate, made at the first signature and kept in memory only."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "emflow embedded Edge packaging")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=3650))
            .sign(self._key, hashes.SHA256())
        )
        self._certificate = certificate.public_bytes(serialization.Encoding.PEM)

    def sign(self, facts: Mapping[str, str], files: Mapping[str, bytes]) -> Signed:
        """Sign the digests of `files` together with `facts` about them."""
        digests = {name: sha256(data).hexdigest() for name, data in sorted(files.items())}
        manifest = json.dumps({**facts, "algorithm": "SHA-256", "files": digests}, indent=2).encode() + b"\n"
        signature = self._key.sign(manifest, ec.ECDSA(hashes.SHA256()))
        return Signed(manifest, base64.b64encode(signature) + b"\n", self._certificate)
