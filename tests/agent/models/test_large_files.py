"""Model files of gigabytes, and loads that nobody waits for any more: they hold up no other load for long."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from emflow_agent.errors import CallerGone, CannotLoad
from emflow_agent.models.caller import check_not_gone
from emflow_agent.models.folder import CHUNK, MAX_FILE_BYTES
from emflow_agent.models.loading import folder_content, load_folder
from emflow_agent.models.store import ModelStore
from emflow_agent.runtimes import RuntimeOptions
from emflow_schema.model_signature import SIGNATURE, Statement
from signed_packages import new_key, signed


def sparse(folder: Path, size: int, name: str = "a.tflite") -> Path:
    """A folder with a file of zeros, which takes no disk."""
    folder.mkdir()
    with (folder / name).open("wb") as file:
        file.truncate(size)
    return folder


@pytest.mark.parametrize("name", ["a.tflite", "a.onnx"])
def test_a_file_that_no_runtime_could_read_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    folder = sparse(tmp_path / "large", MAX_FILE_BYTES + 1, name)
    with pytest.raises(CannotLoad, match=f"{name}' has 2147483648 bytes; a model file has at most 2147483647"):
        load_folder(str(folder), RuntimeOptions())


def sign_sparse(folder: Path, sizes: dict[str, int], kind: str) -> Path:
    """A package with further files of these sizes, of zeros, which were not hashed for it."""
    for name, size in sizes.items():
        with (folder / name).open("wb") as file:
            file.truncate(size)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tflite")}
    digests.update(dict.fromkeys(sizes, "0" * 64))
    if kind == "job":
        (folder / "manifest.json").write_text(json.dumps({"algorithm": "SHA-256", "files": digests}))
        (folder / "manifest.sig").write_text("AAAA")
    else:
        (folder / SIGNATURE).write_bytes(signed(new_key(), Statement(digests, (), "scenes").encoded()))
    return folder


GIB = 1 << 30


@pytest.mark.parametrize("kind", ["signed", "job"])
@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"labels.txt": 3 * GIB}, "'labels.txt' has 3221225472 bytes; a file of a package has at most 2147483647"),
        ({"a.bin": GIB, "b.bin": GIB}, "its signed files have [0-9]+ bytes; a package has at most 2147483648"),
    ],
)
def test_no_file_of_a_package_is_read_that_is_too_large_for_one(
    folder: Path, sizes: dict[str, int], reason: str, kind: str
) -> None:
    sign_sparse(folder, sizes, kind)
    for load in (load_folder, folder_content):
        caller = LeavingCaller(9)  # it is asked after each small file, and each part of a large one
        with pytest.raises(CannotLoad, match=reason):
            load(str(folder), RuntimeOptions(), check_wanted=lambda who=caller: check_not_gone(who))  # type: ignore[misc]


class LeavingCaller:
    """A caller that leaves after the agent has asked for it so many times."""

    client = "leaving"

    def __init__(self, stays_for: float) -> None:
        self.asked, self._stays_for = 0, stays_for

    def is_gone(self) -> bool:
        self.asked += 1
        return self.asked > self._stays_for

    def on_gone(self, then: Callable[[], None]) -> None: ...


def test_a_load_whose_caller_leaves_is_given_up_wherever_it_is(tmp_path: Path, folder: Path) -> None:
    store = ModelStore(threads=1, probe=True)
    large = sparse(tmp_path / "large", 4 * CHUNK)
    patient = LeavingCaller(float("inf"))
    with pytest.raises(CannotLoad, match="cannot be run"):
        store.load("large", str(large), patient)
    # Four parts, and the end of the file: read, hashed, handed to the probe.
    assert patient.asked >= 3 * 4
    for stays_for in (0, 2, 6, patient.asked - 1):
        with pytest.raises(CallerGone):
            store.load("large", str(large), LeavingCaller(stays_for))
    assert store.load("scenes", str(folder)).name == "scenes"
    assert [model.name for model in store.all()] == ["scenes"]


def test_a_load_that_has_begun_to_compile_goes_on_without_its_caller(folder: Path) -> None:
    store = ModelStore(threads=1, probe=True)
    caller = LeavingCaller(float("inf"))
    store.load("first", str(folder), caller)
    assert store.load("second", str(folder), LeavingCaller(caller.asked)).name == "second"
