"""What signs a package: a private key in a file, or a key in AWS KMS that never leaves it.

Both make an ECDSA signature over P-256 with SHA-256, in DER.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from emflow.problems import Problem
from emflow.workflow.source.safe_open import read_regular
from emflow_schema.installation import how_to_install
from emflow_schema.trusted_keys import MAX_KEYS_BYTES, NEW_KEY, NEW_PUBLIC_KEY, TrustedKey, fingerprint

KMS = "kms:"
_ANOTHER = f"make one with: {NEW_KEY}; its public half for devices with: {NEW_PUBLIC_KEY}"


class Signer(Protocol):
    """A key that signs. public: its public half."""

    @property
    def public(self) -> TrustedKey: ...

    def sign(self, content: bytes) -> bytes:
        """The signature of `content`. Raises Problem when it cannot be made."""
        ...


@dataclass(frozen=True)
class FileSigner:
    """A private key that was read from a file."""

    key: Any
    public: TrustedKey

    def sign(self, content: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        signature: bytes = self.key.sign(content, ec.ECDSA(hashes.SHA256()))
        return signature


@dataclass(frozen=True)
class KmsSigner:
    """A key in AWS KMS. It gets the digest of what it signs, and nothing else (`kms:Sign`, `kms:GetPublicKey`).

    client: boto3's, for `kms`. key_id: id, ARN, or alias of the key.
    """

    client: Any
    key_id: str
    public: TrustedKey

    def sign(self, content: bytes) -> bytes:
        answer = _called(
            self.key_id,
            lambda: self.client.sign(
                KeyId=self.key_id,
                Message=sha256(content).digest(),
                MessageType="DIGEST",
                SigningAlgorithm="ECDSA_SHA_256",
            ),
        )
        signature: bytes = answer["Signature"]
        if not self.public.verifies(signature, content):
            raise Problem(f"{KMS}{self.key_id}: what KMS answered is no signature by this key", mend="try again")
        return signature


def open_signer(key: str, region: str | None = None, profile: str | None = None) -> Signer:
    """The signer that `--key` names: a PEM file, or `kms:` with an id, ARN or alias.

    Args:
        region, profile: of AWS, for KMS; None for those of the environment.

    Raises:
        Problem: there is no such key, or it is of another kind.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        mend = f"Install it (extra signing) with: {how_to_install('emflow-runner', 'signing')}"
        raise Problem(f"signatures need the module {error.name}", mend=mend) from None
    return _kms_signer(key.removeprefix(KMS), region, profile) if key.startswith(KMS) else _file_signer(Path(key))


def _file_signer(path: Path) -> FileSigner:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        pem = read_regular(path, MAX_KEYS_BYTES)
    except OSError as error:
        raise Problem(f"--key: cannot be read: {error.strerror or error}", where=str(path), mend=_ANOTHER) from None
    if b"PRIVATE KEY" not in pem:
        what = "--key: this is a public key or a certificate" if b"-----BEGIN" in pem else "--key: not in PEM format"
        raise Problem(what, where=str(path), mend=f"give the private key; {_ANOTHER}")
    try:
        try:
            key = load_pem_private_key(pem, None)
        except TypeError:  # it is encrypted
            key = load_pem_private_key(pem, _passphrase(path))
    except (ValueError, UnsupportedAlgorithm):
        raise Problem("--key: not a private key in PEM format, or the passphrase is wrong", where=str(path)) from None
    return FileSigner(key, _public_half(key.public_key(), f"--key {path}", _ANOTHER))


def _passphrase(path: Path) -> bytes:
    if not sys.stdin.isatty():
        mend = f"take a key in KMS (--key {KMS}KEY-ID), or remove it: openssl pkey -in {path} -out key.pem"
        raise Problem("--key: the key has a passphrase, and nobody can be asked for it", where=str(path), mend=mend)
    return getpass.getpass(f"Passphrase of {path}: ").encode()


def _public_half(key: Any, where: str, mend: str) -> TrustedKey:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return TrustedKey(fingerprint(key), key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        what = "this is an Ed25519 key, with which emflow signed before; devices refuse its signatures now"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        what = f"this is a key of the curve {key.curve.name}; devices verify ECDSA over P-256 only"
    else:
        kind = type(key).__name__.strip("_").removesuffix("PublicKey") or "another"
        what = f"this is an {kind} key; devices verify ECDSA over P-256 only"
    raise Problem(what, where=where, mend=mend)


def _kms_signer(key_id: str, region: str | None, profile: str | None) -> KmsSigner:
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    mend = "make one with: aws kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY"
    if not key_id:
        raise Problem(f"--key {KMS}: no key is named", mend=f"write {KMS} and the id, ARN or alias of a key; {mend}")
    client = _client(key_id, region, profile)
    answer = _called(key_id, lambda: client.get_public_key(KeyId=key_id))
    where = f"--key {KMS}{key_id}"
    if answer.get("KeyUsage") != "SIGN_VERIFY":
        raise Problem(f"the key is for {answer.get('KeyUsage')}, not for signatures", where=where, mend=mend)
    try:
        key = load_der_public_key(answer["PublicKey"])
    except (ValueError, KeyError):
        raise Problem("KMS answered with no public key", where=where, mend=mend) from None
    return KmsSigner(client, key_id, _public_half(key, where, mend))


def _client(key_id: str, region: str | None, profile: str | None) -> Any:
    import boto3
    from botocore.exceptions import BotoCoreError

    from emflow.engine.clients import Clients
    from emflow.engine.errors import as_problem
    from emflow.workflow.model import Aws

    of_arn = key_id.split(":")[3] if key_id.startswith("arn:") and key_id.count(":") >= 5 else None
    try:
        session = boto3.Session(profile_name=profile, region_name=region or of_arn)
    except BotoCoreError as error:
        raise as_problem(error) from None
    if not session.region_name:
        raise Problem("no AWS region is known", where=f"--key {KMS}{key_id}", mend="give --region, or the key's ARN")
    return Clients(Aws(region=session.region_name, profile=profile), session)("kms")


def _called(key_id: str, call: Callable[[], Any]) -> Any:
    """Raises: Problem."""
    from botocore.exceptions import ClientError

    from emflow.engine.errors import AWS_ERRORS, as_problem, error_code

    try:
        return call()
    except AWS_ERRORS as error:
        if isinstance(error, ClientError) and error_code(error) == "NotFoundException":
            mend = "correct the id, ARN or alias (alias/…), or --region"
            raise Problem("there is no such key in KMS", where=f"--key {KMS}{key_id}", mend=mend) from None
        raise as_problem(error) from None
