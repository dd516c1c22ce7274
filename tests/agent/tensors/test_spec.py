"""Descriptions of tensors, and a client's tensors put into the order of a model's inputs, with no model around."""

from __future__ import annotations

import numpy as np
import pytest

from emflow_agent.errors import BadRequest, CannotLoad
from emflow_agent.tensors.spec import inputs_in_order, make_spec
from emflow_proto import messages as m

IMAGE = make_spec(b"image", np.uint8, [1, 2, 2, 3])
SCALE = make_spec(b"scale", np.float32, [1])


def tensor(name: bytes = b"") -> m.Tensor:
    return m.Tensor(tensor_metadata=m.TensorMetadata(name=name))


def test_several_inputs_go_by_their_names_in_any_order() -> None:
    scale, image = tensor(b"scale"), tensor(b"image")
    assert inputs_in_order([IMAGE, SCALE], [scale, image]) == [image, scale]


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ([tensor(b"image")], r"not sent: 'scale' \(FLOAT32 \[1\]\)"),
        ([tensor(b"image"), tensor()], "the model does not have an unnamed input"),
        ([tensor(b"image"), tensor(b"image")], "'image' was sent twice"),
    ],
)
def test_several_inputs_each_need_their_name_once(sent: list[m.Tensor], problem: str) -> None:
    with pytest.raises(BadRequest, match=problem):
        inputs_in_order([IMAGE, SCALE], sent)


@pytest.mark.parametrize(
    ("dtype", "name", "width"),
    [
        (np.uint8, "UINT8", 1),
        (np.int8, "UINT8", 1),
        (np.bool_, "UINT8", 1),
        (np.int16, "INT16", 2),
        (np.int32, "INT32", 4),
        (np.int64, "INT64", 8),
        (np.float16, "FLOAT16", 2),
        (np.float32, "FLOAT32", 4),
        (np.float64, "FLOAT64", 8),
    ],
)
def test_every_element_type_that_clients_know_has_its_name_and_width(dtype: type, name: str, width: int) -> None:
    described = make_spec(b"t", dtype, tuple(np.array([2, 3], np.int32)))
    assert (described.data_type.name, described.nbytes) == (name, 6 * width)
    assert list(described.metadata.shape) == [2, 3]


def test_an_element_type_that_clients_cannot_send_makes_a_model_unloadable() -> None:
    with pytest.raises(CannotLoad, match="'t' has elements of type complex64"):
        make_spec(b"t", np.complex64, [1])


def test_a_scalar_has_one_element() -> None:
    assert make_spec(b"t", np.float32, []).nbytes == 4
