"""Adapts the component to one model: preprocessing of frames, and decoding of outputs."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from emflow_edge.model_spec import ModelSpec
from emflow_edge.outcome import Outcome
from emflow_edge.settings.config import Settings
from emflow_edge.vision.classification import ClassificationDecoder
from emflow_edge.vision.detection import DetectionDecoder
from emflow_edge.vision.learned import LearnedProperties
from emflow_edge.vision.preprocess import Preprocessor
from emflow_schema.errors import EdgeProblem
from emflow_schema.model_facts import ModelFacts, TensorFacts
from emflow_schema.model_reader import model_facts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

log = logging.getLogger(__name__)

Decoder = Union[ClassificationDecoder, DetectionDecoder]


@dataclass(frozen=True)
class ModelAdapter:
    """Preprocessing and decoding for one model. Not thread-safe: preprocessing keeps buffers."""

    model: ModelSpec
    preprocess: Preprocessor
    decode: Decoder

    def for_another_thread(self) -> ModelAdapter:
        """A copy for another thread."""
        return dataclasses.replace(self, preprocess=copy.deepcopy(self.preprocess))

    def outcome(self, outputs: Sequence[bytes], image: npt.NDArray[np.uint8]) -> Outcome:
        """Decode the output tensors (little-endian bytes) of a frame (uint8, height x width x 3).

        Raises:
            ModelMismatch: they do not match the model.
            NonFiniteOutput: some values are not finite.
        """
        return self.decode(outputs, self.preprocess.placement(image))


def adapt_model(model: ModelSpec, settings: Settings, learned: LearnedProperties | None = None) -> ModelAdapter:
    """Make preprocessing and decoding for a model.

    Args:
        learned: what its frames have shown before; without it, nothing yet.

    Raises:
        EdgeProblem: the model does not take an image, its outputs do not fit the task, or the labels do not fit; or
            nothing tells whether its bytes are signed.
    """
    facts = _facts(model, settings)
    wanted, model_io = settings.quantized, settings.model_io
    if wanted is not None and wanted != (model.input.dtype == "uint8"):
        log.warning("quantization is set to %s, but the model takes %s; using the model", wanted, model.input.dtype)
    kind = DetectionDecoder if model_io.task == "detection" else ClassificationDecoder
    decode = kind(model, facts, model_io, learned, settings.label_lines)
    if not decode.measured and model_io.confidence != "workshop":
        log.warning(
            "neither the agent nor a file in %s gives the scale of the output; confidence is the output byte / 255",
            settings.model_folder,
        )
    return ModelAdapter(model, Preprocessor(model.input, facts.input if facts else None, model_io), decode)


def _facts(model: ModelSpec, settings: Settings) -> ModelFacts | None:
    """What the agent, the model's file and the configuration say of the model beyond AWS's interface.

    Raises:
        EdgeProblem: it has bytes, and nothing tells whether they are signed.
    """
    content = model.content
    stored = model_facts(settings.model_folder, content.digests if content else ())
    if stored and not stored.describes([model.input.shape], [output.shape for output in model.outputs]):
        # The folder holds another model too, or no longer the one that the agent has.
        stored = None
    if content is None:
        return stored or _configured_facts(model, settings)
    outputs = content.outputs
    if stored is None:
        return ModelFacts(content.inputs, outputs, confidences=False)
    # Types and scales as the agent runs them, what the values are from the file.
    outputs = tuple(
        dataclasses.replace(told, values=one.values, role=one.role) for told, one in zip(outputs, stored.outputs)
    )
    return ModelFacts(content.inputs, outputs, stored.confidences)


def _configured_facts(model: ModelSpec, settings: Settings) -> ModelFacts | None:
    tensors = (model.input, *model.outputs)
    if not any(tensor.dtype == "uint8" for tensor in tensors):
        return None
    kind = settings.model_io.byte_type
    if not kind:
        raise EdgeProblem(
            f"model {model.name}: its bytes may be uint8 or int8, which the agent's interface does not tell, and there "
            f"is no model file in {settings.model_folder} that does; set modelIO.byteType (edge.model_io.byte_type in "
            "a workflow), or use emflow's agent"
        )
    of_input, _, of_outputs = kind.partition(",")
    kinds = of_input, *(of_outputs or of_input for _ in model.outputs)
    facts = [
        TensorFacts(kind if one.dtype == "uint8" else one.dtype, shape=one.shape) for one, kind in zip(tensors, kinds)
    ]
    return ModelFacts((facts[0],), tuple(facts[1:]), confidences=False)
