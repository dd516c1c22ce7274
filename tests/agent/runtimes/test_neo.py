"""Neo-compiled models, through a libdlr.so with DLR's interface that computes from the weights beside it."""

from __future__ import annotations

import gc
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emflow_agent.errors import CannotLoad, InferenceFailed
from emflow_agent.models.loading import LoadedFiles
from emflow_proto import messages as m
from emflow_proto.service import AgentStub

Open = Callable[..., LoadedFiles]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TVM_TEST_DELETED", "TVM_TEST_DEVICE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_the_library_describes_the_model_and_runs_it(opened: Open, neo: Path, weights: np.ndarray) -> None:
    model = opened(neo, probe=True).model
    assert [str(one) for one in model.inputs] == ["'data' (UINT8 [1, 2])", "'bias' (FLOAT32 [3])"]
    assert [str(one) for one in model.outputs] == ["'sums' (FLOAT32 [1, 3])", "'output_1' (INT64 [1])"]
    data, bias = np.array([[7, 11]], np.uint8), np.array([0.5, -1.0, 30.0], np.float32)
    sums, best = model.run([data, bias])
    expected = data @ weights + bias
    assert np.allclose(sums, expected)
    assert best == [expected.argmax()]


def test_two_models_with_their_own_weights_do_not_meet(opened: Open, neo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(neo, other)
    (other / "compiled.params").write_bytes(b"DNSE" + struct.pack("<ii", 1, 1) + struct.pack("<f", 10.0))
    one, two = opened(neo).model, opened(other).model
    assert two.run([np.array([[5]], np.uint8), np.zeros(1, np.float32)])[0] == 50.0
    assert one.run([np.array([[1, 0]], np.uint8), np.zeros(3, np.float32)])[0].tolist() == [[1.0, -2.0, 0.5]]


def test_it_is_served_like_any_model_and_its_files_may_go(stub: AgentStub, neo: Path) -> None:
    model = stub.LoadModel(m.LoadModelRequest(url=str(neo), name="dense")).model
    assert [one.name for one in model.input_tensor_metadatas] == [b"data", b"bias"]
    shutil.rmtree(neo)
    tensors = [
        m.Tensor(tensor_metadata=m.TensorMetadata(name=b"bias"), byte_data=np.zeros(3, np.float32).tobytes()),
        m.Tensor(tensor_metadata=m.TensorMetadata(name=b"data"), byte_data=bytes([2, 0])),
    ]
    answer = stub.Predict(m.PredictRequest(name="dense", tensors=tensors))
    assert np.frombuffer(answer.tensors[0].byte_data, np.float32).tolist() == [2.0, -4.0, 1.0]


def test_an_unloaded_model_is_deleted_in_the_library(opened: Open, neo: Path, tmp_path: Path) -> None:
    told = tmp_path / "deleted"
    told.touch()
    model = opened(neo, dlr_options={"TVM_TEST_DELETED": str(told)})
    gc.collect()
    before = told.read_text()  # models of other tests may have gone with this
    del model
    gc.collect()
    assert told.read_text() == before + "deleted\n"


def test_loading_again_maps_no_second_copy_of_the_library(opened: Open, neo: Path) -> None:
    def mapped() -> int:
        return sum("libdlr.so" in line for line in Path("/proc/self/maps").read_text().splitlines())

    opened(neo)
    before = mapped()
    for _ in range(3):
        opened(neo)
    assert mapped() == before > 0


def test_backend_options_are_in_the_environment_when_the_library_opens_the_model(opened: Open, neo: Path) -> None:
    with pytest.raises(CannotLoad, match=r"CreateDLRModel: the device is not there \("):
        opened(neo, dlr_options={"TVM_TEST_DEVICE": "2"})
    assert opened(neo, dlr_options={"TVM_TEST_DEVICE": "1"}).placement.accelerator == "CPU"


def test_its_placement_says_which_library_and_backend(opened: Open, neo: Path) -> None:
    assert str(opened(neo).placement) == "DLR 1.10.0, tvm, CPU"


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (None, "there are no parameters"),
        (b"", "these are no parameters"),
        (b"JUNK" * 10, "these are no parameters"),
        (b"DNSE" + struct.pack("<ii", 2, 3) + bytes(8), "the parameters are cut off"),
    ],
    ids=["missing", "empty", "another file", "cut off"],
)
def test_a_damaged_model_is_refused_in_the_librarys_words(
    opened: Open, neo: Path, params: bytes | None, reason: str
) -> None:
    (neo / "compiled.params").unlink()
    if params is not None:
        (neo / "compiled.params").write_bytes(params)
    with pytest.raises(CannotLoad) as caught:
        opened(neo, probe=True)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_crashes_the_library_harms_nobody_and_leaves_nothing(
    opened: Open, neo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    (neo / "compiled.params").write_bytes(b"DNSE" + struct.pack("<ii", 5000, 3))
    with pytest.raises(CannotLoad, match=r"crashes DLR \(SIGSEGV\)"):
        opened(neo, probe=True)
    assert not list(place.iterdir())


def test_a_run_that_the_library_fails_is_no_crash(opened: Open, neo: Path) -> None:
    model = opened(neo).model
    with pytest.raises(InferenceFailed, match="RunDLRModel: the device is gone"):
        model.run([np.array([[255, 0]], np.uint8), np.zeros(3, np.float32)])
    assert model.run([np.array([[0, 0]], np.uint8), np.ones(3, np.float32)])[0].tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("content", [b"", b"no library", b"\x7fELF" + bytes(60)], ids=["empty", "text", "cut off"])
def test_a_library_that_cannot_be_loaded_is_said(opened: Open, neo: Path, content: bytes) -> None:
    (neo / "libdlr.so").write_bytes(content)
    with pytest.raises(CannotLoad, match=r"libdlr\.so cannot be loaded on this device: ") as caught:
        opened(neo)
    assert "emflow-agent-" not in str(caught.value)


def test_a_library_of_another_kind_is_said(opened: Open, neo: Path, delegate: Path) -> None:
    shutil.copy(delegate, neo / "libdlr.so")
    with pytest.raises(CannotLoad, match=r"libdlr\.so cannot be loaded on this device: .*DLRGetLastError"):
        opened(neo)


def test_nothing_is_left_of_the_private_copies(
    opened: Open, neo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "copies"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    opened(neo)
    (neo / "compiled.params").unlink()
    with pytest.raises(CannotLoad):
        opened(neo)
    assert not list(place.iterdir())
