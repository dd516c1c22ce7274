"""Public keys that may sign models, each with the time in which it counts: for configurations, and files.

A text in PEM format. Lines above a key say when it counts, and all lines are optional:

    # release key of 2026
    valid-from: 2026-01-01
    valid-until: 2027-06-30
    -----BEGIN PUBLIC KEY-----
    …
    -----END PUBLIC KEY-----

`revoked: 2026-05-01` instead: the key counts no more, and whoever meets its signature learns that it was revoked, and
not just that the key is unknown. A certificate stands for its key; its own dates count too.

`cryptography` (extra `signing`) is imported when a key is read, so that what needs no keys works without it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from emflow_schema.model_manifest import parse_time, written
from emflow_schema.model_signature import BadSignature, Bundle

MAX_KEYS_BYTES = 1 << 16
NEW_KEY = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"
"""The command that makes a private key; that of its public half is `NEW_PUBLIC_KEY`."""
NEW_PUBLIC_KEY = "openssl pkey -in key.pem -pubout -out key.pub.pem"

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----[^-]*-----END \1-----")
_DATES = ("valid-from", "valid-until", "revoked")


@dataclass(frozen=True)
class TrustedKey:
    """A public key, ECDSA over P-256.

    fingerprint: SHA-256 of the key in PEM format, in hexadecimal: what a bundle names it by.
    valid_from, valid_until: when it counts; None for no limit. revoked: since when it does not.
    """

    fingerprint: str
    key: Any
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    revoked: datetime | None = None

    def __str__(self) -> str:
        return f"key {self.fingerprint[:16]}"

    def verifies(self, signature: bytes, content: bytes) -> bool:
        """Whether `signature` is this key's ECDSA signature of `content`, with SHA-256, in DER."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            self.key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def read_keys(text: str) -> list[TrustedKey]:
    """The keys in a text, in its order.

    Raises:
        ValueError: it holds none, or something else; the text is the end of a sentence that names the text.
        ImportError: `cryptography` is not installed.
    """
    if len(text) > MAX_KEYS_BYTES:
        raise ValueError(f"it has more than {MAX_KEYS_BYTES} characters, too many for keys")
    keys, end = [], 0
    for block in _BLOCK.finditer(text):
        key = _public_key(block[1], block[0].encode())
        keys.append(_with_dates(key, _dates_in(text[end : block.start()])))
        end = block.end()
    rest = list(_lines(text[end:]))
    if not keys or rest:
        raise ValueError("it is not a public key or certificate in PEM format")
    return keys


def _public_key(kind: str, pem: bytes) -> TrustedKey:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if "PRIVATE KEY" in kind:
        raise ValueError("it is a private key; a device must have the public key only")
    dates: tuple[datetime | None, datetime | None] = (None, None)
    try:
        # Of a certificate without the time zone that newer versions of the library give, which older ones lack.
        if kind == "CERTIFICATE":
            certificate = x509.load_pem_x509_certificate(pem)
            key: Any = certificate.public_key()
            dates = _utc(certificate, "not_valid_before"), _utc(certificate, "not_valid_after")
        else:
            key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("it is not a public key or certificate in PEM format") from None
    if isinstance(key, ed25519.Ed25519PublicKey):
        raise ValueError(
            f"the key is Ed25519; packages are signed with ECDSA over P-256: make a key ({NEW_KEY}; {NEW_PUBLIC_KEY}) "
            "and sign anew (emflow package)"
        )
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        kind = (
            f"of the curve {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else "no elliptic curve key"
        )
        raise ValueError(f"the key is {kind}; it has to be ECDSA over P-256: {NEW_KEY}; {NEW_PUBLIC_KEY}")
    return TrustedKey(fingerprint(key), key, *dates)


def _utc(certificate: Any, name: str) -> datetime:
    aware = getattr(certificate, f"{name}_utc", None)
    moment: datetime = aware if aware is not None else getattr(certificate, name).replace(tzinfo=timezone.utc)
    return moment


def fingerprint(key: Any) -> str:
    """What a bundle names a public key by."""
    from cryptography.hazmat.primitives import serialization as form

    return hashlib.sha256(key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _lines(text: str) -> Iterator[str]:
    for line in map(str.strip, text.splitlines()):
        if line and not line.startswith("#"):
            yield line


def _dates_in(text: str) -> dict[str, datetime]:
    dates: dict[str, datetime] = {}
    for line in _lines(text):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or name not in _DATES or name in dates:
            raise ValueError(f"a key may follow {', '.join(_DATES)} (each once) and comments (#), not {line[:50]!r}")
        dates[name] = parse_time(value, end_of_day=name == "valid-until")
    return dates


def _with_dates(key: TrustedKey, dates: dict[str, datetime]) -> TrustedKey:
    begin = max(filter(None, (key.valid_from, dates.get("valid-from"))), default=None)
    end = min(filter(None, (key.valid_until, dates.get("valid-until"))), default=None)
    if begin and end and begin > end:
        raise ValueError(f"a key counts until {written(end)}, before {written(begin)}")
    return replace(key, valid_from=begin, valid_until=end, revoked=dates.get("revoked"))


def key_of(signature: bytes, content: bytes, keys: Iterable[TrustedKey]) -> TrustedKey | None:
    """The key that made a signature; None where none of these did.

    A key may be there several times: in two files, or alone and in a certificate. Then each limit of its time counts,
    in whatever order they are, so that a revocation has an effect wherever it stands.
    """
    same = [key for key in keys if key.verifies(signature, content)]
    if not same:
        return None
    return replace(
        same[0],
        valid_from=max(filter(None, (key.valid_from for key in same)), default=None),
        valid_until=min(filter(None, (key.valid_until for key in same)), default=None),
        revoked=min(filter(None, (key.revoked for key in same)), default=None),
    )


def signing_key(bundle: Bundle, keys: Sequence[TrustedKey]) -> TrustedKey:
    """The key that made a signature. Whether it counts now is not checked here.

    Raises:
        BadSignature: none of these keys made it, or it was revoked.
    """
    named = [key for key in keys if key.fingerprint == bundle.key_hint] if bundle.key_hint else keys
    if not named:
        raise BadSignature(
            f"it is signed by key {bundle.key_hint[:16]}, which is not trusted; trusted: {_listed(keys)}"
        )
    if key_of(bundle.signature, bundle.signed, named):
        key = key_of(bundle.signature, bundle.signed, keys)
        assert key is not None  # one of those that are named
        if key.revoked:
            raise BadSignature(f"it is signed by {key}, which was revoked on {written(key.revoked)}")
        return key
    if bundle.key_hint:
        raise BadSignature(f"the signature does not verify: {named[0]} did not sign this")
    raise BadSignature(f"it is not signed by a trusted key; trusted: {_listed(keys)}")


def _listed(keys: Iterable[TrustedKey]) -> str:
    return ", ".join(key.fingerprint[:16] for key in keys)
