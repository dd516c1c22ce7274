"""A model's trial: what its process may come to, and what the load makes of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from emflow_agent.errors import CannotLoad, NotEnoughMemory
from emflow_agent.models.store import ModelStore


@pytest.fixture
def store() -> ModelStore:
    return ModelStore(threads=1, probe=True)


def in_the_place_of_python(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def test_a_model_that_passes_is_loaded(store: ModelStore, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert store.load("scenes", str(folder)).inputs[0].shape == (1, 224, 224, 3)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_what_the_runtime_itself_refuses_is_said_in_its_words(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(bytes(1000))
    with pytest.raises(CannotLoad) as caught:
        store.load("scenes", str(tmp_path))
    assert "crashes" not in str(caught.value)


@pytest.mark.parametrize(
    ("signal", "refusal", "words"),
    [("SEGV", CannotLoad, r"crashes LiteRT \(SIGSEGV\)"), ("KILL", NotEnoughMemory, "too much memory")],
)
def test_a_process_that_does_not_survive_is_a_refusal(
    store: ModelStore,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    signal: str,
    refusal: type[Exception],
    words: str,
) -> None:
    in_the_place_of_python(f"kill -{signal} $$", tmp_path, monkeypatch)
    with pytest.raises(refusal, match=words):
        store.load("scenes", str(folder))
    assert not store.all()


def test_a_trial_that_does_not_come_about_is_reported_and_holds_up_nothing(
    store: ModelStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_place_of_python("echo no interpreter >&2; exit 1", tmp_path, monkeypatch)
    store.load("first", str(folder))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    store.load("second", str(folder))
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "loading without a probe, which failed: no interpreter",
        "loading without a probe, which cannot be started: No such file or directory",
    ]


def test_modules_in_the_working_folder_are_not_its_own(
    store: ModelStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "working"
    here.mkdir()
    (here / "json.py").write_text("open('been-here', 'w')")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", ".")])
    store.load("scenes", str(folder))
    assert [path.name for path in here.iterdir()] == ["json.py"]
