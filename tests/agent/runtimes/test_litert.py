"""TensorFlow Lite models and their delegates: what really took the graph, and what is said when nothing did."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from emflow_agent.errors import CannotLoad, InferenceFailed
from emflow_agent.models.loading import LoadedFiles
from emflow_agent.runtimes import litert

Open = Callable[..., LoadedFiles]

NODES = 18  # of the scenes model, as LiteRT counts them


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Those of loading; an agent of an earlier test may still count its refused calls."""
    of_loading = ("emflow_agent.runtimes", "emflow_agent.models")
    found = (one for one in caplog.records if one.levelname == "WARNING" and one.name.startswith(of_loading))
    return [one.getMessage() for one in found]


def test_what_xnnpack_takes_by_itself_is_counted(opened: Open, folder: Path) -> None:
    placement = opened(folder).placement
    assert (placement.accelerator, placement.nodes) == ("XNNPACK", NODES)
    assert placement.taken is not None
    assert 0 < placement.taken <= NODES
    assert opened(folder, delegate="xnnpack").placement == placement


def test_without_delegates_every_node_runs_on_plain_kernels(opened: Open, folder: Path) -> None:
    placement = opened(folder, delegate="none").placement
    assert (placement.accelerator, placement.taken, placement.nodes) == ("CPU", NODES, NODES)


@pytest.mark.parametrize(("claim", "taken"), [("64", 2), ("1", 1)])
def test_a_delegate_is_credited_with_the_nodes_that_it_took_and_no_more(
    opened: Open, folder: Path, delegate: Path, picture: np.ndarray, claim: str, taken: int
) -> None:
    plain, model = opened(folder), opened(folder, delegate=str(delegate), delegate_options={"claim": claim})
    placement = model.placement
    assert (placement.accelerator, placement.taken, placement.nodes) == ("libtest_delegate.so", taken, NODES)
    assert placement.beside == f"XNNPACK {plain.placement.taken}"
    assert f"libtest_delegate.so {taken} of {NODES} nodes" in str(placement)
    assert np.array_equal(model.model.run([picture])[0], plain.model.run([picture])[0])


def test_options_reach_the_delegate_and_its_cache_is_set_before_loading(
    opened: Open, folder: Path, delegate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VIV_VX_ENABLE_CACHE_GRAPH_BINARY", "VIV_VX_CACHE_BINARY_GRAPH_DIR"):
        monkeypatch.setenv(name, "")
    log, cache = tmp_path / "log", tmp_path / "var" / "graphs"
    options = {"log": str(log), "device": "npu 0"}
    opened(folder, delegate=str(delegate), delegate_options=options, graph_cache=str(cache))
    assert log.read_text().splitlines() == [f"log={log}", "device=npu 0", f"cache 1 {cache}"]
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"claim": "0"}, f"took 0 of {NODES} nodes"),
        ({"fail": "create"}, "there is no such device"),
        ({"fail": "prepare"}, "the device does not answer"),
    ],
    ids=["takes nothing", "is refused by its driver", "cannot prepare the graph"],
)
def test_a_delegate_that_runs_nothing_is_reported_and_never_assumed(
    opened: Open,
    folder: Path,
    delegate: Path,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, str],
    reason: str,
) -> None:
    placement = opened(folder, delegate=str(delegate), delegate_options=options).placement
    assert (placement.accelerator, placement.instead_of) == ("XNNPACK", "libtest_delegate.so")
    (said,) = warnings(caplog)
    assert reason in said
    assert "runs on the CPU" in said
    with pytest.raises(CannotLoad, match=reason):
        opened(folder, delegate=str(delegate), delegate_options=options, accelerator_required=True)


@pytest.mark.parametrize(
    ("name", "called"), [("vx", "VX"), ("teflon", "Teflon"), ("ethosu", "Ethos-U"), ("neutron", "Neutron")]
)
def test_an_accelerator_that_is_not_on_this_device_is_reported_by_its_library(
    opened: Open, folder: Path, caplog: pytest.LogCaptureFixture, name: str, called: str
) -> None:
    assert opened(folder, delegate=name).placement.instead_of == called
    (said,) = warnings(caplog)
    assert f"the {called} delegate cannot run this model: " in said
    assert "cannot open shared object file" in said


def test_a_library_that_is_no_delegate_is_no_accelerator(
    opened: Open, folder: Path, libdlr: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CannotLoad, match=r"libdlr\.so delegate cannot run this model"):
        opened(folder, delegate=str(libdlr), accelerator_required=True)


def test_a_graph_cache_that_cannot_be_made_is_said(
    opened: Open, folder: Path, delegate: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    opened(folder, delegate=str(delegate), graph_cache=str(tmp_path / "file" / "cache"))
    assert "cannot be created: Not a directory" in warnings(caplog)[0]


def test_a_damaged_file_is_blamed_and_not_the_delegate(opened: Open, folder: Path, delegate: Path) -> None:
    next(folder.iterdir()).write_bytes(b"no model" * 100)
    with pytest.raises(CannotLoad) as caught:
        opened(folder, delegate=str(delegate))
    assert "delegate" not in str(caught.value)


def test_a_driver_that_crashes_costs_the_accelerator_and_not_the_model(
    opened: Open, folder: Path, delegate: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = opened(folder, probe=True, delegate=str(delegate), delegate_options={"fail": "crash"})
    assert (model.placement.accelerator, model.placement.instead_of) == ("XNNPACK", "libtest_delegate.so")
    assert "crashes LiteRT (SIGABRT)" in warnings(caplog)[0]
    with pytest.raises(CannotLoad, match="SIGABRT"):
        opened(
            folder,
            probe=True,
            delegate=str(delegate),
            delegate_options={"fail": "crash"},
            accelerator_required=True,
        )


def test_times_and_memory_of_a_load_are_measured(opened: Open, folder: Path) -> None:
    model = opened(folder, probe=True)
    assert model.file_bytes == next(folder.iterdir()).stat().st_size
    assert model.peak_bytes is not None
    assert model.file_bytes < model.peak_bytes < 200e6
    assert 0 < model.open_seconds < model.probe_seconds
    assert 0 < model.warm_up_seconds < model.probe_seconds
    assert opened(folder).peak_bytes is None


def test_a_package_that_does_not_tell_of_its_nodes_leaves_them_unknown(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Interpreter, "_get_ops_details")
    placement = opened(folder).placement
    assert (placement.taken, placement.nodes) == (None, None)
    assert "nodes" not in str(placement)


def test_tensors_of_the_wrong_kind_are_a_failed_run(opened: Open, folder: Path) -> None:
    model = opened(folder).model
    with pytest.raises(InferenceFailed):
        model.run([np.zeros((1, 224, 224, 3), np.float32)])
    with pytest.raises(InferenceFailed):
        model.run([np.zeros((1, 10, 10, 3), np.uint8)])
    assert model.run([np.zeros((1, 224, 224, 3), np.uint8)])[0].shape == (1, 10)


def with_signature(file: Path, shape: list[int], signature: list[int]) -> None:
    """Rewrite the sizes of a model's input: those that count, and those that it was exported with."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read_bytes(), 0))
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape, graph.tensors[graph.inputs[0]].shapeSignature = shape, signature
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    file.write_bytes(builder.Output())


def test_a_batch_size_that_is_left_open_is_one(opened: Open, folder: Path, picture: np.ndarray) -> None:
    expected = opened(folder).model.run([picture])[0]
    with_signature(next(folder.iterdir()), [1, 224, 224, 3], [-1, 224, 224, 3])
    model = opened(folder).model
    assert model.inputs[0].shape == (1, 224, 224, 3)
    assert np.array_equal(model.run([picture])[0], expected)


def test_other_sizes_that_are_left_open_are_refused(opened: Open, folder: Path) -> None:
    with_signature(next(folder.iterdir()), [1, 1, 1, 3], [1, -1, -1, 3])
    with pytest.raises(CannotLoad, match=r"input 'input' has open sizes: \[1, \?, \?, 3\]; export the model"):
        opened(folder)


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bytes_never_reach_the_agent_as_a_crash(opened: Open, folder: Path, seed: int) -> None:
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    random = np.random.default_rng(seed)
    # The first pages hold the tables that point everywhere; in the weights nobody would notice.
    for at in random.integers(8, 3000, 40):
        content[at] ^= int(random.integers(1, 256))
    file.write_bytes(content)
    try:
        model = opened(folder, probe=True)
    except CannotLoad:
        return
    assert len(model.model.run([np.zeros(one.shape, one.dtype) for one in model.model.inputs])) == len(
        model.model.outputs
    )


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "_PACKAGES", ("no_such_litert",))
    assert "or ai-edge-litert (extra agent): pip install " in litert.available()
    assert os.linesep not in litert.available()
