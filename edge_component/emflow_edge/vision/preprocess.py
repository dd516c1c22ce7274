"""Converts a frame into the input tensor of a model: placement and size, colour, layout, data type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emflow_edge.model_spec import TensorSpec
from emflow_edge.opencv import cv2
from emflow_edge.outcome import Box
from emflow_schema.edge_config import ModelIO
from emflow_schema.errors import EdgeProblem
from emflow_schema.model_facts import TensorFacts

if TYPE_CHECKING:
    # Not at run time: NumPy before 1.21, which board images have, has no NDArray.
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Area:
    """Whole pixels from the top left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class FramePlacement:
    """`source` of a frame fills `target` of the model's picture; both in pixels of their own picture."""

    frame: tuple[int, int]
    picture: tuple[int, int]
    source: Area
    target: Area

    def box_in_frame(self, left: float, top: float, right: float, bottom: float) -> Box:
        """A box in fractions of the model's picture as one of the frame, cut off at the frame's edges."""
        x, y = _within(self._horizontal(left)), _within(self._vertical(top))
        right, bottom = _within(self._horizontal(right)), _within(self._vertical(bottom))
        return Box(x, y, max(0.0, right - x), max(0.0, bottom - y))

    def overlaps_frame(self, corners: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Whether boxes have an area in the frame: bool [n].

        Args:
            corners: float32 [n, 4]: left, top, right and bottom in fractions of the model's picture.
        """
        left, top, right, bottom = corners.astype(np.float64).T
        x, y = np.clip(self._horizontal(left), 0, 1), np.clip(self._vertical(top), 0, 1)
        wide, high = np.clip(self._horizontal(right), 0, 1) > x, np.clip(self._vertical(bottom), 0, 1) > y
        both: npt.NDArray[np.bool_] = wide & high
        return both

    def _horizontal(self, edge: Any) -> Any:
        """A fraction of the width of the model's picture as one of the frame's."""
        source, target = self.source, self.target
        return (source.x + (edge * self.picture[0] - target.x) / target.width * source.width) / self.frame[0]

    def _vertical(self, edge: Any) -> Any:
        """A fraction of the height of the model's picture as one of the frame's."""
        source, target = self.source, self.target
        return (source.y + (edge * self.picture[1] - target.y) / target.height * source.height) / self.frame[1]


def place_frame(frame: tuple[int, int], picture: tuple[int, int], resize: str) -> FramePlacement:
    """Place a frame in the input image. `frame` and `picture`: width and height in pixels.

    Args:
        resize: `stretch`: all of the frame fills all of the picture; `letterbox`: all of the frame, in its own shape,
            with margins on two sides; `crop`: the frame's middle, in its own shape, fills the picture.
    """
    (width, height), (across, down) = frame, picture
    all_of_frame, all_of_picture = Area(0, 0, width, height), Area(0, 0, across, down)
    if resize == "letterbox":
        scale = min(across / width, down / height)
        inner = max(1, round(width * scale)), max(1, round(height * scale))
        return FramePlacement(frame, picture, all_of_frame, _middle(picture, inner))
    if resize == "crop":
        scale = min(width / across, height / down)
        part = max(1, round(across * scale)), max(1, round(down * scale))
        return FramePlacement(frame, picture, _middle(frame, part), all_of_picture)
    return FramePlacement(frame, picture, all_of_frame, all_of_picture)


def _middle(whole: tuple[int, int], part: tuple[int, int]) -> Area:
    return Area((whole[0] - part[0]) // 2, (whole[1] - part[1]) // 2, *part)


def _within(fraction: float) -> float:
    return min(1.0, max(0.0, fraction))


# What a float model gets when nothing is said: -1…1, as TensorFlow's image models take it.
_HALF = (127.5, 127.5, 127.5)
# Input types that pixels are normalised for.
_FLOATS = ("float16", "float32")


class Preprocessor:
    """Converts frames into the input of one model. Keeps buffers, so it is not thread-safe.

    Args:
        spec: the model's input; [1, height, width, channels] or [1, channels, height, width], 3 channels or 1 (grey).
        stored: true type and quantisation, as far as the agent or the model's file tells them; `int8` there is `uint8`
            in the interface, which has no signed byte. None where neither tells it.
        model_io: colour order, fitting, and mean and standard deviation.

    Raises:
        EdgeProblem: the input is no picture, or of a type that no picture goes into.
    """

    def __init__(self, spec: TensorSpec, stored: TensorFacts | None, model_io: ModelIO) -> None:
        shape = spec.shape
        last = len(shape) == 4 and shape[3] in (1, 3)
        first = len(shape) == 4 and shape[1] in (1, 3) and not last
        if shape[:1] != (1,) or not (first or last) or min(shape) < 1:
            raise EdgeProblem(f"the model's input of shape {list(shape)} is no single picture of 3 channels, or 1")
        if spec.dtype not in ("uint8", *_FLOATS):
            raise EdgeProblem(f"the model's input is {spec.dtype}; a picture goes into uint8, float16 or float32")
        if stored is not None and stored.dtype == "bool":
            raise EdgeProblem("the model's input is bool; a picture goes into uint8, int8, float16 or float32")
        self._channels_first = first
        height, width, channels = (shape[2], shape[3], shape[1]) if first else shape[1:]
        self._size = (width, height)
        self._resize = model_io.resize
        self._convert = _conversion(channels, model_io.color)
        self._table = _table(stored, model_io, channels) if spec.dtype == "uint8" else None
        self._float = np.dtype(spec.dtype).newbyteorder("<") if spec.dtype in _FLOATS else None
        # (pixel - mean) / std as one multiplication and one addition.
        self._factor = 1.0 / np.asarray((model_io.std or _HALF)[:channels], np.float32)
        self._term = -np.asarray((model_io.mean or _HALF)[:channels], np.float32) * self._factor
        self._small = np.empty((height, width, 3), np.uint8)
        self._margin = model_io.margin
        self._placement: FramePlacement | None = None

    def placement(self, frame: Image) -> FramePlacement:
        """How a frame of this size lies in the model's picture."""
        size = (frame.shape[1], frame.shape[0])
        if self._placement is None or self._placement.frame != size:
            self._placement = place_frame(size, self._size, self._resize)
            self._small[:] = self._margin
        return self._placement

    def __call__(self, frame: Image) -> bytes:
        """The input tensor's bytes. `frame`: uint8, height x width x 3, BGR as OpenCV reads it, of any size."""
        placed = self.placement(frame)
        source, target = placed.source, placed.target
        part = frame[source.y : source.y + source.height, source.x : source.x + source.width]
        inside = self._small[target.y : target.y + target.height, target.x : target.x + target.width]
        cv2.resize(part, (target.width, target.height), dst=inside, interpolation=cv2.INTER_LINEAR)
        pixels: Image = self._small
        if self._convert is not None:
            pixels = np.asarray(cv2.cvtColor(pixels, self._convert), np.uint8)
            pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
        if self._float is not None:
            return self._ordered(pixels * self._factor + self._term).astype(self._float, copy=False).tobytes()
        if self._table is not None:
            pixels = np.asarray(cv2.LUT(pixels, self._table), np.uint8).reshape(pixels.shape)
        return self._ordered(pixels).tobytes()

    def _ordered(self, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return picture.transpose(2, 0, 1) if self._channels_first else picture


def _conversion(channels: int, color: str) -> int | None:
    """OpenCV's code for BGR to what the model was trained on; None where that is BGR."""
    if channels == 1:
        return int(cv2.COLOR_BGR2GRAY)
    return int(cv2.COLOR_BGR2RGB) if color == "rgb" else None


def _table(stored: TensorFacts | None, model_io: ModelIO, channels: int) -> Image | None:
    """What each pixel value becomes, for each channel; None where it stays as it is.

    Without a word about mean and deviation, pixels 0…255 are the quantised values: -128…127 in a signed model. With
    one, (pixel - mean) / std is what the model's own quantisation is done to.
    """
    signed = stored is not None and stored.dtype == "int8"
    low = -128 if signed else 0
    pixels = np.arange(256, dtype=np.float64)[:, np.newaxis]
    if model_io.mean is None and model_io.std is None:
        if not signed:
            return None
        values = np.repeat(pixels + low, channels, axis=1)
    elif stored is None or not stored.scale:
        raise EdgeProblem("modelIO.mean, modelIO.std: the model takes bytes, and nothing tells its scale; drop them")
    else:
        mean, std = model_io.mean or _HALF, model_io.std or _HALF
        real = (pixels - np.asarray(mean[:channels])) / np.asarray(std[:channels])
        values = np.clip(np.rint(real / stored.scale) + stored.zero_point, low, low + 255)
    return np.ascontiguousarray(values.astype(np.int8 if signed else np.uint8)[np.newaxis]).view(np.uint8)
