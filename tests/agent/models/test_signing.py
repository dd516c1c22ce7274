"""The command that makes packages, and the keys that a device is told to trust."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from emflow_agent import signing
from emflow_agent.errors import BadOption
from emflow_agent.models.integrity import read_trusted_keys


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emflow_agent.signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with a pair of keys, `ours`."""
    assert signing.main(["keygen", str(tmp_path / "ours.pem")]) == 0
    return tmp_path


def test_keys_that_are_none_are_said_at_start(keys: Path, tmp_path: Path) -> None:
    for file, reason in (
        (tmp_path / "nothing.pem", "cannot be read: No such file or directory"),
        (keys / "ours.pem", "it is a private key; a device must have the public key only"),
    ):
        with pytest.raises(BadOption, match=reason):
            read_trusted_keys("TrustKeys", [file])
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(BadOption, match=r"TrustKeys: '.*text\.pem': it is not a public key or certificate"):
        read_trusted_keys("TrustKeys", [tmp_path / "text.pem"])
    with pytest.raises(BadOption, match="signatures are required, but no trusted key is given"):
        read_trusted_keys("TrustKeys", [], required=True)


def test_the_command_makes_keys_signs_and_verifies(folder: Path, tmp_path: Path) -> None:
    key, public = tmp_path / "k.pem", tmp_path / "k.pub.pem"
    assert run("keygen", key).returncode == 0
    assert key.stat().st_mode & 0o777 == 0o600
    assert "exists" in run("keygen", key).stderr
    assert run("sign", folder, "--key", key, "--name", "scenes", "--version", "1.0").returncode == 0
    verified = run("verify", folder, "--trust", public)
    assert (verified.returncode, verified.stdout) == (0, f"{folder}: 1 files, scenes 1.0, signed by a trusted key\n")
    (folder / "scenes.tflite").write_bytes(b"other")
    refused = run("verify", folder, "--trust", public)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    (folder / "link").symlink_to("/etc/passwd")
    assert "is a link or a special file" in run("sign", folder, "--key", key, "--name", "a", "--version", "1").stderr
    assert "is not a private key" in run("sign", folder, "--key", public, "--name", "a", "--version", "1").stderr


@pytest.mark.parametrize(
    "key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())], ids=["Ed25519", "P-256"]
)
def test_a_private_key_may_have_a_passphrase_and_has_to_be_ed25519(folder: Path, tmp_path: Path, key: object) -> None:
    secret = tmp_path / "secret.pem"
    form = serialization.BestAvailableEncryption(b"open sesame")
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form)  # type: ignore[attr-defined]
    )
    arguments = ["sign", folder, "--key", secret, "--name", "scenes", "--version", "1"]
    # Without a terminal it is read from standard input.
    signed = run(*arguments, input="open sesame\n", start_new_session=True, timeout=60)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        assert (signed.returncode, signed.stdout) == (0, f"{folder}: 1 files signed as scenes 1\n")
    else:
        assert signed.returncode == 1
        assert "is not an Ed25519 key; create one with keygen" in signed.stderr


def test_signing_again_replaces_what_was_signed_before(folder: Path, keys: Path) -> None:
    for version in ("1.0", "1.1"):
        signing.sign(folder, keys / "ours.pem", "scenes", version)
    assert "1 files, scenes 1.1, signed by a trusted key" in signing.verify(folder, [keys / "ours.pub.pem"])
    assert sorted(file.name for file in folder.iterdir()) == [
        "emflow-package.json",
        "emflow-package.sig",
        "scenes.tflite",
    ]


def test_what_cannot_be_written_is_said(keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert signing.main(["keygen", str(tmp_path / "nowhere" / "k.pem")]) == 1
    assert "No such file or directory" in capsys.readouterr().err
    arguments = ["sign", str(tmp_path / "none"), "--key", str(keys / "ours.pem"), "--name", "a", "--version", "1"]
    assert signing.main(arguments) == 1
    assert "is not a folder" in capsys.readouterr().err
