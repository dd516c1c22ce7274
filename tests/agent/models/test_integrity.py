"""Signed packages on a device: what is loaded, what is refused, and that the bytes that were checked are what runs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.errors import BadOption, CannotLoad, NotEnoughMemory
from emflow_agent.models.folder import ModelFolder, open_model_folder
from emflow_agent.models.integrity import TrustedKeys, read_trusted_keys, verify_package
from emflow_agent.models.loading import LoadedFiles, load_folder
from emflow_agent.models.memory import MemoryCheck
from emflow_agent.models.store import ModelStore
from emflow_agent.runtimes import RuntimeOptions
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emflow_schema.model_manifest import MANIFEST
from emflow_schema.model_signature import SIGNATURE
from signed_packages import new_key, private_pem, public_pem, sign_folder

KEY, OTHER = new_key(), new_key()


def trusting(*texts: str) -> TrustedKeys:
    return read_trusted_keys("TrustKeys", texts)


@pytest.fixture
def trust() -> TrustedKeys:
    return trusting(public_pem(KEY))


@pytest.fixture
def package(folder: Path) -> Path:
    """The scenes model with its labels in a folder below, signed."""
    (folder / "about").mkdir()
    (folder / "about" / "labels.txt").write_text("red circle\n")
    return sign_folder(folder, KEY)


def load(folder: Path, trust: TrustedKeys | None = None, name: str = "scenes", **options: Any) -> LoadedFiles:
    return load_folder(str(folder), RuntimeOptions(), trust, probe=False, name=name, **options)


def refusal(folder: Path, trust: TrustedKeys | None = None, name: str = "scenes", **options: Any) -> str:
    with pytest.raises(CannotLoad) as caught:
        load(folder, trust, name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_keys_that_are_none_are_said_at_start(tmp_path: Path) -> None:
    for content, reason in (
        (None, "cannot be read: No such file or directory"),
        (private_pem(KEY), "it is a private key; a device must have the public key only"),
        (b"hello", "it is not a public key or certificate in PEM format"),
        (b"\xff" * 100_000, "it has more than 65536 characters, too many for keys"),
    ):
        file = tmp_path / "key.pem"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(BadOption, match=rf"TrustKeys: '.*key\.pem':? {reason}"):
            trusting(str(file))
    with pytest.raises(BadOption, match="TrustKeys: it is not a public key"):
        trusting("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
    with pytest.raises(BadOption, match="signatures are required, but no trusted key is given"):
        read_trusted_keys("TrustKeys", [], required=True)


def test_a_relative_path_of_a_key_is_told_with_the_folder_it_was_looked_for_in() -> None:
    with pytest.raises(
        BadOption, match=f"TrustKeys: 'none.pem' cannot be read in {re.escape(str(Path.cwd()))}: No such"
    ):
        trusting("none.pem")


def test_keys_come_as_text_and_as_files_and_several_in_one(package: Path, tmp_path: Path) -> None:
    (tmp_path / "keys.pem").write_text(public_pem(new_key()) + "# ours\n" + public_pem(KEY))
    load(package, trusting(public_pem(OTHER), str(tmp_path / "keys.pem")))
    load(package, trusting(public_pem(OTHER), public_pem(KEY)))


def test_a_signed_package_is_loaded_by_whoever_trusts_its_key(
    package: Path, trust: TrustedKeys, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        opened = load(package, trust)
    assert opened.model.inputs[0].shape == (1, 224, 224, 3)
    assert str(opened.content.manifest) == "scenes 1.2.0"
    assert f"{package}: scenes 1.2.0, signed by {trust.keys[0]}" in caplog.messages


def test_without_keys_the_signature_still_tells_damage(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert str(load(package, name="any-name").content.manifest) == "scenes 1.2.0"
    remark = f"{package}: scenes 1.2.0; its signature was not checked: no trusted key is configured"
    assert remark in caplog.messages
    file = package / "scenes.tflite"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert "'scenes.tflite' differs from what was signed (SHA-256)" in refusal(package)
    file.unlink()
    assert "it lacks 'scenes.tflite', which was signed" in refusal(package)


def verify_all(folder: Path, trust: TrustedKeys, name: str = "scenes") -> None:
    """What a load does, without the runtime."""
    with open_model_folder(str(folder)) as opened:
        package = verify_package(opened, trust, name)
        read = {each: package.read(opened, each, 1 << 20) for each in package.names(opened) if "/" not in each}
        package.check_others(opened, read.keys())


def test_a_flipped_bit_in_any_byte_of_any_file_is_refused(tmp_path: Path, trust: TrustedKeys) -> None:
    """One bit of each byte; tests/schema flips all of them in memory."""
    folder = tmp_path / "small"
    (folder / "about").mkdir(parents=True)
    (folder / "m.tflite").write_bytes(b"TFL3 the weights")
    (folder / "about" / "labels.txt").write_bytes(b"red circle\n")
    sign_folder(folder, KEY, notAfter="2099-01-01T00:00:00Z")
    verify_all(folder, trust)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        for position in range(len(content)):
            changed = bytearray(content)
            changed[position] ^= 1 << position % 8
            path.write_bytes(changed)
            with pytest.raises(CannotLoad):
                verify_all(folder, trust)
        path.write_bytes(content)
    verify_all(folder, trust)


def test_a_changed_file_that_the_runtime_does_not_read_is_refused_too(package: Path, trust: TrustedKeys) -> None:
    (package / "about" / "labels.txt").write_text("red square\n")
    assert "'about/labels.txt' differs from what was signed" in refusal(package, trust)


def test_unknown_revoked_expired_and_future_keys_are_refused_each_with_its_line(
    package: Path, trust: TrustedKeys
) -> None:
    own = str(trust.keys[0])
    assert f"it is signed by {own}, which is not trusted" in refusal(package, trusting(public_pem(OTHER)))
    for lines, reason in (
        ("revoked: 2026-05-01", f"it is signed by {own}, which was revoked on 2026-05-01"),
        ("valid-until: 2026-01-01", f"it is signed by {own}, which expired at 2026-01-01T23:59:59Z"),
        ("valid-from: 2999-01-01", f"it is signed by {own}, which counts from 2999-01-01T00:00:00Z"),
    ):
        assert reason in refusal(package, trusting(f"{lines}\n{public_pem(KEY)}"))
    load(package, trusting(f"valid-from: 2026-01-02\nvalid-until: 2999-01-01\n{public_pem(KEY)}"))


def test_an_expired_and_a_future_package_are_refused(package: Path, trust: TrustedKeys) -> None:
    sign_folder(package, KEY, notAfter="2026-01-01T00:00:00Z")
    assert "the package scenes 1.2.0 expired at 2026-01-01T00:00:00Z; the clock says 2" in refusal(package, trust)
    sign_folder(package, KEY, notBefore="2999-01-01T00:00:00Z")
    assert "the package scenes 1.2.0 is valid from 2999-01-01T00:00:00Z" in refusal(package, trust)


def test_another_model_and_another_version_are_refused(package: Path, trust: TrustedKeys) -> None:
    sign_folder(package, KEY, "others")
    assert "it is the package of model 'others', not of 'scenes'" in refusal(package, trust)
    load(package, trust, "others")
    assert "it is version 1.2.0 of others, not '1.3.0'" in refusal(package, trust, "others", version="1.3.0")
    load(package, trust, "others", version="1.2.0")


def test_with_a_key_an_unsigned_package_is_refused(package: Path, trust: TrustedKeys) -> None:
    (package / SIGNATURE).unlink()
    assert "the package is not signed (no model.sig)" in refusal(package, trust)
    (package / MANIFEST).unlink()
    assert "the package is not signed" in refusal(package, trust)
    load(package)


def test_packages_of_before_are_refused_with_the_command_with_and_without_keys(
    folder: Path, trust: TrustedKeys
) -> None:
    (folder / "emflow-package.json").write_text('{"schemaVersion": 1, "model": {"name": "scenes", "version": "1.0.0"}}')
    command = "sign it anew: emflow package FOLDER --name scenes --version 1.0.0 --key key.pem --out NEW_FOLDER"
    for keys in (trust, None):
        assert command in refusal(folder, keys)


def test_files_that_were_not_signed_are_refused(package: Path, trust: TrustedKeys, scenes_model: Path) -> None:
    shutil.copy(scenes_model, package / "another.tflite")
    (package / "about" / "libdlr.so").write_bytes(b"somebody's code")
    assert "it has 'about/libdlr.so', 'another.tflite', which was not signed" in refusal(package, trust)


def test_what_is_ignored_is_never_loaded(folder: Path, trust: TrustedKeys, tmp_path: Path) -> None:
    sign_folder(folder, KEY)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    (folder / "._scenes.tflite").write_bytes(b"\0\5\x16\7")
    load(folder, trust)
    (folder / ".git" / "link").symlink_to(tmp_path)
    load(folder, trust)


def test_a_bundle_and_a_manifest_have_sizes_that_they_can_have(package: Path, trust: TrustedKeys) -> None:
    with (package / SIGNATURE).open("wb") as file:
        file.truncate(100 << 20)
    assert f"'{SIGNATURE}' is longer than 1048576 bytes" in refusal(package, trust)
    sign_folder(package, KEY)
    (package / MANIFEST).write_bytes(b" " * (1 << 20))
    assert f"'{MANIFEST}' is longer than 16384 bytes" in refusal(package, trust)


def test_too_many_files_and_folders_that_are_nested_too_deeply_are_refused(folder: Path, trust: TrustedKeys) -> None:
    sign_folder(folder, KEY)
    deep = folder.joinpath(*("d" for _ in range(40)))
    deep.mkdir(parents=True)
    assert "its folders are nested more than 32 deep" in refusal(folder, trust)
    shutil.rmtree(folder / "d")
    many = folder / "many"
    many.mkdir()
    for number in range(10_000):
        (many / str(number)).touch()
    assert "it has more than 10000 entries" in refusal(folder, trust)


@pytest.mark.parametrize("name", ["scenes.tflite", MANIFEST, SIGNATURE, "about/labels.txt"])
def test_a_link_in_the_place_of_a_file_is_refused(package: Path, tmp_path: Path, trust: TrustedKeys, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (package / name).rename(elsewhere)
    (package / name).symlink_to(elsewhere)
    assert "it is a symbolic link" in refusal(package, trust)


def test_links_are_refused_in_folders_without_a_manifest_too(folder: Path, tmp_path: Path) -> None:
    (folder / "scenes.tflite").rename(tmp_path / "real.tflite")
    (folder / "scenes.tflite").symlink_to(tmp_path / "real.tflite")
    assert "'scenes.tflite' cannot be read: it is a symbolic link" in refusal(folder)


def test_a_link_in_the_place_of_a_folder_below_is_refused(package: Path, tmp_path: Path, trust: TrustedKeys) -> None:
    (package / "about").rename(tmp_path / "about")
    (package / "about").symlink_to(tmp_path / "about")
    assert "it lacks 'about/labels.txt', which was signed" in refusal(package, trust)


def test_pipes_and_folders_hold_up_nobody(folder: Path, trust: TrustedKeys) -> None:
    sign_folder(folder, KEY)
    (folder / "scenes.tflite").unlink()
    os.mkfifo(folder / "scenes.tflite")
    assert "'scenes.tflite' is not a regular file" in refusal(folder, trust)
    (folder / SIGNATURE).unlink()
    (folder / SIGNATURE).symlink_to("/dev/zero")
    assert "symbolic link" in refusal(folder, trust)


def test_the_bytes_that_were_checked_are_those_that_run(
    package: Path, trust: TrustedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever replaces a file right after it was read gains nothing: there is no second look at it."""
    read, seen = ModelFolder.read, []

    def replaced_after(folder: ModelFolder, name: str, most: int) -> bytes:
        content = read(folder, name, most)
        seen.append(name)
        (package / name).write_bytes(b"replaced")
        return content

    monkeypatch.setattr(ModelFolder, "read", replaced_after)
    assert load(package, trust).model.inputs[0].shape == (1, 224, 224, 3)
    assert sorted(seen) == sorted([SIGNATURE, MANIFEST, "scenes.tflite"])


def test_a_size_that_no_device_has_is_refused_before_a_byte_is_read(package: Path, trust: TrustedKeys) -> None:
    with (package / "scenes.tflite").open("ab") as file:
        file.truncate(1 << 42)
    with pytest.raises(NotEnoughMemory):
        load(package, trust, check_files=MemoryCheck().check_files)


def test_clients_get_a_failed_precondition_and_may_name_the_version(
    package: Path, trust: TrustedKeys, tmp_path: Path, refused: Callable[[Callable[[], object]], Any]
) -> None:
    socket = tmp_path / "a.sock"
    service = AgentService(ModelStore(trust=trust))
    with (
        serving(service, socket, clean_stale_socket=False, grace=5.0),
        grpc.insecure_channel(f"unix:{socket}") as channel,
    ):
        stub = AgentStub(channel)
        request = m.LoadModelRequest(url=str(package), name="scenes")
        code, text = refused(lambda: stub.LoadModel(request, metadata=(("emflow-model-version", "1.3.0"),)))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "it is version 1.2.0 of scenes, not '1.3.0'" in text
        (package / "scenes.tflite").write_bytes(b"other")
        code, text = refused(lambda: stub.LoadModel(request))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "differs from what was signed" in text
        sign_folder(package, KEY, version="1.3.0")
        shutil.copy(Path(__file__).parents[3] / "workflows" / "models" / "scenes.tflite", package)
        sign_folder(package, KEY, version="1.3.0")
        stub.LoadModel(request, metadata=(("emflow-model-version", "1.3.0"),))


@pytest.mark.parametrize("keys", [True, False], ids=["with keys", "without keys"])
def test_another_version_than_the_wanted_one_is_refused_also_where_it_is_loaded(
    package: Path,
    trust: TrustedKeys,
    tmp_path: Path,
    refused: Callable[[Callable[[], object]], Any],
    keys: bool,
) -> None:
    socket, wanted = tmp_path / "a.sock", (("emflow-model-version", "1.3.0"),)
    service = AgentService(ModelStore(trust=trust if keys else None))
    with (
        serving(service, socket, clean_stale_socket=False, grace=5.0),
        grpc.insecure_channel(f"unix:{socket}") as channel,
    ):
        stub = AgentStub(channel)
        request = m.LoadModelRequest(url=str(package), name="scenes")
        code, text = refused(lambda: stub.LoadModel(request, metadata=wanted))
        assert (code, "it is version 1.2.0 of scenes, not '1.3.0'" in text) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            True,
        )
        stub.LoadModel(request, metadata=(("emflow-model-version", "1.2.0"),))
        code, text = refused(lambda: stub.LoadModel(request, metadata=wanted))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "is already loaded from" in text
        assert "it is version 1.2.0 of scenes, not '1.3.0'; unload it" in text
        code, _ = refused(lambda: stub.LoadModel(request, metadata=(("emflow-model-version", "1.2.0"),)))
        assert code == grpc.StatusCode.ALREADY_EXISTS
        code, _ = refused(lambda: stub.LoadModel(request))
        assert code == grpc.StatusCode.ALREADY_EXISTS


def test_a_package_of_the_embedded_aws_is_checked_against_what_lies_in_it(folder: Path, tmp_path: Path) -> None:
    from emflow_emulator.aws.sagemaker.packaging import Signer

    files = {"scenes.tflite": (folder / "scenes.tflite").read_bytes(), "neo.json": b"{}"}
    signed = Signer().sign({"model_name": "scenes", "model_version": "1.0"}, files)
    for name, content in {**files, **signed.files}.items():
        (folder / name).write_bytes(content)
    load(folder)
    certificate = tmp_path / "trusted.pem"
    certificate.write_bytes(signed.certificate)
    load(folder, trusting(str(certificate)))
    (tmp_path / "other.pem").write_bytes(Signer().sign({}, {}).certificate)
    assert "is not signed by a key" in refusal(folder, trusting(str(tmp_path / "other.pem")))
    (folder / "manifest.json").write_bytes(signed.manifest.replace(b'"1.0"', b'"1.1"'))
    assert "not signed by the certificate beside it" in refusal(folder)
    (folder / "manifest.json").write_bytes(signed.manifest)
    (folder / "scenes.tflite").write_bytes(b"other")
    assert "differs from what was signed (SHA-256)" in refusal(folder)


def test_a_package_of_the_embedded_aws_by_a_revoked_or_expired_key_is_refused(folder: Path) -> None:
    from emflow_emulator.aws.sagemaker.packaging import Signer

    files = {"scenes.tflite": (folder / "scenes.tflite").read_bytes()}
    signed = Signer().sign({"model_name": "scenes", "model_version": "1.0"}, files)
    for name, content in signed.files.items():
        (folder / name).write_bytes(content)
    certificate = signed.certificate.decode()
    load(folder, trusting(certificate), "whatever-the-client-calls-it")
    revoked = f"revoked: 2026-05-01\n{certificate}"
    for keys in (revoked, certificate + revoked, revoked + certificate):
        assert "which was revoked" in refusal(folder, trusting(keys))
    (folder / "manifest.sig").write_bytes(b"no base64")
    assert "manifest.sig is not base64" in refusal(folder, trusting(certificate))
