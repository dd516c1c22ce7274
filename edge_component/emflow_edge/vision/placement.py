"""How a frame lies in the model's picture: stretched over it, as a whole with margins, or its middle part."""

from __future__ import annotations

from dataclasses import dataclass

from emflow_edge.vision.outcome import Box


@dataclass(frozen=True)
class Area:
    """Whole pixels from the top left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Placement:
    """`source` of a frame fills `target` of the model's picture; both in pixels of their own picture."""

    frame: tuple[int, int]
    picture: tuple[int, int]
    source: Area
    target: Area

    def in_frame(self, left: float, top: float, right: float, bottom: float) -> Box:
        """A box in fractions of the model's picture as one of the frame, cut off at the frame's edges."""
        (across, down), source, target, frame = self.picture, self.source, self.target, self.frame

        def horizontal(edge: float) -> float:
            return _within((source.x + (edge * across - target.x) / target.width * source.width) / frame[0])

        def vertical(edge: float) -> float:
            return _within((source.y + (edge * down - target.y) / target.height * source.height) / frame[1])

        x, y = horizontal(left), vertical(top)
        return Box(x, y, max(0.0, horizontal(right) - x), max(0.0, vertical(bottom) - y))


def place(frame: tuple[int, int], picture: tuple[int, int], resize: str) -> Placement:
    """Where a frame goes. `frame` and `picture`: width and height in pixels.

    Args:
        resize: `stretch`: all of the frame fills all of the picture; `letterbox`: all of the frame, in its own shape,
            with margins on two sides; `crop`: the frame's middle, in its own shape, fills the picture.
    """
    (width, height), (across, down) = frame, picture
    all_of_frame, all_of_picture = Area(0, 0, width, height), Area(0, 0, across, down)
    if resize == "letterbox":
        scale = min(across / width, down / height)
        inner = max(1, round(width * scale)), max(1, round(height * scale))
        return Placement(frame, picture, all_of_frame, _middle(picture, inner))
    if resize == "crop":
        scale = min(width / across, height / down)
        part = max(1, round(across * scale)), max(1, round(down * scale))
        return Placement(frame, picture, _middle(frame, part), all_of_picture)
    return Placement(frame, picture, all_of_frame, all_of_picture)


def _middle(whole: tuple[int, int], part: tuple[int, int]) -> Area:
    return Area((whole[0] - part[0]) // 2, (whole[1] - part[1]) // 2, *part)


def _within(fraction: float) -> float:
    return min(1.0, max(0.0, fraction))
