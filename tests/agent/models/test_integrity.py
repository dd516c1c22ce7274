"""Signed packages: what may be loaded, what is refused, and that the bytes which were checked are those that run."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from emflow_agent import signing
from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.errors import BadOption, CannotLoad, NotEnoughMemory
from emflow_agent.models.folder import ModelFolder
from emflow_agent.models.integrity import TrustedKeys, read_trusted_keys
from emflow_agent.models.loading import LoadedFiles, load_folder
from emflow_agent.models.memory import MemoryCheck
from emflow_agent.models.store import ModelStore
from emflow_agent.runtimes import RuntimeOptions
from emflow_proto import messages as m
from emflow_proto.service import AgentStub

MANIFEST, SIGNATURE = "emflow-package.json", "emflow-package.sig"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pairs of keys, `ours` and `others`."""
    made = tmp_path_factory.mktemp("keys")
    for name in ("ours", "others"):
        assert signing.main(["keygen", str(made / f"{name}.pem")]) == 0
    return made


def test_a_relative_path_of_a_key_is_told_with_the_folder_it_was_looked_for_in() -> None:
    with pytest.raises(
        BadOption, match=f"TrustKeys: 'none.pem' cannot be read in {re.escape(str(Path.cwd()))}: No such"
    ):
        read_trusted_keys("TrustKeys", [Path("none.pem")])


@pytest.fixture
def trust(keys: Path) -> TrustedKeys:
    return read_trusted_keys("TrustKeys", [keys / "ours.pub.pem"])


@pytest.fixture
def package(folder: Path, keys: Path) -> Path:
    """The scenes model with its labels in a folder below, signed with `ours`."""
    (folder / "about").mkdir()
    (folder / "about" / "labels.txt").write_text("red circle\n")
    signing.sign(folder, keys / "ours.pem", "scenes", "1.2.0", "imx8mplus")
    return folder


def load(folder: Path, trust: TrustedKeys | None = None, **options: Any) -> LoadedFiles:
    return load_folder(str(folder), RuntimeOptions(), trust, probe=False, **options)


def refusal(folder: Path, trust: TrustedKeys | None = None) -> str:
    with pytest.raises(CannotLoad) as caught:
        load(folder, trust)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def resign(folder: Path, keys: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Sign what a manifest becomes by a change, as somebody with the key may do."""
    said = json.loads((folder / MANIFEST).read_text())
    change(said)
    whole = json.dumps(said).encode()
    (folder / MANIFEST).write_bytes(whole)
    (folder / SIGNATURE).write_bytes(base64.b64encode(signing._private_key(keys / "ours.pem").sign(whole)))


def test_a_signed_package_is_loaded_by_whoever_trusts_its_key(
    package: Path, trust: TrustedKeys, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert load(package, trust).model.inputs[0].shape == (1, 224, 224, 3)
    assert f"{package}: scenes 1.2.0, signed by a trusted key" in caplog.messages
    manifest = json.loads((package / MANIFEST).read_text())
    assert manifest["schemaVersion"] == 1
    assert manifest["target"] == "imx8mplus"
    assert sorted(manifest["files"]) == ["about/labels.txt", "scenes.tflite"]


def test_without_keys_a_manifest_is_held_against_the_files_all_the_same(package: Path) -> None:
    load(package)
    file = package / "scenes.tflite"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert "'scenes.tflite' differs from the manifest (SHA-256)" in refusal(package)
    file.write_bytes(content + b"more")
    assert "is longer than" in refusal(package)
    file.write_bytes(content[:-1])
    assert f"has {len(content) - 1} bytes; the manifest says {len(content)}" in refusal(package)
    file.unlink()
    assert "'scenes.tflite' cannot be read: No such file or directory" in refusal(package)


def test_another_key_a_changed_manifest_and_a_cut_signature_are_refused(
    package: Path, keys: Path, trust: TrustedKeys
) -> None:
    signing.sign(package, keys / "others.pem", "scenes", "1.2.0")
    assert "is not signed by a key that this agent trusts" in refusal(package, trust)
    load(package, read_trusted_keys("TrustKeys", [keys / "ours.pub.pem", keys / "others.pub.pem"]))
    signing.sign(package, keys / "ours.pem", "scenes", "1.2.0")
    manifest = (package / MANIFEST).read_bytes()
    (package / MANIFEST).write_bytes(manifest + b" ")
    assert "is not signed by a key that this agent trusts" in refusal(package, trust)
    (package / MANIFEST).write_bytes(manifest)
    (package / SIGNATURE).write_bytes((package / SIGNATURE).read_bytes()[:40])
    assert "is not signed by a key that this agent trusts" in refusal(package, trust)
    (package / SIGNATURE).write_bytes(b"\xff no base64")
    assert "the signature is not base64" in refusal(package, trust)


def test_with_a_key_an_unsigned_package_is_refused_also_without_manifest(package: Path, trust: TrustedKeys) -> None:
    (package / MANIFEST).unlink()
    assert f"{SIGNATURE} exists but {MANIFEST} does not" in refusal(package, trust)
    (package / SIGNATURE).unlink()
    assert "the package is not signed" in refusal(package, trust)
    load(package)


def test_a_manifest_without_its_signature_is_refused_where_a_key_is_trusted(package: Path, trust: TrustedKeys) -> None:
    (package / SIGNATURE).unlink()
    assert f"{MANIFEST} is not signed (no {SIGNATURE})" in refusal(package, trust)
    load(package)


def test_what_the_manifest_does_not_list_is_not_there(package: Path, trust: TrustedKeys, scenes_model: Path) -> None:
    shutil.copy(scenes_model, package / "another.tflite")
    (package / "libdlr.so").write_bytes(b"somebody's code")
    load(package, trust)
    (package / "scenes.tflite").rename(package / "moved.tflite")
    assert "'scenes.tflite' cannot be read" in refusal(package, trust)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda said: said.update(schemaVersion=2), "schemaVersion is 2; this agent supports 1"),
        (lambda said: said.update(files={}), "lists 0 files; it must be 1 to 1000"),
        (lambda said: said.update(files=[]), "model and files must be objects"),
        (lambda said: said["files"].update({"../x": said["files"]["scenes.tflite"]}), "'../x' is not a path inside"),
        (
            lambda said: said["files"].update({"/etc/x": said["files"]["scenes.tflite"]}),
            "'/etc/x' is not a path inside",
        ),
        (lambda said: said["files"].update({"a//x": said["files"]["scenes.tflite"]}), "'a//x' is not a path inside"),
        (lambda said: said["files"].update({"x": None}), "'x' must have sha256 and size"),
        (lambda said: said["files"]["scenes.tflite"].update(size=-1), "size of 'scenes.tflite' is -1"),
        (lambda said: said["files"]["scenes.tflite"].update(sha256="AB"), "is not a SHA-256 digest"),
        (lambda said: said["model"].update(name=3), "name, version and target must be text"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused_though_it_is_signed(
    package: Path, keys: Path, trust: TrustedKeys, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    resign(package, keys, change)
    assert reason in refusal(package, trust)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files": 1, "files": 2}', b"[" * 50_000, b"\xff"])
def test_a_damaged_manifest_is_refused(package: Path, content: bytes) -> None:
    (package / MANIFEST).write_bytes(content)
    assert MANIFEST in refusal(package)


def test_a_manifest_has_a_size_that_it_can_have(package: Path) -> None:
    (package / MANIFEST).write_bytes(b" " * (2 << 20))
    assert f"'{MANIFEST}' is longer than 1048576 bytes" in refusal(package)


def test_a_size_that_no_device_has_is_refused_before_a_byte_is_read(
    package: Path, keys: Path, trust: TrustedKeys
) -> None:
    resign(package, keys, lambda said: said["files"]["scenes.tflite"].update(size=1 << 60))
    with pytest.raises(NotEnoughMemory):
        load(package, trust, check_files=MemoryCheck().check_files)


@pytest.mark.parametrize("name", ["scenes.tflite", MANIFEST, SIGNATURE, "about/labels.txt"])
def test_a_link_in_the_place_of_a_file_is_refused(
    package: Path, keys: Path, tmp_path: Path, trust: TrustedKeys, name: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (package / name).rename(elsewhere)
    (package / name).symlink_to(elsewhere)
    with pytest.raises(CannotLoad, match="it is a symbolic link"):
        signing.verify(package, [keys / "ours.pub.pem"])
    if not name.startswith("about"):  # which the runtime has no use for
        assert "it is a symbolic link" in refusal(package, trust)


def test_links_are_refused_in_folders_without_a_manifest_too(folder: Path, tmp_path: Path) -> None:
    (folder / "scenes.tflite").rename(tmp_path / "real.tflite")
    (folder / "scenes.tflite").symlink_to(tmp_path / "real.tflite")
    assert "'scenes.tflite' cannot be read: it is a symbolic link" in refusal(folder)


def test_a_link_in_the_place_of_a_folder_below_is_refused(package: Path, tmp_path: Path, keys: Path) -> None:
    (package / "about").rename(tmp_path / "about")
    (package / "about").symlink_to(tmp_path / "about")
    with pytest.raises(CannotLoad, match="symbolic link"):
        signing.verify(package, [keys / "ours.pub.pem"])


def test_pipes_and_folders_hold_up_nobody(folder: Path) -> None:
    (folder / "scenes.tflite").unlink()
    os.mkfifo(folder / "scenes.tflite")
    assert "found: none" in refusal(folder)
    (folder / MANIFEST).symlink_to("/dev/zero")
    assert "symbolic link" in refusal(folder)


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
    assert seen == [MANIFEST, SIGNATURE, "scenes.tflite"]


def test_clients_get_a_failed_precondition(
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
        (package / "scenes.tflite").write_bytes(b"other")
        code, text = refused(lambda: stub.LoadModel(request))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "the manifest says" in text


def test_a_package_of_the_embedded_aws_is_checked_against_what_lies_in_it(folder: Path, tmp_path: Path) -> None:
    from emflow_emulator.aws.sagemaker.packaging import Signer

    files = {"scenes.tflite": (folder / "scenes.tflite").read_bytes(), "neo.json": b"{}"}
    signed = Signer().sign({"model_name": "scenes", "model_version": "1.0"}, files)
    for name, content in {**files, **signed.files}.items():
        (folder / name).write_bytes(content)
    load(folder)
    certificate = tmp_path / "trusted.pem"
    certificate.write_bytes(signed.certificate)
    load(folder, read_trusted_keys("TrustKeys", [certificate]))
    (tmp_path / "other.pem").write_bytes(Signer().sign({}, {}).certificate)
    assert "is not signed by a key" in refusal(folder, read_trusted_keys("TrustKeys", [tmp_path / "other.pem"]))
    (folder / "manifest.json").write_bytes(signed.manifest.replace(b'"1.0"', b'"1.1"'))
    assert "not signed by the certificate beside it" in refusal(folder)
    (folder / "manifest.json").write_bytes(signed.manifest)
    (folder / "scenes.tflite").write_bytes(b"other")
    assert "differs from the manifest (SHA-256)" in refusal(folder)
