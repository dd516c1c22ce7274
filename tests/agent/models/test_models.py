"""Loading, listing, describing and unloading: what each answers, and every status that it can refuse with."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from emflow_proto import messages as m
from emflow_proto.service import AgentStub

Refusal = Callable[[Callable[..., object]], tuple[grpc.StatusCode, str]]


def load(stub: AgentStub, url: object, name: str = "scenes") -> m.Model:
    return stub.LoadModel(m.LoadModelRequest(url=str(url), name=name)).model


def test_a_loaded_model_is_described_by_its_own_metadata(stub: AgentStub, folder: Path) -> None:
    model = load(stub, folder)
    assert (model.name, model.url) == ("scenes", str(folder))
    (taken,), (given,) = model.input_tensor_metadatas, model.output_tensor_metadatas
    assert (taken.data_type, list(taken.shape)) == (m.DataType.UINT8, [1, 224, 224, 3])
    assert isinstance(taken.name, bytes)
    assert taken.name
    labels = Path(__file__).parents[3] / "workflows" / "models" / "scenes_labels.txt"
    assert (given.data_type, list(given.shape)) == (m.DataType.UINT8, [1, len(labels.read_text().splitlines())])
    assert stub.DescribeModel(m.DescribeModelRequest(name="scenes")).model == model
    assert list(stub.ListModels(m.ListModelsRequest()).models) == [model]


def test_several_models_are_listed_until_they_are_unloaded(stub: AgentStub, folder: Path) -> None:
    assert not stub.ListModels(m.ListModelsRequest()).models
    names = ["first", "a-second-one", "3"]
    for name in names:
        load(stub, folder, name)
    assert [model.name for model in stub.ListModels(m.ListModelsRequest()).models] == names
    stub.UnLoadModel(m.UnLoadModelRequest(name="first"))
    assert [model.name for model in stub.ListModels(m.ListModelsRequest()).models] == names[1:]
    load(stub, folder, "first")


def test_a_model_keeps_running_when_its_file_is_replaced_in_place(
    stub: AgentStub, folder: Path, scenes: m.Model
) -> None:
    request = m.PredictRequest(name="scenes", tensors=[m.Tensor(byte_data=bytes(150528))])
    before = stub.Predict(request)
    next(folder.iterdir()).write_bytes(b"")
    assert stub.Predict(request) == before


def test_a_name_is_taken_until_its_model_is_unloaded(
    stub: AgentStub, refused: Refusal, folder: Path, scenes: m.Model
) -> None:
    code, text = refused(lambda: load(stub, folder))
    assert code == grpc.StatusCode.ALREADY_EXISTS
    assert str(folder) in text


def test_of_two_concurrent_loads_of_one_name_one_gets_already_exists(stub: AgentStub, folder: Path) -> None:
    calls = [stub.LoadModel.future(m.LoadModelRequest(url=str(folder), name="scenes")) for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        codes = list(pool.map(lambda call: call.code(), calls))
    assert sorted(codes, key=str) == [grpc.StatusCode.ALREADY_EXISTS] * 3 + [grpc.StatusCode.OK]


@pytest.mark.parametrize("name", ["", "-a", "a-", "under_score", "a b", "a\n", "ä", "a/../b"])
def test_a_name_that_breaks_the_rule_is_refused(stub: AgentStub, refused: Refusal, folder: Path, name: str) -> None:
    code, text = refused(lambda: load(stub, folder, name))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "^[a-zA-Z0-9](-*[a-zA-Z0-9])*$" in text


@pytest.mark.parametrize("url", ["", "/does/not/exist", "s3://bucket/model", "a\0b"])
def test_nothing_at_the_url_is_not_found(stub: AgentStub, refused: Refusal, url: str) -> None:
    code, text = refused(lambda: load(stub, url))
    assert code == grpc.StatusCode.NOT_FOUND
    assert text.endswith(" does not exist")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "found: none"),
        ({"notes.txt": b"hello"}, "found: notes.txt"),
        ({"a.tflite": b"", "b.tflite": b""}, "found: a.tflite, b.tflite"),
        ({"a.tflite": b""}, "cannot be run"),
        ({"a.tflite": b"this is no model, whatever its name says" * 100}, "cannot be run"),
    ],
    ids=["empty folder", "no model", "two models", "empty model", "text"],
)
def test_what_cannot_be_loaded_is_a_failed_precondition(
    stub: AgentStub, refused: Refusal, tmp_path: Path, files: dict[str, bytes], reason: str
) -> None:
    there = tmp_path / "package"
    there.mkdir()
    for name, content in files.items():
        (there / name).write_bytes(content)
    code, text = refused(lambda: load(stub, there))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert reason in text
    assert "\n" not in text
    assert not stub.ListModels(m.ListModelsRequest()).models


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 0.999])
def test_half_a_download_cannot_be_loaded_and_harms_nobody(
    stub: AgentStub, refused: Refusal, folder: Path, part: float
) -> None:
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    assert refused(lambda: load(stub, folder))[0] == grpc.StatusCode.FAILED_PRECONDITION
    file.write_bytes(whole)
    load(stub, folder)


def test_a_name_is_at_most_256_characters(stub: AgentStub, refused: Refusal, folder: Path) -> None:
    assert load(stub, folder, "a" * 256).name == "a" * 256
    code, text = refused(lambda: load(stub, folder, "a" * 20_000))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "has 20000 characters, more than 256" in text


def test_a_refusal_lists_some_of_many_models(stub: AgentStub, refused: Refusal, folder: Path) -> None:
    for name in "abcdefghijkl":
        load(stub, folder, name)
    code, text = refused(lambda: stub.UnLoadModel(m.UnLoadModelRequest(name="others")))
    assert code == grpc.StatusCode.NOT_FOUND
    assert text.endswith("loaded: a, b, c, d, e, f, g, h, i, j and 2 more")


@pytest.mark.parametrize("sign", ["a", "%", "\U0001f4f7"])
def test_a_url_of_any_length_gets_its_refusal(stub: AgentStub, refused: Refusal, sign: str) -> None:
    for count in (200, 5_000, 50_000):
        code, text = refused(lambda count=count: load(stub, "/" + sign * count))
        assert code == grpc.StatusCode.NOT_FOUND
        assert text.startswith(f"'/{sign}")
        assert len(text) <= 600


def test_a_url_through_a_file_or_around_a_circle_of_links_leads_nowhere(
    stub: AgentStub, refused: Refusal, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for url in (next(folder.iterdir()) / "deeper", tmp_path / "circle"):
        assert refused(lambda url=url: load(stub, url))[0] == grpc.StatusCode.NOT_FOUND


def test_file_names_that_are_not_text_can_be_reported(stub: AgentStub, refused: Refusal, folder: Path) -> None:
    (folder / os.fsdecode(b"\xff.tflite")).touch()
    code, text = refused(lambda: load(stub, folder))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "found: scenes.tflite, \\udcff.tflite" in text


def test_the_model_file_itself_is_no_url(stub: AgentStub, refused: Refusal, folder: Path) -> None:
    code, text = refused(lambda: load(stub, next(folder.iterdir())))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "must name the folder" in text


def test_what_is_not_loaded_is_not_found(stub: AgentStub, refused: Refusal, scenes: m.Model) -> None:
    for call in (
        lambda: stub.Predict(m.PredictRequest(name="others")),
        lambda: stub.DescribeModel(m.DescribeModelRequest(name="others")),
        lambda: stub.UnLoadModel(m.UnLoadModelRequest(name="others")),
    ):
        assert refused(call) == (grpc.StatusCode.NOT_FOUND, "no model named 'others' is loaded; loaded: scenes")


def test_a_name_as_long_as_a_message_is_refused_without_looking_at_all_of_it(stub: AgentStub, refused: Refusal) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, text = refused(lambda: load(stub, "/", "a" * 4_000_000))
    assert (code, "4000000 characters, more than 256" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    # Matching it would take 150 bytes for each character; the message is held a few times.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
