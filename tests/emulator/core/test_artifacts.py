"""Artifacts: downloaded once, verified always, unpacked where recipes look for them."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from emflow.recipes.reader.recipe import Artifact
from emflow_emulator.core import artifacts
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.layout import Layout
from emflow_emulator.core.recipe import Recipe


def zipped(files: dict[str, str], executable: str = "") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o755 if name == executable else 0o644) << 16
            archive.writestr(entry, text)
    return data.getvalue()


def digest(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


class Bucket:
    """Objects, and how often each was asked for."""

    def __init__(self, **objects: bytes) -> None:
        self.objects = objects
        self.asked: list[tuple[str, str]] = []

    def __call__(self, bucket: str, key: str, file: Path) -> None:
        self.asked.append((bucket, key))
        file.write_bytes(self.objects[bucket])


def recipe(
    data: bytes, name: str = "app.zip", *, unarchive: bool = True, read: str = "OWNER", execute: str = "NONE"
) -> Recipe:
    artifact = Artifact(f"s3://bucket/some/deep/{name}", unarchive, digest(data), "SHA-256", read, execute)
    return Recipe("app", "1.0.0", artifacts=(artifact,))


def test_a_zip_is_unpacked_into_a_folder_of_its_name(tmp_path: Path) -> None:
    layout, data = Layout(tmp_path), zipped({"run.sh": "echo", "deep/a.txt": "a"}, executable="run.sh")
    bucket = Bucket(bucket=data)
    artifacts.fetch(recipe(data), layout, bucket)

    assert bucket.asked == [("bucket", "some/deep/app.zip")]
    assert (layout.artifacts("app", "1.0.0") / "app.zip").read_bytes() == data
    unpacked = layout.unarchived("app", "1.0.0") / "app"
    assert (unpacked / "deep/a.txt").read_text() == "a"


def test_a_file_that_is_not_to_be_unpacked_stays_as_it_is(tmp_path: Path) -> None:
    data = b"weights"
    artifacts.fetch(recipe(data, "net.tflite", unarchive=False), Layout(tmp_path), Bucket(bucket=data))

    assert (Layout(tmp_path).artifacts("app", "1.0.0") / "net.tflite").read_bytes() == data


def test_what_is_there_and_right_is_not_loaded_again(tmp_path: Path) -> None:
    data = zipped({"a": "a"})
    bucket = Bucket(bucket=data)
    for _ in range(2):
        artifacts.fetch(recipe(data), Layout(tmp_path), bucket)
    assert len(bucket.asked) == 1

    (Layout(tmp_path).artifacts("app", "1.0.0") / "app.zip").write_bytes(b"rotten")
    artifacts.fetch(recipe(data), Layout(tmp_path), bucket)
    assert len(bucket.asked) == 2


def test_other_bytes_than_the_cloud_recorded_are_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(DeploymentFailure, match="Integrity check") as caught:
        artifacts.fetch(recipe(zipped({"a": "a"})), Layout(tmp_path), Bucket(bucket=zipped({"a": "evil"})))

    assert caught.value.stack == ["DEPLOYMENT_FAILURE", "ARTIFACT_DOWNLOAD_ERROR", "ARTIFACT_CHECKSUM_MISMATCH"]
    assert caught.value.types == ["COMPONENT_RECIPE_ERROR"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "artifact", [Artifact("s3://bucket/k"), Artifact("s3://bucket/k", digest="x", algorithm="MD5")]
)
def test_an_artifact_without_a_digest_is_refused(tmp_path: Path, artifact: Artifact) -> None:
    with pytest.raises(DeploymentFailure) as caught:
        artifacts.fetch(Recipe("app", "1.0.0", artifacts=(artifact,)), Layout(tmp_path), Bucket(bucket=b""))
    assert caught.value.stack[-1] == "RECIPE_MISSING_ARTIFACT_HASH_ALGORITHM"


def test_other_places_than_s3_are_refused(tmp_path: Path) -> None:
    image = Recipe("app", "1.0.0", artifacts=(Artifact("docker:alpine"),))
    with pytest.raises(DeploymentFailure) as caught:
        artifacts.fetch(image, Layout(tmp_path), Bucket())
    assert caught.value.stack[-1] == "UNSUPPORTED_ARTIFACT_SCHEME"


def test_a_zip_that_is_none_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(DeploymentFailure, match="unarchive") as caught:
        artifacts.fetch(recipe(b"no zip"), Layout(tmp_path), Bucket(bucket=b"no zip"))
    assert caught.value.types == ["DEVICE_ERROR"]


@pytest.mark.parametrize("name", ["../escaped", "deep/../../escaped"])
def test_a_zip_with_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    data = zipped({"a": "a", name: "x"})
    with pytest.raises(DeploymentFailure, match="outside of the target dir"):
        artifacts.fetch(recipe(data), Layout(tmp_path), Bucket(bucket=data))

    assert not list(tmp_path.rglob("escaped"))
    assert not (Layout(tmp_path).unarchived("app", "1.0.0") / "app").exists()


def test_an_absolute_name_in_a_zip_is_one_in_its_folder(tmp_path: Path) -> None:
    data = zipped({"/absolute": "y"})
    for _ in range(2):
        artifacts.fetch(recipe(data), Layout(tmp_path), Bucket(bucket=data))

    assert (Layout(tmp_path).unarchived("app", "1.0.0") / "app" / "absolute").read_text() == "y"


@pytest.mark.parametrize(
    ("rights", "mode"),
    [
        (("OWNER", "NONE"), 0o440),
        (("OWNER", "OWNER"), 0o550),
        (("ALL", "NONE"), 0o444),
        (("ALL", "ALL"), 0o555),
        (("NONE", "NONE"), 0o400),
        (("NONE", "ALL"), 0o555),
    ],
)
def test_permission_decides_who_reads_and_executes_whatever_a_zip_says(
    tmp_path: Path, rights: tuple[str, str], mode: int
) -> None:
    read, execute = rights
    data = zipped({"run.sh": "echo", "deep/a.txt": "a"}, executable="run.sh")
    layout = Layout(tmp_path)
    for _ in range(2):  # a second deployment finds the files with these modes
        artifacts.fetch(recipe(data, read=read, execute=execute), layout, Bucket(bucket=data))

    files = [layout.artifacts("app", "1.0.0") / "app.zip"]
    files += [path for path in layout.unarchived("app", "1.0.0").rglob("*") if path.is_file()]
    write = 0o200 if os.geteuid() else 0
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in files} == dict.fromkeys(
        ("app.zip", "run.sh", "a.txt"), oct(mode | write)
    )
    assert (layout.unarchived("app", "1.0.0") / "app" / "deep").stat().st_mode & 0o777 == 0o755


def test_another_permission_of_the_same_file_is_set_without_a_download(tmp_path: Path) -> None:
    bucket, layout = Bucket(bucket=b"#!/bin/sh"), Layout(tmp_path)
    for execute in ("NONE", "OWNER"):
        artifacts.fetch(recipe(b"#!/bin/sh", "program", unarchive=False, execute=execute), layout, bucket)

    assert len(bucket.asked) == 1
    assert (layout.artifacts("app", "1.0.0") / "program").stat().st_mode & 0o111 == 0o110


def tree(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Each file and folder: inode, mode, time of its last change, content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(folder))] = (about.st_ino, about.st_mode, about.st_mtime_ns, content)
    return found


def test_nothing_of_an_unchanged_component_is_touched(tmp_path: Path) -> None:
    data, layout = zipped({"a": "as it came", "b": "b", "run.sh": "echo"}), Layout(tmp_path)
    artifacts.fetch(recipe(data), layout, Bucket(bucket=data))
    folder = layout.unarchived("app", "1.0.0") / "app"
    (folder / "venv" / "bin").mkdir(parents=True)
    program = folder / "venv" / "bin" / "program"
    program.write_text("#!/bin/sh")
    program.chmod(0o755)
    (folder / "link").symlink_to(program)
    (folder / "b").unlink()
    (folder / "a").write_text("the component's own")
    before = tree(tmp_path)
    assert artifacts.stage(recipe(data), layout, Bucket(bucket=data)) is None
    artifacts.finish(layout)

    assert tree(tmp_path) == before


def test_a_folder_that_is_gone_is_unpacked_again(tmp_path: Path) -> None:
    data, layout, bucket = zipped({"a": "a"}), Layout(tmp_path), Bucket(bucket=zipped({"a": "a"}))
    artifacts.fetch(recipe(data), layout, bucket)
    shutil.rmtree(layout.unarchived("app", "1.0.0") / "app")
    artifacts.fetch(recipe(data), layout, bucket)

    assert (layout.unarchived("app", "1.0.0") / "app" / "a").read_text() == "a"
    assert len(bucket.asked) == 1


def test_what_changed_is_unpacked_beside_it_and_takes_its_place_at_once(tmp_path: Path) -> None:
    old, new, layout = zipped({"a": "old", "gone": "x"}), zipped({"a": "new"}), Layout(tmp_path)
    artifacts.fetch(recipe(old), layout, Bucket(bucket=old))
    folder = layout.unarchived("app", "1.0.0") / "app"
    (folder / "own").write_text("own")
    before = tree(folder)
    staged = artifacts.stage(recipe(new), layout, Bucket(bucket=new))
    assert staged
    assert tree(folder) == before
    staged.put()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "new"}
    staged.undo()
    assert tree(folder) == before
    assert artifacts.stage(recipe(old), layout, Bucket()) is None


def test_a_deployment_that_failed_half_way_leaves_no_half_of_a_version(tmp_path: Path) -> None:
    good, layout = zipped({"a": "a"}), Layout(tmp_path)
    first = recipe(good).artifacts[0]
    missing = Artifact("s3://nothing/x.zip", True, digest(b"x"), "SHA-256")
    both = Recipe("app", "1.0.0", artifacts=(first, missing))
    with pytest.raises(KeyError):
        artifacts.fetch(both, layout, Bucket(bucket=good))

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    x = zipped({"x": "x"})
    whole = Recipe("app", "1.0.0", artifacts=(first, replace(missing, digest=digest(x))))
    artifacts.fetch(whole, layout, Bucket(bucket=good, nothing=x))
    assert sorted(path.name for path in layout.unarchived("app", "1.0.0").iterdir()) == ["app", "x"]


def test_versions_that_are_no_longer_deployed_are_removed(tmp_path: Path) -> None:
    layout, data = Layout(tmp_path), zipped({"a": "a"})
    new = recipe(data)
    old = Recipe("app", "0.9.0", artifacts=new.artifacts)
    for each in (old, new):
        artifacts.fetch(each, layout, Bucket(bucket=data))

    assert artifacts.remove_all_but([new], layout) == ["app-v0.9.0"]
    assert layout.artifacts("app", "1.0.0").exists()
    assert not layout.artifacts("app", "0.9.0").exists()
    assert not layout.unarchived("app", "0.9.0").exists()


def spoilt(data: bytes, *, encrypted: bool = False) -> bytes:
    """A zip whose only file cannot be read: its deflated bytes are wrong, or it says that it is encrypted."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", data)
    spoilt = bytearray(stream.getvalue())
    if encrypted:
        for flags in (6, spoilt.index(b"PK\x01\x02") + 8):
            spoilt[flags] |= 1
    else:
        spoilt[31:41] = b"\xff" * 10
    return bytes(spoilt)


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_zip_that_cannot_be_read_is_a_failure(tmp_path: Path, encrypted: bool) -> None:
    data = spoilt(b"text " * 100, encrypted=encrypted)
    with pytest.raises(DeploymentFailure, match="unarchive") as caught:
        artifacts.fetch(recipe(data), Layout(tmp_path), Bucket(bucket=data))
    assert caught.value.types == ["DEVICE_ERROR"]


@pytest.fixture
def two_zips(tmp_path: Path) -> tuple[Recipe, Bucket, Layout]:
    """A component version with two zips, in place, and where they can be downloaded."""
    one, other = zipped({"a": "a"}), zipped({"b": "b"})
    made = [
        Artifact(f"s3://{name}/{name}.zip", True, digest(data), "SHA-256")
        for name, data in (("one", one), ("other", other))
    ]
    recipe, bucket, layout = (
        Recipe("app", "1.0.0", artifacts=tuple(made)),
        Bucket(one=one, other=other),
        Layout(tmp_path),
    )
    artifacts.fetch(recipe, layout, bucket)
    return recipe, bucket, layout


def test_a_removed_folder_comes_back_and_the_others_are_not_touched(two_zips: tuple[Recipe, Bucket, Layout]) -> None:
    recipe, bucket, layout = two_zips
    unpacked = layout.unarchived("app", "1.0.0")
    (unpacked / "other" / "own").write_text("what the install step made")
    before = tree(unpacked / "other"), tree(layout.artifacts("app", "1.0.0"))
    shutil.rmtree(unpacked / "one")
    assert artifacts.stage(recipe, layout, bucket) is None
    artifacts.finish(layout)

    assert (unpacked / "one" / "a").read_text() == "a"
    assert (tree(unpacked / "other"), tree(layout.artifacts("app", "1.0.0"))) == before
    assert len(bucket.asked) == 2


@pytest.mark.parametrize("gone", ["artifacts", "unarchived"])
def test_a_removed_store_comes_back_and_what_is_left_is_not_touched(
    two_zips: tuple[Recipe, Bucket, Layout], gone: str
) -> None:
    recipe, bucket, layout = two_zips
    places = {"artifacts": layout.artifacts("app", "1.0.0"), "unarchived": layout.unarchived("app", "1.0.0")}
    before = {name: [path.name for path in sorted(place.rglob("*"))] for name, place in places.items()}
    shutil.rmtree(places[gone])
    (left,) = (place for name, place in places.items() if name != gone)
    kept = tree(left)
    assert artifacts.stage(recipe, layout, bucket) is None
    artifacts.finish(layout)

    assert tree(left) == kept
    assert {name: [path.name for path in sorted(place.rglob("*"))] for name, place in places.items()} == before


def test_a_folder_that_cannot_be_unpacked_again_is_not_there_in_part(two_zips: tuple[Recipe, Bucket, Layout]) -> None:
    recipe, bucket, layout = two_zips
    bad = zipped({"a": "a", "../escaped": "x"})
    wrong = replace(recipe, artifacts=(replace(recipe.artifacts[0], digest=digest(bad)), recipe.artifacts[1]))
    layout.artifact_record("app", "1.0.0").write_text(artifacts._record(wrong))
    bucket.objects["one"] = bad
    shutil.rmtree(layout.unarchived("app", "1.0.0") / "one")
    with pytest.raises(DeploymentFailure, match="outside of the target dir"):
        artifacts.stage(wrong, layout, bucket)

    assert [path.name for path in layout.unarchived("app", "1.0.0").iterdir()] == ["other"]
    assert not layout.staged.exists()
