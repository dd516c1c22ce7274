"""From a camera's frame to the bytes that the model's metadata asks for: size, colour, layout, type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emflow_edge.camera.opencv import cv2
from emflow_edge.inference.model import TensorSpec
from emflow_edge.problems import EdgeProblem
from emflow_edge.settings.model_io import ModelIO

if TYPE_CHECKING:
    # Not at run time: NumPy before 1.21, which board images have, has no NDArray.
    import numpy.typing as npt


class Preprocess:
    """Turns frames into one model's input, in buffers that it keeps; so one thread an instance.

    Args:
        spec: the model's input; [1, height, width, 3], or [1, 3, height, width].
        stored: the type in the model's file; `int8` there is `uint8` on the wire, which knows no signed byte.
        model_io: colour order, and mean and standard deviation for float inputs.

    Raises:
        EdgeProblem: the input is no picture, or of a type that no picture goes into.
    """

    def __init__(self, spec: TensorSpec, stored: str, model_io: ModelIO) -> None:
        last = len(spec.shape) == 4 and spec.shape[3] == 3
        first = len(spec.shape) == 4 and spec.shape[1] == 3 and not last
        if spec.shape[:1] != (1,) or not (first or last) or min(spec.shape) < 1:
            raise EdgeProblem(f"the model's input of shape {list(spec.shape)} is no single picture of 3 channels")
        if spec.dtype not in ("uint8", "float32"):
            raise EdgeProblem(f"the model's input is {spec.dtype}; a picture goes into uint8 or float32")
        self._channels_first = first
        height, width = spec.shape[2:4] if first else spec.shape[1:3]
        self._size = (width, height)
        self._swap = model_io.color == "rgb"
        self._float = spec.dtype == "float32"
        self._signed = stored == "int8" and not self._float
        # (pixel - mean) / std as one multiplication and one addition.
        self._factor = 1.0 / np.asarray(model_io.std, np.float32)
        self._term = -np.asarray(model_io.mean, np.float32) * self._factor
        self._small = np.empty((height, width, 3), np.uint8)
        self._coloured = np.empty_like(self._small)

    def __call__(self, frame: npt.NDArray[np.uint8]) -> bytes:
        """The input tensor's bytes. `frame`: uint8, height x width x 3, BGR as OpenCV reads it, of any size."""
        small = cv2.resize(frame, self._size, dst=self._small, interpolation=cv2.INTER_LINEAR)
        if self._swap:
            small = cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=self._coloured)
        picture: npt.NDArray[np.generic] = small
        if self._float:
            picture = small * self._factor + self._term
        elif self._signed:
            # Pixels 0…255 stand at -128…127 in a signed model: the same bits with the top one flipped.
            picture = np.bitwise_xor(small, 0x80, dtype=np.uint8)
        if self._channels_first:
            picture = picture.transpose(2, 0, 1)
        return picture.tobytes()
