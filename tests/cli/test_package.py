"""`emflow package` and `emflow verify`: what they write, accept and refuse, without a network."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from emflow.problems import Problem
from emflow.recipes.bundle import reproducible_zip
from emflow.signing.package import read_public_keys, sign_package, verify_package
from emflow.signing.signers import open_signer
from emflow_schema.model_manifest import MANIFEST, ModelManifest
from emflow_schema.model_signature import SIGNATURE, read_bundle
from signed_packages import new_key, private_pem, public_pem, sign_folder

SCENES = Path(__file__).parents[2] / "workflows" / "models" / "scenes.tflite"
ABOUT = ("--name", "scenes", "--version", "1.2.0")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key; its public half lies beside it."""
    made = new_key()
    (tmp_path / "key.pem").write_bytes(private_pem(made))
    (tmp_path / "key.pub.pem").write_text(public_pem(made))
    return tmp_path / "key.pem"


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_name("key.pub.pem")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder, with its labels in one below."""
    folder = tmp_path / "model"
    (folder / "about").mkdir(parents=True)
    shutil.copy(SCENES, folder)
    (folder / "about" / "labels.txt").write_text("red circle\n")
    return folder


def test_a_folder_becomes_a_package_that_verifies(emflow, model: Path, key: Path, public: Path, tmp_path: Path) -> None:
    out = tmp_path / "package"
    ran = emflow("package", model, *ABOUT, "--key", key, "--out", out, "--not-after", "2099-01-31", "--floor", "1.0.0")
    fingerprint = read_public_keys([public])[0].fingerprint[:16]
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{out}: scenes 1.2.0, 3 files, signed by key {fingerprint}\n"
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names == {"scenes.tflite", "about/labels.txt", MANIFEST, SIGNATURE}
    assert stat.S_IMODE(out.stat().st_mode) == 0o755
    assert json.loads((out / MANIFEST).read_text()) == {
        "format": 1,
        "name": "scenes",
        "version": "1.2.0",
        "notAfter": "2099-01-31T23:59:59Z",
        "floor": "1.0.0",
    }
    ran = emflow("verify", out, "--key", public)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        f"{out}: scenes 1.2.0, 3 files, signed by key {fingerprint}\n  valid until 2099-01-31T23:59:59Z, floor 1.0.0\n"
    )


@pytest.mark.parametrize("kind", ["file", "archive"])
def test_one_model_file_and_an_archive_become_packages_too(
    emflow, key: Path, public: Path, tmp_path: Path, kind: str
) -> None:
    source = SCENES
    if kind == "archive":
        source = tmp_path / "compiled.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(SCENES, "./scenes.tflite")
    out = tmp_path / "scenes.zip"
    assert emflow("package", source, *ABOUT, "--key", key, "--out", out).code == 0
    with zipfile.ZipFile(out) as archive:
        assert sorted(archive.namelist()) == [MANIFEST, SIGNATURE, "scenes.tflite"]
        assert archive.read("scenes.tflite") == SCENES.read_bytes()
    assert emflow("verify", out, "--key", public).code == 0


def test_the_same_input_gives_the_same_bytes_but_for_the_signature(model: Path, key: Path) -> None:
    signer = open_signer(str(key))
    manifest = ModelManifest("scenes", "1.2.0", None, datetime(2099, 1, 1, tzinfo=UTC), "1.0.0")
    first = sign_package(model, manifest, signer)
    for path in model.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    second = sign_package(model, manifest, signer)
    one, other = read_bundle(first.files[SIGNATURE]), read_bundle(second.files[SIGNATURE])
    assert one.signature != other.signature
    assert (one.payload, one.key_hint) == (other.payload, other.key_hint)
    parts = [{name: content for name, content in made.files.items() if name != SIGNATURE} for made in (first, second)]
    assert parts[0] == parts[1]
    assert list(first.files) == list(second.files)
    assert first.digest == second.digest
    assert sign_package(model, ModelManifest("scenes", "1.2.1"), signer).digest != first.digest


def test_a_folder_can_be_signed_where_it_is_and_again(emflow, model: Path, key: Path, public: Path) -> None:
    (model / "emflow-package.json").write_text("{}")
    (model / "emflow-package.sig").write_text("AAAA")
    ran = emflow("package", model, *ABOUT, "--key", key, "--out", model)
    assert (ran.code, ran.err) == (0, "")
    assert sorted(path.name for path in model.iterdir()) == ["about", MANIFEST, SIGNATURE, "scenes.tflite"]
    assert emflow("verify", model, "--key", public).code == 0
    ran = emflow("package", model, "--name", "scenes", "--version", "1.3.0", "--key", key, "--out", model)
    assert ran.code == 0
    assert "scenes 1.3.0" in emflow("verify", model, "--key", public, "--version", "1.3.0").out
    assert sorted(path.name for path in model.iterdir()) == ["about", MANIFEST, SIGNATURE, "scenes.tflite"]


def no_large_files() -> None:
    """The limit of a process on the size of its files, as a full disk: `OSError` for a write that goes beyond."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))


def test_a_write_that_fails_leaves_nothing_in_the_models_folder(model: Path, key: Path) -> None:
    """What is left there would be signed with the next package."""
    command = [sys.executable, "-m", "emflow", "package", model, *ABOUT, "--key", key, "--out", model]
    before = sorted(path.relative_to(model) for path in model.rglob("*"))
    done = subprocess.run(
        list(map(str, command)), preexec_fn=no_large_files, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "cannot be written: File too large" in done.stderr
    after = {path.relative_to(model) for path in model.rglob("*")}
    assert sorted(after - {Path(MANIFEST)}) == before  # the manifest is shorter than the limit


def test_a_package_that_devices_would_refuse_is_no_success(emflow, model: Path, key: Path, tmp_path: Path) -> None:
    """A bundle may have a million bytes: the paths of these files alone have more."""
    for number in range(900):
        deep = model / f"{number:03}" / ("a" * 200) / ("b" * 200) / ("c" * 200) / ("d" * 200)
        deep.mkdir(parents=True)
        (deep / "e").write_text("")
    for out in (model, tmp_path / "out", tmp_path / "out.zip"):
        ran = emflow("package", model, *ABOUT, "--key", key, "--out", out)
        assert (ran.code, ran.out) == (1, ""), out
        assert SIGNATURE in ran.err
        assert "Traceback" not in ran.err


def test_signing_anew_leaves_out_what_signed_before(
    emflow, model: Path, key: Path, public: Path, tmp_path: Path
) -> None:
    for name in ("emflow-package.json", "emflow-package.sig", "._scenes.tflite", ".gitignore"):
        (model / name).write_text("{}")
    sign_folder(model, new_key(), "others")
    out = tmp_path / "new"
    assert emflow("package", model, *ABOUT, "--key", key, "--out", out).code == 0
    assert sorted(path.name for path in out.iterdir()) == ["about", MANIFEST, SIGNATURE, "scenes.tflite"]
    assert emflow("verify", out, "--key", public).code == 0


KEYS = {
    "RSA": (rsa.generate_private_key(65537, 2048), "this is an RSA key; devices verify ECDSA over P-256 only"),
    "P-384": (ec.generate_private_key(ec.SECP384R1()), "this is a key of the curve secp384r1"),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate(), "this is an Ed25519 key, with which emflow signed before"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_of_another_kind_is_refused_with_the_command_that_makes_one(
    emflow, model: Path, tmp_path: Path, kind: str
) -> None:
    secret, reason = KEYS[kind]
    (tmp_path / "other.pem").write_bytes(private_pem(secret))
    ran = emflow("package", model, *ABOUT, "--key", tmp_path / "other.pem", "--out", tmp_path / "out")
    assert ran.code == 1
    assert reason in ran.err
    assert "make one with: openssl genpkey -algorithm EC" in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "--key: cannot be read: No such file or directory"),
        (b"hello", "--key: not in PEM format"),
        (public_pem(new_key()).encode(), "--key: this is a public key or a certificate"),
        (private_pem(new_key(), b"secret"), "the key has a passphrase, and nobody can be asked for it"),
        (private_pem(new_key())[:90] + b"\n-----END PRIVATE KEY-----\n", "not a private key in PEM format"),
    ],
    ids=["none", "text", "public", "passphrase", "cut"],
)
def test_a_key_that_is_none_is_said(emflow, model: Path, tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "other.pem").write_bytes(content)
    ran = emflow("package", model, *ABOUT, "--key", tmp_path / "other.pem", "--out", tmp_path / "out")
    assert ran.code == 1
    assert reason in ran.err
    assert "secret" not in ran.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--name", "a b"), "the package has the name 'a b'"),
        (("--version", "1.2"), "the package has the version '1.2', which is no semantic version"),
        (("--floor", "1.3.0"), "the package has the floor 1.3.0, above its own version 1.2.0"),
        (("--lowers-floor", "2.0.0"), "lowers the floor 2.0.0, and does not say to which"),
        (("--not-after", "tomorrow"), "--not-after: 'tomorrow' is no time in UTC"),
        (("--not-before", "2027-13-01"), "--not-before: '2027-13-01' is no time in UTC"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    emflow, model: Path, key: Path, tmp_path: Path, options: tuple[str, str], reason: str
) -> None:
    given = {**dict(zip(ABOUT[::2], ABOUT[1::2], strict=True)), options[0]: options[1]}
    ran = emflow(
        "package", model, *(word for pair in given.items() for word in pair), "--key", key, "--out", tmp_path / "o"
    )
    assert ran.code == 2
    assert reason in ran.err


@pytest.mark.parametrize("missing", ["--name", "--version", "--key", "--out"])
def test_what_a_package_needs_has_to_be_given(emflow, model: Path, key: Path, tmp_path: Path, missing: str) -> None:
    given = {"--name": "scenes", "--version": "1.2.0", "--key": key, "--out": tmp_path / "out"}
    ran = emflow("package", model, *(word for pair in given.items() if pair[0] != missing for word in pair))
    assert ran.code == 2
    assert f"Missing option '{missing}'" in ran.err
    assert "Missing option '--key'" in emflow("verify", model).err


def links_out(folder: Path) -> None:
    (folder / "more.txt").symlink_to("/etc/hostname")


def has_a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def has_no_model(folder: Path) -> None:
    (folder / "scenes.tflite").rename(folder / "about" / "scenes.tflite")


def has_a_name_with_a_newline(folder: Path) -> None:
    (folder / "a\nb").write_text("")


def has_a_private_key(folder: Path) -> None:
    (folder / "about" / "k.txt").write_bytes(b"# release\n" + private_pem(new_key()))


def is_too_deep(folder: Path) -> None:
    folder.joinpath(*("d" for _ in range(40))).mkdir(parents=True)


def is_gone(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (links_out, "more.txt: is a symbolic link, which no device follows"),
        (has_a_pipe, "pipe: is not a file, but a device, a pipe or a socket"),
        (has_no_model, "there is no model"),
        (has_a_name_with_a_newline, r"'a\nb' is no path of a file in a package"),
        (has_a_private_key, "'about/k.txt' holds a private key"),
        (is_too_deep, "is more than 32 folders deep"),
        (is_gone, "cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_signed_is_said_with_its_place(
    emflow, model: Path, key: Path, tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    change(model)
    ran = emflow("package", model, *ABOUT, "--key", key, "--out", tmp_path / "out")
    assert ran.code == 1
    assert reason in ran.err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_not_written_to(emflow, model: Path, key: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    ran = emflow("package", model, *ABOUT, "--key", key, "--out", out)
    assert (ran.code, [path.name for path in out.iterdir()]) == (1, ["mine"])
    assert f"{out}: exists already" in ran.err


@pytest.mark.parametrize("name", ["scenes.zip", "about/out"])
def test_a_package_is_not_written_into_the_model_that_it_is_made_of(
    emflow, model: Path, key: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "link").symlink_to(model)
    for out in (model / name, tmp_path / "link" / name):
        ran = emflow("package", model, *ABOUT, "--key", key, "--out", out)
        assert ran.code == 1
        assert f"{out}: is in the model's folder" in ran.err
        assert not out.exists()


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("scenes.tflite", "'scenes.tflite' differs from what was signed"),
        ("about/labels.txt", "'about/labels.txt' differs from what was signed"),
        (MANIFEST, f"'{MANIFEST}' differs from what was signed"),
        (SIGNATURE, "the signature does not verify"),
    ],
)
def test_what_was_altered_is_refused(emflow, model: Path, key: Path, public: Path, file: str, reason: str) -> None:
    assert emflow("package", model, *ABOUT, "--key", key, "--out", model).code == 0
    changed(model / file)
    ran = emflow("verify", model, "--key", public)
    assert (ran.code, ran.out) == (1, "")
    assert f"emflow: {model}: {reason}" in ran.err


def test_what_is_refused_for_other_reasons(emflow, model: Path, key: Path, public: Path, tmp_path: Path) -> None:
    (tmp_path / "other.pub.pem").write_text(public_pem(new_key()))
    assert "is not signed (no model.sig)" in emflow("verify", model, "--key", public).err
    ran = emflow("package", model, *ABOUT, "--key", key, "--out", model, "--not-after", "2026-01-01")
    assert (ran.code, ran.err) == (0, "emflow: no device loads it: it expired at 2026-01-01T23:59:59Z\n")
    assert "the package scenes 1.2.0 expired at 2026-01-01T23:59:59Z" in emflow("verify", model, "--key", public).err
    assert emflow("package", model, *ABOUT, "--key", key, "--out", model).code == 0
    assert "which is not trusted" in emflow("verify", model, "--key", tmp_path / "other.pub.pem").err
    both = emflow("verify", model, "--key", tmp_path / "other.pub.pem", "--key", public)
    assert both.code == 0
    assert "of model 'scenes', not of 'others'" in emflow("verify", model, "--key", public, "--name", "others").err
    assert "it is version 1.2.0" in emflow("verify", model, "--key", public, "--version", "2.0.0").err
    assert "it is a private key" in emflow("verify", model, "--key", key).err
    assert "cannot be read: No such file" in emflow("verify", model, "--key", tmp_path / "none.pem").err
    assert "there is no such folder" in emflow("verify", tmp_path / "none", "--key", public).err
    (model / "extra.bin").write_text("x")
    assert "it has 'extra.bin', which was not signed" in emflow("verify", model, "--key", public).err
    (model / "extra.bin").unlink()
    (model / "about" / "labels.txt").unlink()
    (model / "about" / "labels.txt").symlink_to("/etc/hostname")
    assert "'about/labels.txt' is a symbolic link" in emflow("verify", model, "--key", public).err


@pytest.fixture
def zipped(model: Path, key: Path) -> dict[str, bytes]:
    """The files of a package."""
    return dict(sign_package(model, ModelManifest("scenes", "1.2.0"), open_signer(str(key))).files)


def rezipped(path: Path, files: list[tuple[zipfile.ZipInfo | str, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_zip_but_the_one_that_emflow_writes_is_accepted(
    zipped: dict[str, bytes], public: Path, tmp_path: Path
) -> None:
    good, path, keys = reproducible_zip(list(zipped.items())), tmp_path / "p.zip", read_public_keys([public])
    path.write_bytes(good)
    verify_package(path, keys)
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    files: list[tuple[zipfile.ZipInfo | str, bytes]] = list(zipped.items())
    bombs = [("zeros.bin", bytes(200 << 20))]
    tricks = {
        "a name twice": rezipped(path, [*files, ("scenes.tflite", b"other")]).read_bytes(),
        "a link": rezipped(path, [*files, (link, b"/etc/passwd")]).read_bytes(),
        "out of it": rezipped(path, [*files, ("../evil", b"x")]).read_bytes(),
        "absolute": rezipped(path, [*files, ("/evil", b"x")]).read_bytes(),
        "a folder": rezipped(path, [*files, ("d/", b"")]).read_bytes(),
        "compressed": rezipped(path, files, zipfile.ZIP_DEFLATED).read_bytes(),
        "a bomb": rezipped(path, [*files, *bombs], zipfile.ZIP_DEFLATED).read_bytes(),
        "in front": b"MZ" + good,
        "behind": good + b"\0",
        "two zips": good + good,
        "cut off": good[:-1],
        "empty": b"",
        "no zip": b"PK\3\4 and nothing more",
    }
    local = bytearray(good)  # the name in front of the first file, and not the one in the directory at the end
    local[30] ^= 1
    tricks["another name in front"] = bytes(local)
    huge = bytearray(good)
    struct.pack_into("<L", huge, good.index(b"PK\1\2") + 24, 0xFFFFFFF0)
    tricks["a size that it has not"] = bytes(huge)
    locked = bytearray(good)
    locked[good.index(b"PK\1\2") + 8] |= 1
    tricks["a password"] = bytes(locked)
    accepted = []
    for what, data in tricks.items():
        path.write_bytes(data)
        with contextlib.suppress(Problem):
            verify_package(path, keys)
            accepted.append(what)
    assert accepted == []


def test_a_flipped_bit_in_any_byte_of_a_zip_is_refused(key: Path, public: Path, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"TFL3 the weights")
    made = sign_package(tmp_path / "m.tflite", ModelManifest("scenes", "1.2.0"), open_signer(str(key)))
    good, path, keys = made.zipped(), tmp_path / "p.zip", read_public_keys([public])
    path.write_bytes(good)
    verify_package(path, keys)
    for position in range(len(good)):
        data = bytearray(good)
        data[position] ^= 1 << position % 8
        path.write_bytes(data)
        with pytest.raises(Problem):
            verify_package(path, keys)


def test_a_folder_that_was_signed_without_a_manifest_verifies_with_a_warning(
    emflow, model: Path, key: Path, public: Path
) -> None:
    assert emflow("package", model, *ABOUT, "--key", key, "--out", model).code == 0
    bundle = json.loads((model / SIGNATURE).read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert statement["subject"][0]["name"] == "scenes"
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from signed_packages import signed
    from signed_packages import statement as stated

    (model / MANIFEST).unlink()
    files = {"scenes.tflite": SCENES.read_bytes(), "about/labels.txt": b"red circle\n"}
    secret = load_pem_private_key(key.read_bytes(), None)
    (model / SIGNATURE).write_bytes(signed(secret, stated(files).encoded()))
    ran = emflow("verify", model, "--key", public)
    assert ran.code == 0
    assert "a model without a name, 2 files" in ran.out
    assert f"no device loads it: it has no signed {MANIFEST}" in ran.err
    for wanted in (("--name", "scenes"), ("--version", "1.2.0"), ("--version", "9.9.9")):
        ran = emflow("verify", model, "--key", public, *wanted)
        assert (ran.code, ran.out) == (1, "")
        assert f"it has no signed {MANIFEST}, which says what model it is" in ran.err


@pytest.mark.parametrize("option", ["--name", "--version"])
def test_an_empty_option_does_not_turn_the_comparison_off(
    emflow, model: Path, key: Path, public: Path, option: str
) -> None:
    assert emflow("package", model, *ABOUT, "--key", key, "--out", model).code == 0
    ran = emflow("verify", model, "--key", public, option, "")
    assert (ran.code, ran.out) == (2, "")
    assert f"{option} is empty" in ran.err
