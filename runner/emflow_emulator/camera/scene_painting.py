"""Paints the scenes: one function for each scene, from a `Look` to a picture without noise.

Shapes are polygons and discs on a grey background. Patterns are a field with one byte per pixel and a palette of 256
colours, which OpenCV applies in less than a millisecond.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Picture: TypeAlias = npt.NDArray[np.uint8]
Colour: TypeAlias = tuple[int, int, int]
Plane: TypeAlias = npt.NDArray[np.float32]

# cv2 takes integer coordinates; with 4 bits of fraction a shape moves smoothly and not in steps of a pixel.
_FRACTION = 4


@dataclass(frozen=True)
class Look:
    """The parameters of a picture of a scene, each 0…1; each painter maps them to ranges of its own."""

    x: float
    y: float
    size: float
    turn: float
    phase: float
    hue: float
    depth: float
    value: float
    backdrop_hue: float
    backdrop_depth: float
    backdrop_value: float
    backdrop_slope: float
    blur: float
    light: float
    grain: float

    @staticmethod
    def any(rng: np.random.Generator) -> Look:
        return Look(*(float(part) for part in rng.random(len(fields(Look)))))


def _red_circle(look: Look, width: int, height: int) -> Picture:
    picture = _backdrop(look, width, height)
    x, y, size = _place(look, width, height)
    one = 1 << _FRACTION
    centre = (round(x * one), round(y * one))
    cv2.circle(picture, centre, round(size * one), _shade(look, hue=0.0), cv2.FILLED, cv2.LINE_AA, _FRACTION)
    return picture


def _blue_square(look: Look, width: int, height: int) -> Picture:
    corners = [(1.0, 0.125 + quarter / 4) for quarter in range(4)]
    return _polygon(look, width, height, corners, lean=15, hue=0.625)


def _green_triangle(look: Look, width: int, height: int) -> Picture:
    corners = [(1.15, 0.25 + third / 3) for third in range(3)]
    return _polygon(look, width, height, corners, lean=15, hue=0.36)


def _yellow_star(look: Look, width: int, height: int) -> Picture:
    corners = [(1.2 if tip % 2 == 0 else 0.5, 0.25 + tip / 10) for tip in range(10)]
    look = replace(look, value=0.5 + look.value / 2)  # dark yellow is called olive
    return _polygon(look, width, height, corners, lean=20, hue=0.155)


def _checkerboard(look: Look, width: int, height: int) -> Picture:
    period = min(width, height) * (0.18 + 0.22 * look.size)  # two cells
    across = _wave(look, width, height, angle=0, lean=15, period=period)
    down = _wave(look, width, height, angle=90, lean=15, period=period)
    return _two_tone(look, np.multiply(across, down, out=across), period)


def _horizontal_stripes(look: Look, width: int, height: int) -> Picture:
    period = min(width, height) * (0.14 + 0.18 * look.size)
    return _two_tone(look, _wave(look, width, height, angle=90, lean=8, period=period), period)


def _vertical_stripes(look: Look, width: int, height: int) -> Picture:
    period = min(width, height) * (0.14 + 0.18 * look.size)
    return _two_tone(look, _wave(look, width, height, angle=0, lean=8, period=period), period)


def _rings(look: Look, width: int, height: int) -> Picture:
    period = min(width, height) * (0.14 + 0.14 * look.size)
    angle = _distance(width, height, width * (0.3 + 0.4 * look.x), height * (0.3 + 0.4 * look.y), 2 * np.pi / period)
    angle -= np.float32(2 * np.pi * look.phase)
    return _two_tone(look, np.sin(angle, out=angle), period)


def _sunset(look: Look, width: int, height: int) -> Picture:
    """A sun that is half under the horizon, its sky, and the sea in front of it."""
    horizon = height * (0.55 + 0.15 * look.y)
    glow = 0.04 * (look.hue - 0.5)
    sky = [_rgb(0.72 + glow, 0.65, 0.35 + 0.15 * look.value), _rgb(0.94 + glow, 0.6, 0.7), _rgb(0.09 + glow, 0.75, 1.0)]
    picture = _ladder(sky, width, height, bottom=horizon)
    x, size = width * (0.25 + 0.5 * look.x), min(width, height) * (0.13 + 0.1 * look.size)
    sun = _rgb(0.13 + glow, 0.45 + 0.3 * look.depth, 1.0)
    one = 1 << _FRACTION
    centre = (round(x * one), round(horizon * one))
    cv2.circle(picture, centre, round(size * one), sun, cv2.FILLED, cv2.LINE_AA, _FRACTION)
    sea = _rgb(0.68 + glow, 0.6, 0.12 + 0.15 * look.backdrop_value)
    picture[round(horizon) :] = sea
    for step in range(1, 6):  # the reflection of the sun on the water
        reach = size * (1.0 - step / 7 + 0.25 * math.sin(2 * np.pi * (look.phase + step / 3)))
        y = horizon + (height - horizon) * (step - 0.4) / 6
        ends = [(round((x + side * reach) * one), round(y * one)) for side in (-1, 1)]
        cv2.line(picture, ends[0], ends[1], sun, max(1, height // 80), cv2.LINE_AA, _FRACTION)
    return picture


def _rainbow(look: Look, width: int, height: int) -> Picture:
    """Seven bands in an arc over a meadow, red outside."""
    side = min(width, height)
    x, y = width * (0.35 + 0.3 * look.x), height * (0.85 + 0.15 * look.y)
    outer = side * (0.62 + 0.18 * look.size)
    breadth = side * (0.2 + 0.12 * look.value)
    bands = [_rgb(hue, 0.7 + 0.3 * look.depth, 0.95) for hue in (0.0, 0.07, 0.15, 0.34, 0.53, 0.63, 0.78)]
    sky = _rgb(0.55 + 0.06 * look.hue, 0.12 + 0.3 * look.backdrop_depth, 0.75 + 0.25 * look.backdrop_value)
    palette = np.array([sky] * 2 + [bands[step * 7 // 252] for step in range(252)] + [sky] * 2, dtype=np.uint8)
    picture = _look_up(_distance(width, height, x, y, 1.0), -252 / breadth, 2 + 252 * outer / breadth, palette)
    picture[round(height * (0.86 + 0.06 * look.turn)) :] = _rgb(0.3, 0.6, 0.3 + 0.2 * look.backdrop_slope)
    return picture


# Names that describe the scenes, in the order of the model's outputs.
PAINTERS: dict[str, Callable[[Look, int, int], Picture]] = {
    "red circle": _red_circle,
    "blue square": _blue_square,
    "green triangle": _green_triangle,
    "yellow star": _yellow_star,
    "checkerboard": _checkerboard,
    "horizontal stripes": _horizontal_stripes,
    "vertical stripes": _vertical_stripes,
    "rings": _rings,
    "sunset": _sunset,
    "rainbow": _rainbow,
}


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _shade(look: Look, hue: float) -> Colour:
    """A strong colour of this hue, with small variations."""
    return _rgb(hue + 0.03 * (look.hue - 0.5), 0.75 + 0.25 * look.depth, 0.65 + 0.3 * look.value)


def _backdrop(look: Look, width: int, height: int) -> Picture:
    """A nearly grey background, lighter on one side than on the other."""
    hue, saturation = look.backdrop_hue, 0.25 * look.backdrop_depth
    value, slope = 0.15 + 0.7 * look.backdrop_value, 0.3 * (look.backdrop_slope - 0.5)
    near, far = _rgb(hue, saturation, value - slope / 2), _rgb(hue, saturation, value + slope / 2)
    middle = _rgb(hue, saturation, value)
    corners = np.array([[near, middle], [middle, far]], dtype=np.uint8)
    return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _place(look: Look, width: int, height: int) -> tuple[float, float, float]:
    """Centre and half the width of a shape, in pixels; the whole shape is inside the picture."""
    return (
        width * (0.35 + 0.3 * look.x),
        height * (0.4 + 0.2 * look.y),
        min(width, height) * (0.18 + 0.14 * look.size),
    )


def _polygon(
    look: Look, width: int, height: int, corners: list[tuple[float, float]], lean: float, hue: float
) -> Picture:
    """A filled shape. Corners are (distance from the centre in sizes, angle in turns); `lean` is in degrees."""
    picture = _backdrop(look, width, height)
    x, y, size = _place(look, width, height)
    tilt = math.radians(lean) * (2 * look.turn - 1)
    angles = [2 * math.pi * turn + tilt for _, turn in corners]
    points = [
        (x + size * reach * math.cos(angle), y - size * reach * math.sin(angle))
        for (reach, _), angle in zip(corners, angles, strict=True)
    ]
    outline = np.round(np.array(points) * (1 << _FRACTION)).astype(np.int32)
    cv2.fillPoly(picture, [outline], _shade(look, hue), cv2.LINE_AA, _FRACTION)
    return picture


def _wave(look: Look, width: int, height: int, angle: float, lean: float, period: float) -> Plane:
    """A wave of -1…1 over the picture: period in pixels, direction `angle` in degrees, varied by up to `lean`.

    It is scaled and turned around the centre. Most steps use one row and one column, because whole planes take time.
    """
    way = math.radians(angle + lean * (2 * look.turn - 1))
    step = 2 * np.pi / period
    across = (np.arange(width) - width / 2) * (math.cos(way) * step)
    down = (np.arange(height) - height / 2) * (math.sin(way) * step) + 2 * np.pi * look.phase
    plane: Plane = across.astype(np.float32) + down.astype(np.float32)[:, None]
    return np.sin(plane, out=plane)


def _distance(width: int, height: int, x: float, y: float, scale: float) -> Plane:
    """The distance of each pixel from (x, y), times `scale`. (np.hypot takes three times as long.)"""
    across = np.square((np.arange(width) - x) * scale).astype(np.float32)
    down = np.square((np.arange(height) - y) * scale).astype(np.float32)
    plane: Plane = across + down[:, None]
    return np.sqrt(plane, out=plane)


def _two_tone(look: Look, wave: Plane, period: float) -> Picture:
    """A dark and a light colour by the sign of a wave of -1…1; `period`, in pixels, makes the edges a pixel wide."""
    dark = _rgb(look.hue, 0.8 * look.depth, 0.05 + 0.25 * look.value)
    light = _rgb(look.backdrop_hue, 0.35 * look.backdrop_depth, 0.7 + 0.3 * look.backdrop_value)
    palette = np.linspace(dark, light, 256).astype(np.uint8)
    return _look_up(wave, 127 * period / (2 * np.pi), 127.5, palette)


def _look_up(field: Plane, gain: float, offset: float, palette: Picture) -> Picture:
    """Colour a field: field * gain + offset, clipped to 0…255, are the row numbers in the palette."""
    index = cv2.addWeighted(field, gain, field, 0, offset, dtype=cv2.CV_8U)
    return cv2.LUT(cv2.merge((index, index, index)), palette[None]).astype(np.uint8, copy=False)


def _ladder(colours: list[Colour], width: int, height: int, bottom: float) -> Picture:
    """A gradient of colours from the top to `bottom`, in pixels; below it the last colour."""
    steps = np.linspace(0, bottom, len(colours))
    rows = np.arange(height)
    column = np.stack([np.interp(rows, steps, band) for band in zip(*colours, strict=True)], axis=1)
    return np.repeat(column.astype(np.uint8)[:, None], width, axis=1)
