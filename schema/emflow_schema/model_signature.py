"""Signatures of models in the format of OpenSSF model signing: a Sigstore bundle with an in-toto statement.

The bundle is JSON: the statement in base64, an ECDSA signature of it, and which key made that. The statement lists the
SHA-256 digest of every signed file. What is signed is the statement in DSSE's pre-authentication encoding.

Formats: https://github.com/ossf/model-signing-spec, https://github.com/sigstore/protobuf-specs (bundle),
https://github.com/secure-systems-lab/dsse/blob/master/protocol.md, https://github.com/in-toto/attestation (statement).

A bundle is read strictly: every part of it is signed, or has exactly one value that is accepted, so that no altered
bundle is taken for a good one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from emflow_schema.model_manifest import read_json

SIGNATURE = "model.sig"
"""The bundle's name in a package; that which the `model_signing` command writes by default."""

MAX_BUNDLE_BYTES = 1 << 20
MAX_FILES = 1000
MAX_PATH_LENGTH = 1024
"""Characters of a file's path in a package."""

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")


class BadSignature(ValueError):
    """It is no signature of a model, or not of this one; the text is one line."""


@dataclass(frozen=True)
class Statement:
    """What is signed.

    files: the digest of every signed file, SHA-256 in hexadecimal, by its path in the package.
    ignored: paths that are not signed; files and folders.
    subject: the model's name; the `model_signing` command writes that of the folder.
    """

    files: Mapping[str, str]
    ignored: Sequence[str] = ()
    subject: str = ""

    def ignores(self, path: str) -> bool:
        """Whether a path is one that is not signed, or is below one."""
        return any(path == each or path.startswith(f"{each}/") for each in self.ignored)

    def encoded(self) -> bytes:
        """The payload of a bundle; the same statement gives the same bytes."""
        # The order of the reference implementation: by the parts of the path.
        names = sorted(self.files, key=PurePosixPath)
        document = {
            "_type": _STATEMENT_TYPE,
            "subject": [
                {"name": self.subject, "digest": {"sha256": _root_digest([self.files[each] for each in names])}}
            ],
            "predicateType": _PREDICATE_TYPE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": sorted(self.ignored),
                },
                "resources": [{"name": each, "algorithm": "sha256", "digest": self.files[each]} for each in names],
            },
        }
        return _compact(document)


@dataclass(frozen=True)
class Bundle:
    """A signature and what it signs. Nothing of it is verified yet.

    payload: the statement as it was signed. signature: ECDSA in DER. key_hint: the fingerprint of the key that made
    it, in hexadecimal; empty where the bundle does not say.
    """

    payload: bytes
    signature: bytes
    key_hint: str

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is of."""
        return pre_authentication_encoding(self.payload)

    @property
    def statement(self) -> Statement:
        """What was signed.

        Raises:
            BadSignature: it is no statement about the files of a model.
        """
        return read_statement(self.payload)

    def encoded(self) -> bytes:
        """The content of `SIGNATURE`."""
        document = {
            "mediaType": _MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": self.key_hint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": _PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(self.signature).decode(), "keyid": ""}],
            },
        }
        return _compact(document)


def pre_authentication_encoding(payload: bytes) -> bytes:
    """DSSE's encoding of the payload and its type, of which the signature is made."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def read_bundle(content: bytes) -> Bundle:
    """
    Raises:
        BadSignature: it is no Sigstore bundle with one signature by a key.
    """
    try:
        document = read_json(content)
    except ValueError as error:
        raise BadSignature(f"{SIGNATURE} is damaged: {error}") from None
    _expect(document, "the bundle", {"mediaType", "verificationMaterial", "dsseEnvelope"})
    if document["mediaType"] != _MEDIA_TYPE:
        raise BadSignature(f"{SIGNATURE} has the media type {_shown(document['mediaType'])}, not {_MEDIA_TYPE}")
    envelope = _expect(document["dsseEnvelope"], "dsseEnvelope", {"payload", "payloadType", "signatures"})
    if envelope["payloadType"] != _PAYLOAD_TYPE:
        raise BadSignature(f"{SIGNATURE} has a payload of the type {_shown(envelope['payloadType'])}")
    signatures = envelope["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise BadSignature(f"{SIGNATURE} does not have exactly one signature")
    signature = _expect(signatures[0], "the signature", {"sig"}, {"keyid"})
    if signature.get("keyid", "") != "":
        raise BadSignature(f"{SIGNATURE} has the keyid {_shown(signature['keyid'])}; it has to be empty")
    return Bundle(
        _base64(envelope["payload"], "payload"),
        _base64(signature["sig"], "sig"),
        _hint(document["verificationMaterial"]),
    )


def _hint(material: Any) -> str:
    if isinstance(material, dict) and ("certificate" in material or "x509CertificateChain" in material):
        raise BadSignature(f"{SIGNATURE} is signed by a certificate; this needs a signature by a key")
    material = _expect(material, "verificationMaterial", {"publicKey"}, {"tlogEntries"})
    if material.get("tlogEntries", []) != []:
        raise BadSignature(f"{SIGNATURE} has entries of a transparency log, which cannot be checked without a network")
    hint = _expect(material["publicKey"], "publicKey", set(), {"hint"}).get("hint", "")
    if not isinstance(hint, str) or (hint and not _DIGEST.fullmatch(hint)):
        raise BadSignature(f"{SIGNATURE} names its key by {_shown(hint)}, which is no SHA-256 digest")
    return hint


def read_statement(payload: bytes) -> Statement:
    """
    Raises:
        BadSignature: it is no statement about the files of a model.
    """
    try:
        document = read_json(payload)
    except ValueError as error:
        raise BadSignature(f"what {SIGNATURE} signs is damaged: {error}") from None
    if document.get("_type") != _STATEMENT_TYPE or document.get("predicateType") != _PREDICATE_TYPE:
        raise BadSignature(f"{SIGNATURE} signs no model: its predicate is {_shown(document.get('predicateType'))}")
    subjects: Any = document.get("subject")
    predicate: Any = document.get("predicate")
    try:
        (subject,), serialization, resources = subjects, predicate["serialization"], predicate["resources"]
        name, digest = subject["name"], subject["digest"]["sha256"]
        method, allow_symlinks = serialization["method"], serialization["allow_symlinks"]
        ignored = serialization.get("ignore_paths", [])
        listed = [(each["name"], each["algorithm"], each["digest"]) for each in resources]
    except (TypeError, ValueError, KeyError, AttributeError):
        raise BadSignature(f"what {SIGNATURE} signs lacks something, or has it in another form") from None
    if method != "files":
        raise BadSignature(f"{SIGNATURE} has digests by {_shown(method)}; sign with digests of whole files")
    if allow_symlinks is not False:
        raise BadSignature(f"{SIGNATURE} was made with symbolic links allowed; sign without")
    if not isinstance(name, str) or not isinstance(ignored, list) or not all(isinstance(one, str) for one in ignored):
        raise BadSignature(f"what {SIGNATURE} signs has no name, or ignored paths that are no text")
    files = _files(listed)
    if digest != _root_digest([files[each] for each, _, _ in listed]):
        raise BadSignature(f"what {SIGNATURE} signs is inconsistent: its digest is not that of its files")
    return Statement(files, tuple(ignored), name)


def _files(listed: Sequence[tuple[Any, Any, Any]]) -> dict[str, str]:
    if not 0 < len(listed) <= MAX_FILES:
        raise BadSignature(f"{SIGNATURE} lists {len(listed)} files; it must be 1 to {MAX_FILES}")
    files: dict[str, str] = {}
    for name, algorithm, digest in listed:
        check_path(name)
        if name in files:
            raise BadSignature(f"{SIGNATURE} lists {name!r} twice")
        if algorithm != "sha256" or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise BadSignature(f"{SIGNATURE} has no SHA-256 digest of {name!r}")
        files[name] = digest
    return files


def check_path(name: object) -> None:
    """
    Raises:
        BadSignature: it is no path of a file inside a package, in its normal form.
    """
    if not isinstance(name, str) or len(name) > MAX_PATH_LENGTH or _UNSAFE.search(name):
        raise BadSignature(f"{_shown(name)} is no path of a file in a package")
    if any(part in ("", ".", "..") for part in name.split("/")) or name == SIGNATURE:
        raise BadSignature(f"{_shown(name)} is no path of a file in a package")


def _expect(
    value: Any, what: str, required: set[str], optional: frozenset[str] | set[str] = frozenset()
) -> dict[str, Any]:
    """An object that has these keys and no others."""
    if not isinstance(value, dict) or not required <= value.keys() <= required | optional:
        names = ", ".join(sorted(required | optional))
        raise BadSignature(f"{SIGNATURE} is no Sigstore bundle: {what} has to be an object with {names}")
    return value


def _base64(text: Any, what: str) -> bytes:
    """Only the one form that encoders write: other texts can have the same content."""
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except (AttributeError, UnicodeEncodeError, binascii.Error):
        content = b""
    if not content or base64.b64encode(content).decode() != text:
        raise BadSignature(f"{SIGNATURE} is damaged: {what} is not base64")
    return content


def _root_digest(digests: Sequence[str]) -> str:
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


def _compact(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
