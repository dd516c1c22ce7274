"""Signatures of digests in moto's KMS, which takes every message for one that it has to hash first.

https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html: with `MessageType` DIGEST, KMS signs the message as
it is, and refuses one that is not as long as the algorithm's digest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_request = threading.local()
"""`is_digest`: whether the request that this thread answers is about a digest."""


def sign_digests() -> None:
    """Let moto's KMS of this process sign and verify digests; more than once has no effect."""
    from moto.kms.responses import KmsResponse
    from moto.kms.utils import ECDSAPrivateKey, RSAPrivateKey

    if KmsResponse.sign.__module__ == __name__:  # an earlier EmbeddedAws of this process has done this
        return
    for name in ("sign", "verify"):
        setattr(KmsResponse, name, _noting_type(getattr(KmsResponse, name)))
    # Where moto's keys choose a hash, they take one that is already made.
    ecdsa, rsa = "_ECDSAPrivateKey__hash_algorithm", "_RSAPrivateKey__padding_and_hash_algorithm"
    setattr(ECDSAPrivateKey, ecdsa, _maybe_made(getattr(ECDSAPrivateKey, ecdsa)))
    setattr(RSAPrivateKey, rsa, _maybe_made_beside_padding(getattr(RSAPrivateKey, rsa)))


def _noting_type(answer: Callable[[Any], str]) -> Callable[[Any], str]:
    def answered(request: Any) -> str:
        _request.is_digest = request._get_param("MessageType") == "DIGEST"
        try:
            if _request.is_digest:
                _check_length(request._get_param("Message"), str(request._get_param("SigningAlgorithm")))
            return answer(request)
        finally:
            _request.is_digest = False

    return answered


def _check_length(message: bytes, algorithm: str) -> None:
    from moto.kms.exceptions import ValidationException

    bits = algorithm.rpartition("_")[2]
    if bits.isdigit() and len(message) * 8 != int(bits):
        raise ValidationException(f"Digest is invalid length for algorithm {algorithm}.")


def _maybe_made(choose: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda key, algorithm: _made(choose(key, algorithm))


def _maybe_made_beside_padding(choose: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def chosen(key: Any, algorithm: str) -> Any:
        padding, hashed = choose(key, algorithm)
        return padding, _made(hashed)

    return chosen


def _made(hashed: Any) -> Any:
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    return Prehashed(hashed) if getattr(_request, "is_digest", False) else hashed
