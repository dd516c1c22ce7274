"""Signatures of model packages: the keys that are trusted, and what a signature is worth with and without them.

Ours are Ed25519, of exactly the manifest's bytes, in base64. A packaging job's are ECDSA over P-256 with SHA-256.
`cryptography` (extra `signing`) is imported when it is needed, so that an agent without keys works without it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emflow_agent.problems import CannotLoad
from emflow_agent.runtimes.options import BadOption

INSTALL = "pip install 'emflow[signing]'"


class Trust:
    """The keys whose signatures count.

    Args:
        keys: public keys; where there are any, packages without a signature of one of them are refused.
    """

    def __init__(self, keys: Sequence[Any] = ()) -> None:
        self._keys = tuple(keys)

    @property
    def needed(self) -> bool:
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


def read_trust(setting: str, files: Sequence[Path], required: bool = False) -> Trust:
    """The keys in PEM files: public keys, or certificates of them.

    Raises:
        BadOption: a file cannot be read or holds no such key; signatures are required and there is no key.
    """
    if required and not files:
        raise BadOption(f"{setting}: signatures are required and no key is given that could have made them")
    return Trust([_read_key(setting, file) for file in files])


def _read_key(setting: str, file: Path) -> Any:
    try:
        return _public_key(file.read_bytes())
    except ImportError as error:
        raise BadOption(f"{setting}: {error}; signatures need cryptography: {INSTALL}") from None
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
