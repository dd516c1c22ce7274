"""KMS signs digests as they are, and a package is signed by a key that never leaves it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from emflow.problems import Problem
from emflow.signing.package import sign_package, verify_package, write_package
from emflow.signing.signers import KmsSigner, open_signer
from emflow_emulator.aws import REGION, EmbeddedAws
from emflow_schema.model_manifest import ModelManifest

CONTENT = b"what is signed"
DIGEST = hashlib.sha256(CONTENT).digest()
SCENES = Path(__file__).parents[3] / "workflows" / "models" / "scenes.tflite"


@pytest.fixture
def kms(client: Callable[..., Any]) -> Any:
    return client("kms")


@pytest.fixture
def environment(aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person has in their shell."""
    for name, value in {
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_ACCESS_KEY_ID": aws.credentials.id,
        "AWS_SECRET_ACCESS_KEY": aws.credentials.secret,
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def new_key(kms: Any, spec: str = "ECC_NIST_P256", usage: str = "SIGN_VERIFY") -> str:
    return str(kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"])


def public_key(kms: Any, key: str) -> Any:
    return serialization.load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])


@pytest.mark.parametrize(("kind", "message"), [("DIGEST", DIGEST), ("RAW", CONTENT)], ids=["digest", "message"])
def test_a_digest_is_signed_as_it_is_and_a_message_is_hashed_first(kms: Any, kind: str, message: bytes) -> None:
    key = new_key(kms)
    asked = {"KeyId": key, "Message": message, "MessageType": kind, "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = kms.sign(**asked)["Signature"]
    public_key(kms, key).verify(signature, CONTENT, ec.ECDSA(hashes.SHA256()))
    assert kms.verify(**asked, Signature=signature)["SignatureValid"]


def test_rsa_signs_digests_too(kms: Any) -> None:
    key = new_key(kms, "RSA_2048")
    asked = {"KeyId": key, "MessageType": "DIGEST", "SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256"}
    signature = kms.sign(Message=DIGEST, **asked)["Signature"]
    public_key(kms, key).verify(signature, CONTENT, padding.PKCS1v15(), hashes.SHA256())


def test_a_digest_of_another_length_is_refused(kms: Any) -> None:
    with pytest.raises(ClientError, match="Digest is invalid length for algorithm ECDSA_SHA_256") as caught:
        kms.sign(KeyId=new_key(kms), Message=CONTENT, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256")
    assert caught.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("named_by", ["id", "arn", "alias"])
def test_a_package_is_signed_by_a_key_in_kms(kms: Any, tmp_path: Path, named_by: str) -> None:
    key = new_key(kms)
    kms.create_alias(AliasName=f"alias/{key}", TargetKeyId=key)
    arn = kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"]
    signer = open_signer(f"kms:{({'id': key, 'arn': arn, 'alias': f'alias/{key}'})[named_by]}")
    assert isinstance(signer, KmsSigner)
    write_package(sign_package(SCENES, ModelManifest("scenes", "1.2.0"), signer), SCENES, tmp_path / "out")
    assert verify_package(tmp_path / "out", [signer.public]).key == signer.public


@pytest.mark.usefixtures("environment")
def test_keys_in_kms_that_cannot_sign_packages_are_refused(kms: Any) -> None:
    for key, reason in (
        ("11111111-2222-3333-4444-555555555555", "there is no such key in KMS"),
        ("", "no key is named"),
        (new_key(kms, "RSA_2048"), "this is an RSA key; devices verify ECDSA over P-256 only"),
        (new_key(kms, "ECC_NIST_P384"), "this is a key of the curve secp384r1"),
        (new_key(kms, "RSA_2048", "ENCRYPT_DECRYPT"), "the key is for ENCRYPT_DECRYPT, not for signatures"),
    ):
        with pytest.raises(Problem, match=reason) as caught:
            open_signer(f"kms:{key}")
        assert "aws kms create-key" in str(caught.value) or "no such key" in reason


@pytest.mark.usefixtures("environment")
def test_only_the_digest_and_the_public_key_are_asked_for(kms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a policy has to allow: kms:Sign and kms:GetPublicKey."""
    signer = open_signer(f"kms:{new_key(kms)}")
    assert isinstance(signer, KmsSigner)
    calls: list[tuple[str, dict[str, Any]]] = []
    signer.client.meta.events.register(
        "provide-client-params.kms.*", lambda params, model, **_: calls.append((model.name, params))
    )
    signer.sign(CONTENT)
    assert [(name, params["Message"], params["MessageType"]) for name, params in calls] == [("Sign", DIGEST, "DIGEST")]


def test_without_a_region_it_is_said_what_to_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(Problem, match="no AWS region is known"):
        open_signer("kms:alias/models")
