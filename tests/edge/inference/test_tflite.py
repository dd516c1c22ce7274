from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert.interpreter import Interpreter

from emflow_schema.model_facts import ModelFacts, TensorFacts
from emflow_schema.model_reader import model_facts


def said_by_litert(path: Path) -> tuple[TensorFacts, TensorFacts]:
    interpreter = Interpreter(model_path=str(path))

    def facts(details: dict[str, Any]) -> TensorFacts:
        scale, zero = details["quantization"]
        shape = tuple(int(size) for size in details["shape_signature"])
        return TensorFacts(details["dtype"].__name__, scale, zero, details["name"], shape)

    return facts(interpreter.get_input_details()[0]), facts(interpreter.get_output_details()[0])


def test_the_workshops_model_ends_in_logits_with_a_scale(shared_data: Path) -> None:
    facts = model_facts(shared_data / "models")
    assert facts is not None
    assert (facts.input, facts.outputs[0]) == said_by_litert(
        shared_data / "models" / "mobilenet_v2_1.0_224_quant.tflite"
    )
    assert not facts.confidences


def test_our_own_model_is_read_as_litert_reads_it(scenes_model: Path) -> None:
    facts = model_facts(scenes_model.parent)
    assert facts is not None
    assert (facts.input, facts.outputs[0]) == said_by_litert(scenes_model)


def test_a_softmax_at_the_end_is_seen(scenes_model: Path) -> None:
    facts = model_facts(scenes_model.parent)
    operators = [one["op_name"] for one in Interpreter(model_path=str(scenes_model))._get_ops_details()]
    assert facts is not None
    assert facts.confidences == ("SOFTMAX" in operators)


@pytest.mark.parametrize("length", [0, 4, 8, 100, 1000, 20000, 40000])
def test_a_file_that_was_cut_off_is_no_model_but_no_crash(scenes_model: Path, tmp_path: Path, length: int) -> None:
    (tmp_path / "cut.tflite").write_bytes(scenes_model.read_bytes()[:length])
    assert model_facts(tmp_path) is None or isinstance(model_facts(tmp_path), ModelFacts)


def test_a_folder_without_exactly_one_model_tells_nothing(scenes_model: Path, tmp_path: Path) -> None:
    assert model_facts(tmp_path) is None
    assert model_facts(tmp_path / "missing") is None
    (tmp_path / "a.tflite").write_bytes(scenes_model.read_bytes())
    assert model_facts(tmp_path) is not None
    (tmp_path / "b.tflite").write_bytes(scenes_model.read_bytes())
    assert model_facts(tmp_path) is None
