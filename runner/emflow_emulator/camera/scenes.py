"""The scenes that the test camera shows and the demo's model knows: when each one is on, and what it looks like then.

Everything here is a pure function. So whoever knows the time a frame was taken knows what was on it: the camera, the
demo and the tests all ask `shown_at`. The model was trained on `draw` (tools/train_scenes_model.py) and is asked about
`moving`, as seen through a video encoder.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from emflow_emulator.camera.scene_painting import PAINTERS, Look, Picture

# In this order the camera shows them, and the model's outputs and labels count them.
SCENES: tuple[str, ...] = tuple(PAINTERS)

# Seconds that each scene stays, where nobody says otherwise. With 2.0, a component that looks once a second could meet
# every change of scene; with 2.6, ten looks in a row come at ten moments of a scene, 0.2 s from each other.
DWELL = 2.6

# Seconds that each part of a look takes to wander through its range and back. All different, so that a scene does not
# come round to the same picture; slow, so that a video encoder sees motion and not a new picture every frame.
_PERIODS = {"x": 13.0, "y": 11.0, "size": 19.0, "turn": 17.0}
_PHASE_PERIOD = 5.0
# Noise is what a video encoder pays for most, so the camera stands in good light: this much of a drawn picture's noise.
_CAMERA_NOISE = 0.3


def shown_at(unix_time: float, dwell: float) -> str:
    """The scene that the camera shows at a moment.

    Args:
        unix_time: seconds since 1970, UTC.
        dwell: seconds that each scene stays.

    Raises:
        ValueError: `dwell` is not above 0.
    """
    return SCENES[_slot(unix_time, dwell) % len(SCENES)]


def draw(scene: str, width: int, height: int, rng: np.random.Generator) -> Picture:
    """One picture of a scene; where, how big, in which shades and light comes from `rng`.

    Args:
        scene: one of `SCENES`.
        width: pixels.
        height: pixels.
        rng: the same state gives the same picture.

    Returns:
        uint8, height x width x 3, RGB.

    Raises:
        ValueError: there is no such scene.
    """
    return _photograph(scene, Look.any(rng), width, height, rng)


def moving(scene: str, unix_time: float, width: int, height: int, dwell: float = DWELL) -> Picture:
    """The picture of a scene at a moment: gently moving, and different every time the scene comes round.

    Args:
        scene: one of `SCENES`.
        unix_time: seconds since 1970, UTC. The same time gives the same picture.
        width: pixels.
        height: pixels.
        dwell: seconds that each scene stays; the picture jumps only where the scene changes.

    Returns:
        uint8, height x width x 3, RGB.

    Raises:
        ValueError: there is no such scene, or `dwell` is not above 0.
    """
    slot = _slot(unix_time, dwell)
    look = Look.any(np.random.default_rng(abs(slot)))
    sways = {
        part: 0.5 + 0.5 * math.sin(2 * math.pi * (unix_time / period + getattr(look, part)))
        for part, period in _PERIODS.items()
    }
    phase = (look.phase + unix_time / _PHASE_PERIOD) % 1.0
    look = replace(look, phase=phase, grain=_CAMERA_NOISE * look.grain, **sways)
    grain = np.random.default_rng((abs(slot), abs(round(unix_time * 1000))))
    return _photograph(scene, look, width, height, grain)


def _slot(unix_time: float, dwell: float) -> int:
    if not dwell > 0:
        raise ValueError(f"a scene has to stay for more than 0 seconds, not {dwell}")
    return math.floor(unix_time / dwell)


def _photograph(scene: str, look: Look, width: int, height: int, rng: np.random.Generator) -> Picture:
    """Paint a scene and take its picture with a lens that is a little soft and a sensor that is a little noisy."""
    painter = PAINTERS.get(scene)
    if painter is None:
        raise ValueError(f"there is no scene {scene!r}; the scenes are {', '.join(SCENES)}")
    picture = painter(look, width, height)
    softness = look.blur * 1.5 * height / 480
    if softness > 0.3:  # less does not show, and costs as much
        picture = cv2.GaussianBlur(picture, (0, 0), softness).astype(np.uint8, copy=False)
    gain, grain = 0.7 + 0.4 * look.light, 0.06 * look.grain
    noise = rng.integers(0, 256, (height, width), dtype=np.uint8)
    shot = cv2.addWeighted(picture, gain, cv2.merge((noise, noise, noise)), grain, -127.5 * grain)
    return shot.astype(np.uint8, copy=False)
