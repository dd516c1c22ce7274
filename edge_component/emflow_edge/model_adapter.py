"""What goes around one model: how a frame becomes its input, and what its output says."""

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
from emflow_edge.vision.preprocess import Preprocessor
from emflow_schema.tflite import model_facts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

log = logging.getLogger(__name__)

Decode = Union[ClassificationDecoder, DetectionDecoder]


@dataclass(frozen=True)
class ModelAdapter:
    """What goes around one model: its preprocessing, which one thread at a time may use, and its decoding."""

    model: ModelSpec
    preprocess: Preprocessor
    decode: Decode

    def for_another_thread(self) -> ModelAdapter:
        """The same for another thread: preprocessing keeps buffers."""
        return dataclasses.replace(self, preprocess=copy.deepcopy(self.preprocess))

    def outcome(self, outputs: Sequence[bytes], image: npt.NDArray[np.uint8]) -> Outcome:
        """What the output tensors, as little-endian bytes, say of the frame (uint8, height x width x 3) they are of.

        Raises:
            ModelMismatch: they are not the model's.
            NonFiniteOutput: some values are not finite.
        """
        return self.decode(outputs, self.preprocess.placement(image))


def adapt_model(model: ModelSpec, settings: Settings) -> ModelAdapter:
    """Preprocessing and decoding for a model.

    Raises:
        EdgeProblem: the model is none that pictures go into, its outputs are not those of its task, or the labels do
            not fit.
    """
    facts = model_facts(settings.model_folder)
    wanted, model_io = settings.quantized, settings.model_io
    if wanted is not None and wanted != (model.input.dtype == "uint8"):
        log.warning("quantization is %s, but the model takes %s; going by the model", wanted, model.input.dtype)
    kind = DetectionDecoder if model_io.task == "detection" else ClassificationDecoder
    decode = kind(model, facts, model_io)
    if not decode.measured and model_io.confidence != "workshop":
        log.warning("no .tflite in %s tells the output's scale; confidence is its byte / 255", settings.model_folder)
    return ModelAdapter(model, Preprocessor(model.input, facts.input if facts else None, model_io), decode)
