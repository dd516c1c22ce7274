"""The Runtime component: the same bytes for the same lock, what a board needs in it, and a recipe for both nuclei."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import emflow_runtime
from board.conftest import board
from emflow.board.lock import Lock, LockedPackage, Wheel, made_for
from emflow.problems import Problem
from emflow.recipes import runtime_component
from emflow.recipes.lint.context import Target
from emflow.recipes.runtime_component import (
    RuntimeBundle,
    build_runtime,
    install_timeout,
    packages_folder,
    render_runtime,
)
from emflow.recipes.sizes import runtime_size, show_bytes
from emflow_runtime.installation import MACHINES, glibc
from wheel_files import make_wheel, sha256

NAME = "com.example.Runtime"
BUCKET = "acme-components"


def locked(path: Path) -> LockedPackage:
    name, version, *_ = path.name.split("-")
    return LockedPackage(name.replace("_", "-"), version, Wheel(path.name, sha256(path), path.stat().st_size, path="x"))


@pytest.fixture
def wheels(tmp_path: Path, pip: Path) -> dict[str, Path]:
    folder = tmp_path / "wheels"
    folder.mkdir()
    numpy = make_wheel(folder, "numpy", "1.26.4", {"numpy/__init__.py": b"__version__ = '1.26.4'\n"})
    awscrt = make_wheel(folder, "awscrt", "0.27.0", {"awscrt.py": b"", "data.bin": bytes(10_000)})
    return {path.name: path for path in (numpy, awscrt, pip)}


@pytest.fixture
def lock(wheels: dict[str, Path], pip: Path) -> Lock:
    of_wheels = tuple(locked(path) for path in wheels.values() if path != pip)
    return replace(made_for(board(), ("numpy>=1.24",)), locked=of_wheels, installer=locked(pip))


@pytest.fixture
def bundle(lock: Lock, wheels: dict[str, Path], tmp_path: Path) -> RuntimeBundle:
    return build_runtime(lock, wheels, tmp_path / "emflow-runtime.zip")


def test_it_has_the_wheels_their_hashes_the_programs_and_what_the_board_is(bundle: RuntimeBundle, lock: Lock) -> None:
    programs = {f"emflow_runtime/{path.name}" for path in Path(emflow_runtime.__file__).parent.glob("*.py")}
    with zipfile.ZipFile(bundle.path) as archive:
        assert set(archive.namelist()) == programs | {
            "board.json",
            "requirements.txt",
            lock.installer.wheel.name if lock.installer else "",
            *(f"wheels/{each.wheel.name}" for each in lock.locked),
        }
        about = json.loads(archive.read("board.json"))
        hashed = archive.read("requirements.txt").decode()
        assert {each.date_time for each in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {each.compress_type for each in archive.infolist()} == {zipfile.ZIP_STORED}
    assert about["digest"] == lock.digest == bundle.digest
    assert (about["python"], about["architecture"], about["glibc"]) == ("3.11", "aarch64", "2.37")
    assert about["modules"] == {"numpy": "numpy"}
    assert about["bytes"] == bundle.installed
    assert hashed == "".join(
        f"{each.name}=={each.version} --hash=sha256:{each.wheel.sha256}\n"
        for each in sorted(lock.locked, key=lambda each: each.name)
    )


def test_the_same_lock_gives_the_same_bytes(bundle: RuntimeBundle, lock: Lock, tmp_path: Path, wheels: Any) -> None:
    moved = {}
    for name, path in wheels.items():  # from somewhere else, with other times
        moved[name] = tmp_path / "moved" / name
        moved[name].parent.mkdir(exist_ok=True)
        shutil.copyfile(path, moved[name])
    again = build_runtime(replace(lock, locked=lock.locked[::-1]), moved, tmp_path / "again.zip")
    assert again.path.read_bytes() == bundle.path.read_bytes()
    assert again.sha256 == bundle.sha256 == sha256(bundle.path)


@pytest.mark.parametrize("nucleus", [Target.CLASSIC, Target.LITE, Target.ANY])
def test_its_recipe_has_nothing_that_either_nucleus_refuses(bundle: RuntimeBundle, nucleus: Target) -> None:
    rendered = render_runtime(NAME, bundle, BUCKET)
    assert rendered.findings(nucleus) == ()


def test_its_recipe_says_what_each_nucleus_needs(bundle: RuntimeBundle) -> None:
    recipe = yaml.safe_load(render_runtime(NAME, bundle, BUCKET).checked())
    lite, classic = recipe["Manifests"]
    assert (lite["Platform"]["runtime"], classic["Platform"]["runtime"]) == ("aws_nucleus_lite", "*")
    assert lite["Lifecycle"]["run"]["Script"] == "exit 0"
    assert "run" not in classic["Lifecycle"]
    assert "ComponentDependencies" not in recipe
    for manifest in (lite, classic):
        install = manifest["Lifecycle"]["install"]
        assert install["Timeout"] == install_timeout(bundle.installed)
        assert isinstance(install["Timeout"], int)
        assert install["RequiresPrivilege"] is False
        without_variables = re.sub(r"\{(artifacts:decompressedPath|work:path)\}", "", install["Script"])
        assert not set("{}") & set(without_variables)
        (artifact,) = manifest["Artifacts"]
        assert artifact["Uri"] == f"s3://{BUCKET}/artifacts/{NAME}/{bundle.sha256}/emflow-runtime.zip"


def test_the_install_step_has_time_for_400_mb_on_a_slow_disk() -> None:
    assert install_timeout(400_000_000) == 1500
    assert install_timeout(0) >= 120


def test_its_version_is_made_of_its_content(bundle: RuntimeBundle, lock: Lock, wheels: Any, tmp_path: Path) -> None:
    version = render_runtime(NAME, bundle, BUCKET).known.version
    assert re.fullmatch(r"1\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})", version)
    assert render_runtime(NAME, bundle, BUCKET).known.version == version
    other = build_runtime(replace(lock, locked=lock.locked[:1]), wheels, tmp_path / "other.zip")
    assert render_runtime(NAME, other, BUCKET).known.version != version
    assert render_runtime(NAME, bundle, BUCKET, version="7.0.0").known.version == "7.0.0"


def test_other_components_name_the_folder_without_a_dependency(bundle: RuntimeBundle) -> None:
    assert packages_folder(NAME, bundle.digest) == f"{{kernel:rootPath}}/work/{NAME}/{bundle.digest}"


@pytest.mark.parametrize(
    ("provides", "blocked"),
    [
        ({}, []),
        ({"protobuf": "5.29.0"}, ["ai_edge_litert", "cv2", "onnxruntime", "tflite_runtime"]),
        ({"numpy": "1.26.4", "tflite-runtime": "2.14.0"}, []),
    ],
)
def test_modules_of_the_image_are_hidden_when_the_numpy_is_not_the_images(
    lock: Lock, wheels: Any, tmp_path: Path, provides: dict[str, str], blocked: list[str]
) -> None:
    figures = made_for(board(provides=provides), lock.requirements)
    packages = tuple(each for each in lock.locked if each.name not in provides)
    made = build_runtime(replace(figures, locked=packages, installer=lock.installer), wheels, tmp_path / "x.zip")
    with zipfile.ZipFile(made.path) as archive:
        assert json.loads(archive.read("board.json"))["blocked"] == blocked


def test_a_file_that_is_no_wheel_is_one_sentence(lock: Lock, wheels: Any, tmp_path: Path) -> None:
    next(iter(wheels.values())).write_bytes(b"no zip")
    with pytest.raises(Problem, match="is no wheel"):
        build_runtime(lock, wheels, tmp_path / "x.zip")
    assert not list(tmp_path.glob("*x.zip*"))


def test_more_than_greengrass_takes_is_refused(
    lock: Lock, wheels: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_component, "MAX_ARTIFACT_BYTES", 1000)
    with pytest.raises(Problem, match="Greengrass accepts"):
        build_runtime(lock, wheels, tmp_path / "x.zip")


def test_its_size_on_a_device_is_that_of_the_zip_its_content_and_the_packages(bundle: RuntimeBundle) -> None:
    size = runtime_size(NAME, bundle)
    assert size.download == bundle.path.stat().st_size
    assert size.disk == bundle.size + bundle.unpacked + bundle.installed
    with zipfile.ZipFile(bundle.path) as archive:
        content = sum(each.file_size for each in archive.infolist())
    assert content <= bundle.unpacked <= content + 4096 * 20
    assert bundle.installed >= 10_000
    assert str(size) == f"{NAME}: {show_bytes(size.download)} to download, {show_bytes(size.disk)} on the device"


def test_what_was_rendered_installs_on_this_machine(wheels: Any, pip: Path, tmp_path: Path) -> None:
    """The script of the recipe, with its variables filled in."""
    python = "{}.{}".format(*sys.version_info[:2])
    machine = next(MACHINES[name] for name in MACHINES if name == __import__("platform").machine())
    here = made_for(board(architecture=machine, python=python, glibc=glibc()), ("numpy>=1.24",))
    packages = tuple(locked(path) for path in wheels.values() if path != pip)
    made = build_runtime(replace(here, locked=packages, installer=locked(pip)), wheels, tmp_path / "emflow-runtime.zip")
    recipe = yaml.safe_load(render_runtime(NAME, made, BUCKET).checked())
    with zipfile.ZipFile(made.path) as archive:
        archive.extractall(tmp_path / "unpacked" / "emflow-runtime")
    script = recipe["Manifests"][0]["Lifecycle"]["install"]["Script"]
    script = script.replace("{artifacts:decompressedPath}", str(tmp_path / "unpacked"))
    script = script.replace("{work:path}", str(tmp_path / "work")).replace("python3", sys.executable)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    taken = sum(-(-path.stat().st_size // 4096) * 4096 for path in (tmp_path / "work").rglob("*") if path.is_file())
    assert (tmp_path / "work" / made.digest / "complete").exists()
    assert taken <= made.installed + 4096 * 10
