"""Which runtime a folder gets: by what lies in it, by what this device has, and by what the settings say."""

from __future__ import annotations

import json
import re

import pytest

from emflow_agent.errors import BadOption, CannotLoad
from emflow_agent.runtimes import RUNTIMES, check_options, choose_runtime, litert, neo, onnx
from emflow_agent.runtimes.options import Provider, RuntimeOptions, read_providers


@pytest.mark.parametrize(
    ("names", "runtime", "files"),
    [
        (["net.tflite", "labels.txt"], litert, ["net.tflite"]),
        (["net.onnx"], onnx, ["net.onnx"]),
        (["net.onnx", "net.tflite"], litert, ["net.tflite"]),
        (["compiled.so", "compiled.params", "libdlr.so"], neo, ["compiled.so", "compiled.params", "libdlr.so"]),
        (["net.tflite", "libdlr.so"], neo, ["net.tflite", "libdlr.so"]),
    ],
)
def test_what_lies_in_the_folder_decides(names: list[str], runtime: object, files: list[str]) -> None:
    assert choose_runtime(names) == (runtime, files)


def test_the_settings_may_decide_otherwise() -> None:
    assert choose_runtime(["net.tflite", "net.onnx", "libdlr.so"], "onnx") == (onnx, ["net.onnx"])
    with pytest.raises(CannotLoad, match=re.escape("it must hold one *.onnx; found: net.tflite")):
        choose_runtime(["net.tflite"], "onnx")


def test_two_of_a_kind_are_reported() -> None:
    with pytest.raises(CannotLoad, match=re.escape("it must hold one *.tflite; found: a.tflite, b.tflite")):
        choose_runtime(["b.tflite", "a.tflite", "c.onnx"])


def test_no_model_is_reported_with_what_is_there() -> None:
    with pytest.raises(CannotLoad) as caught:
        choose_runtime([f"{number:02}.txt" for number in range(30)])
    assert "libdlr.so or one *.tflite or one *.onnx; found: 00.txt, " in str(caught.value)
    assert str(caught.value).endswith("09.txt and 20 more")


def test_a_runtime_that_this_device_lacks_gives_way_to_one_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "_PACKAGES", ("no_such_litert",))
    assert choose_runtime(["net.tflite", "net.onnx"]) == (onnx, ["net.onnx"])
    without = r"net\.tflite: No module named 'no_such_litert'; install the board's tflite_runtime, or ai-edge-litert"
    with pytest.raises(CannotLoad, match=without):
        choose_runtime(["net.tflite"])


def test_an_unknown_runtime_is_reported_with_those_there_are() -> None:
    with pytest.raises(BadOption, match="Runtime: 'tensorrt' is unknown; supported are neo, litert, onnx"):
        check_options(RuntimeOptions(runtime="tensorrt"))
    for runtime in RUNTIMES:
        check_options(RuntimeOptions(runtime=runtime.KEY))


def test_an_unknown_delegate_is_reported_with_those_there_are() -> None:
    known = "vx, teflon, ethosu, neutron, xnnpack, none, or the path of a library"
    with pytest.raises(BadOption, match=f"Delegate: 'npu' is unknown; supported are {known}"):
        check_options(RuntimeOptions(delegate="npu"))
    for name in ("", "vx", "xnnpack", "none", "/opt/npu/libnpu.so"):
        check_options(RuntimeOptions(delegate=name))


def test_providers_come_in_their_order_with_their_options() -> None:
    given = ["VSINPUExecutionProvider", "XnnpackExecutionProvider intra_op_num_threads=2 x=y"]
    assert read_providers("Providers", given) == (
        Provider("VSINPUExecutionProvider"),
        Provider("XnnpackExecutionProvider", {"intra_op_num_threads": "2", "x": "y"}),
    )
    for wrong in (["a=b"], ["A", "A"], ["A b"], ["A b=1 b=2"]):
        with pytest.raises(BadOption, match=r"^Providers: "):
            read_providers("Providers", wrong)


def test_options_travel_to_another_process_unchanged() -> None:
    options = RuntimeOptions(3, "onnx", "vx", {"a": "b"}, True, "/cache", (Provider("P", {"c": "d"}),), {"TVM_X": "1"})
    assert RuntimeOptions.of_json(json.loads(json.dumps(options.as_json()))) == options
