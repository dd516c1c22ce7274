"""OpenSSF's own command `model_signing`: it accepts what we sign, and we accept what it signs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emflow.problems import Problem
from emflow.signing.package import read_public_keys, sign_package, verify_package, write_package
from emflow.signing.signers import open_signer
from emflow_schema.model_manifest import MANIFEST, ModelManifest
from emflow_schema.model_signature import SIGNATURE
from emflow_schema.signed_package import BadPackage, verify_files
from signed_packages import InMemory, manifest, new_key, private_pem, public_pem

pytestmark = pytest.mark.peer

SCENES = Path(__file__).parents[2] / "workflows" / "models" / "scenes.tflite"
# It imports pyOpenSSL without asking for it.
PACKAGES = ("model-signing==1.1.1", "pyOpenSSL")

Theirs = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    """Run `model_signing` from an environment of its own."""
    venv = tmp_path_factory.mktemp("model-signing") / "venv"
    commands = [
        [sys.executable, "-m", "venv", str(venv)],
        [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = f"cannot install {PACKAGES}: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return lambda *args: subprocess.run(
        [str(venv / "bin" / "model_signing"), *map(str, args)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Private and public half."""
    key = new_key()
    (tmp_path / "k.pem").write_bytes(private_pem(key))
    (tmp_path / "k.pub.pem").write_text(public_pem(key))
    return tmp_path / "k.pem", tmp_path / "k.pub.pem"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with files whose order differs by text and by path."""
    made = tmp_path / "scenes"
    for name in ("a/x.txt", "a.txt", "a-b/y.txt"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(name)
    shutil.copy(SCENES, made)
    return made


def verify(theirs: Theirs, package: Path, public: Path) -> subprocess.CompletedProcess[str]:
    return theirs("verify", "key", package, "--public_key", public, "--signature", package / SIGNATURE)


def test_what_we_sign_is_accepted_by_theirs_and_refused_when_altered(
    theirs: Theirs, keys: tuple[Path, Path], folder: Path, tmp_path: Path
) -> None:
    private, public = keys
    out = tmp_path / "out"
    write_package(sign_package(folder, ModelManifest("scenes", "1.2.0"), open_signer(str(private))), folder, out)
    done = verify(theirs, out, public)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "Verification succeeded" in done.stdout
    (tmp_path / "other.pub.pem").write_text(public_pem(new_key()))
    assert verify(theirs, out, tmp_path / "other.pub.pem").returncode != 0
    content = (out / "a.txt").read_bytes()
    (out / "a.txt").write_bytes(content + b"x")
    assert verify(theirs, out, public).returncode != 0
    (out / "a.txt").write_bytes(content)
    (out / "more").write_text("x")
    assert verify(theirs, out, public).returncode != 0


@pytest.mark.parametrize("about", [True, False], ids=["with our manifest", "without it"])
def test_what_theirs_signs_is_accepted_by_us_and_refused_when_altered(
    theirs: Theirs, keys: tuple[Path, Path], folder: Path, about: bool
) -> None:
    private, public = keys
    if about:
        (folder / MANIFEST).write_bytes(manifest())
    done = theirs("sign", "key", folder, "--private_key", private, "--signature", folder / SIGNATURE)
    assert done.returncode == 0, done.stdout + done.stderr
    trusted = read_public_keys([public])
    found = verify_package(folder, trusted)
    assert (found.manifest == ModelManifest("scenes", "1.2.0")) == about
    assert len(found.statement.files) == 4 + about
    content = (folder / "a-b" / "y.txt").read_bytes()
    (folder / "a-b" / "y.txt").write_bytes(content + b"x")
    with pytest.raises(Problem, match=r"'a-b/y\.txt' differs from what was signed"):
        verify_package(folder, trusted)
    (folder / "a-b" / "y.txt").write_bytes(content)
    (folder / "more").write_text("x")
    with pytest.raises(Problem, match="it has 'more', which was not signed"):
        verify_package(folder, trusted)


def test_every_flipped_bit_in_a_bundle_of_theirs_is_refused(
    theirs: Theirs, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    small = tmp_path / "small"
    small.mkdir()
    (small / "m.tflite").write_bytes(b"TFL3")
    (small / MANIFEST).write_bytes(manifest())
    assert theirs("sign", "key", small, "--private_key", private, "--signature", small / SIGNATURE).returncode == 0
    files = {path.name: path.read_bytes() for path in small.iterdir()}
    content, trusted = files[SIGNATURE], read_public_keys([public])
    verify_files(InMemory(files), trusted)
    for position in range(len(content) * 8):
        changed = bytearray(content)
        changed[position // 8] ^= 1 << position % 8
        try:
            verify_files(InMemory({**files, SIGNATURE: bytes(changed)}), trusted)
        except BadPackage:
            continue
        pytest.fail(f"bit {position % 8} of byte {position // 8} is not covered: {bytes(changed)!r}")
