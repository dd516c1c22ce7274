"""Bundle and model archive: what is in them, and the same bytes from the same content."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib.util
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from emflow.problems import Problem
from emflow.recipes import bundle as bundles
from emflow.recipes.bundle import PACKAGES, application_bundle, bundle_key, model_archive
from emflow.workflow import Workflow


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def with_model(workflow: Workflow, path: Path) -> Workflow:
    model = dataclasses.replace(workflow.cloud.model, artifact=str(path))
    return dataclasses.replace(workflow, root="/", cloud=dataclasses.replace(workflow.cloud, model=model))


def with_labels(workflow: Workflow, labels: str | None) -> Workflow:
    model_io = dataclasses.replace(workflow.edge.model_io, labels=labels)
    return dataclasses.replace(workflow, edge=dataclasses.replace(workflow.edge, model_io=model_io))


def package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    return Path((spec.submodule_search_locations or [])[0])


def test_the_bundle_holds_the_three_packages_and_the_labels_and_nothing_else(workshop: Workflow) -> None:
    held = members(application_bundle(workshop).data)
    assert {name.partition("/")[0] for name in held} == {*PACKAGES, "labels.txt"}
    assert held["labels.txt"] == b"background\ntench\n"
    assert "emflow_edge/__init__.py" in held
    assert any(name.startswith("emflow_proto/agent.") for name in held)
    assert not [name for name in held if "__pycache__" in name or name.endswith(".pyc")]


def test_without_labels_the_bundle_has_none(demo: Workflow) -> None:
    assert "labels.txt" not in members(application_bundle(with_labels(demo, None)).data)


def test_the_bundles_packages_can_be_imported_from_where_greengrass_unpacks_it(demo: Workflow, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(application_bundle(demo).data)) as archive:
        archive.extractall(tmp_path)
    code = f"import {', '.join(PACKAGES)} as last; print(emflow_edge.__file__, emflow_proto.__file__, last.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [f"{tmp_path}/{package}/__init__.py" for package in PACKAGES]


def test_the_bundles_bytes_do_not_depend_on_times_permissions_order_or_caches(
    demo: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = application_bundle(demo)
    for package in bundles.PACKAGES:
        source = package_folder(package)
        shutil.copytree(source, tmp_path / package, copy_function=shutil.copyfile)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    random.Random(7).shuffle(files)
    for number, path in enumerate(files):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        path.chmod(0o600)
        os.utime(path, (number, number))
    (tmp_path / "emflow_edge" / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "emflow_edge" / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"x")
    (tmp_path / "emflow_edge" / ".DS_Store").write_bytes(b"x")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for package in bundles.PACKAGES:  # found anew, on the path above
        monkeypatch.delitem(sys.modules, package, raising=False)
    assert package_folder("emflow_edge") == tmp_path / "emflow_edge"
    assert application_bundle(demo) == first


def test_the_bundles_key_is_its_content(demo: Workflow, changed) -> None:
    bundle = application_bundle(demo)
    assert bundle.sha256 == hashlib.sha256(bundle.data).hexdigest()
    component = "aws.sagemaker.edgeManagerClientCameraIntegration"
    assert bundle_key(component, bundle) == f"artifacts/{component}/{bundle.sha256}/emflow-edge.zip"
    assert application_bundle(with_labels(demo, None)).sha256 != bundle.sha256


def test_missing_labels_are_reported_with_the_key_and_the_path(demo: Workflow) -> None:
    with pytest.raises(Problem, match=r"none.txt: edge.model_io.labels: there is no such file"):
        application_bundle(with_labels(demo, "none.txt"))


def test_a_bare_model_becomes_an_archive_with_exactly_that_file(demo: Workflow) -> None:
    archive = model_archive(demo)
    model = Path(demo.folder, demo.cloud.model.artifact)
    assert archive.name == "scenes.tar.gz"
    assert archive.sha256 == hashlib.sha256(archive.data).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(archive.data), mode="r:gz") as tar:
        (member,) = tar.getmembers()
        content = tar.extractfile(member)
        assert content is not None
        assert (member.name, member.mtime, member.uid, member.mode) == ("scenes.tflite", 0, 0, 0o644)
        assert content.read() == model.read_bytes()


@pytest.mark.parametrize(
    ("length", "inner"), [(100, "a" * 93 + ".tflite"), (101, "model.tflite"), (250, "model.tflite")]
)
def test_a_model_with_a_long_name_is_packed_under_a_short_one(
    demo: Workflow, tmp_path: Path, length: int, inner: str
) -> None:
    copy = tmp_path / ("a" * (length - len(".tflite")) + ".tflite")
    shutil.copyfile(Path(demo.folder, demo.cloud.model.artifact), copy)
    archive = model_archive(with_model(demo, copy))
    with tarfile.open(fileobj=io.BytesIO(archive.data), mode="r:gz") as tar:
        assert tar.getnames() == [inner]


def test_a_models_archive_does_not_depend_on_when_or_where_it_was_made(demo: Workflow, tmp_path: Path) -> None:
    first = model_archive(demo)
    copy = tmp_path / "scenes.tflite"
    shutil.copyfile(Path(demo.folder, demo.cloud.model.artifact), copy)
    os.utime(copy, (1, 1))
    copy.chmod(0o600)
    assert model_archive(with_model(demo, copy)) == first


@pytest.mark.parametrize("size", [0, 1, 0xFFFF - 1, 0xFFFF, 0xFFFF + 1, 3 * 0xFFFF, 200_000])
def test_stored_gzip_is_gzip_at_every_size(size: int) -> None:
    data = random.Random(size).randbytes(size)
    packed = bundles._gzip(data)
    assert gzip.decompress(packed) == data
    if shutil.which("gzip"):
        assert subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, check=True).stdout == data


def test_a_given_archive_goes_up_as_it_is(demo: Workflow, tmp_path: Path) -> None:
    path = tmp_path / "mobilenet_v2_1.0_224_quant.tgz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(Path(demo.folder, demo.cloud.model.artifact), "./m/scenes.tflite")
    archive = model_archive(with_model(demo, path))
    assert (archive.name, archive.data) == (path.name, path.read_bytes())


def test_an_archive_that_macos_added_files_to_goes_up_without_them(demo: Workflow, tmp_path: Path) -> None:
    model = Path(demo.folder, demo.cloud.model.artifact)
    (tmp_path / "apple").write_bytes(b"\x00\x05\x16\x07" + bytes(100))
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tmp_path / "apple", "./._scenes.TFLITE")
        tar.add(model, "./scenes.TFLITE")
    archive = model_archive(with_model(demo, path))
    assert archive.name == path.name
    with tarfile.open(fileobj=io.BytesIO(archive.data), mode="r:gz") as tar:
        (member,) = tar.getmembers()
        content = tar.extractfile(member)
        assert content is not None
        assert (member.name, content.read()) == ("scenes.tflite", model.read_bytes())


def test_an_ending_in_capitals_is_written_in_small_letters(demo: Workflow, tmp_path: Path) -> None:
    path = tmp_path / "SCENES.TFLITE"
    path.write_bytes(Path(demo.folder, demo.cloud.model.artifact).read_bytes())
    archive = model_archive(with_model(demo, path))
    assert archive.name == "SCENES.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(archive.data), mode="r:gz") as tar:
        assert tar.getnames() == ["SCENES.tflite"]


def test_the_workshops_own_model_is_packed(demo: Workflow, shared_data: Path) -> None:
    archive = model_archive(with_model(demo, shared_data / "models" / "mobilenet_v2_1.0_224_quant.tflite"))
    with tarfile.open(fileobj=io.BytesIO(archive.data), mode="r:gz") as tar:
        assert tar.getnames() == ["mobilenet_v2_1.0_224_quant.tflite"]


@pytest.mark.parametrize(("name", "content"), [("x.tflite", b"no model"), ("x.tgz", b"no archive")])
def test_what_is_no_model_is_not_packed(demo: Workflow, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Problem, match=r"no TFLite model|no \.tar\.gz archive"):
        model_archive(with_model(demo, tmp_path / name))


def test_a_missing_model_is_reported_with_the_key_and_the_path(demo: Workflow, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"none.tflite: cloud.model.artifact: there is no such file"):
        model_archive(with_model(demo, tmp_path / "none.tflite"))
