"""The scenes that the test camera shows and the demo's model classifies: the schedule and the pictures.

All functions are pure, so the time of a frame determines its scene: the camera, the demo and the tests all use
`shown_at`. The model was trained with pictures of `draw` (tools/train_scenes_model.py); the camera sends pictures of
`moving` through a video encoder.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from emflow_emulator.camera.scene_painting import PAINTERS, Look, Picture

# The order in which the camera shows them, and the order of the model's outputs and labels.
SCENES: tuple[str, ...] = tuple(PAINTERS)

# Default seconds for which each scene is shown. With 2.0, a component that takes a frame every second could always take
# it at a change of scene; with 2.6, ten frames in a row are taken at ten different times of a scene, 0.2 s apart.
DWELL = 2.6

# Seconds in which each parameter of a look goes through its range and back. They differ, so that the pictures of a
# scene do not repeat; they are long, so that a video encoder gets motion and not a new picture in every frame.
_PERIODS = {"x": 13.0, "y": 11.0, "size": 19.0, "turn": 17.0}
_PHASE_PERIOD = 5.0
# The camera's noise as a fraction of that of a drawn picture; it is low, because noise needs most bits in a video.
_CAMERA_NOISE = 0.3


def shown_at(unix_time: float, dwell: float) -> str:
    """The scene that the camera shows at a time.

    Args:
        unix_time: seconds since 1970, UTC.
        dwell: seconds for which each scene is shown.

    Raises:
        ValueError: `dwell` is not above 0.
    """
    return SCENES[_slot(unix_time, dwell) % len(SCENES)]


def draw(scene: str, width: int, height: int, rng: np.random.Generator) -> Picture:
    """One picture of a scene, with random position, size, colours and light from `rng`.

    Args:
        scene: one of `SCENES`.
        width: pixels.
        height: pixels.
        rng: the random generator; the same state gives the same picture.

    Returns:
        uint8, height x width x 3, RGB.

    Raises:
        ValueError: there is no such scene.
    """
    return _photograph(scene, Look.any(rng), width, height, rng)


def moving(scene: str, unix_time: float, width: int, height: int, dwell: float = DWELL) -> Picture:
    """The picture of a scene at a time: it moves slowly, and differs each time that the scene is shown.

    Args:
        scene: one of `SCENES`.
        unix_time: seconds since 1970, UTC. The same time gives the same picture.
        width: pixels.
        height: pixels.
        dwell: seconds for which each scene is shown; the picture is continuous except at a change of scene.

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
        raise ValueError(f"a scene has to be shown for more than 0 seconds, not {dwell}")
    return math.floor(unix_time / dwell)


def _photograph(scene: str, look: Look, width: int, height: int, rng: np.random.Generator) -> Picture:
    """Paint a scene, and add a little blur and noise, as a lens and a sensor do."""
    painter = PAINTERS.get(scene)
    if painter is None:
        raise ValueError(f"there is no scene {scene!r}; the scenes are {', '.join(SCENES)}")
    picture = painter(look, width, height)
    softness = look.blur * 1.5 * height / 480
    if softness > 0.3:  # less blur is not visible and takes the same time
        picture = cv2.GaussianBlur(picture, (0, 0), softness).astype(np.uint8, copy=False)
    gain, grain = 0.7 + 0.4 * look.light, 0.06 * look.grain
    noise = rng.integers(0, 256, (height, width), dtype=np.uint8)
    shot = cv2.addWeighted(picture, gain, cv2.merge((noise, noise, noise)), grain, -127.5 * grain)
    return shot.astype(np.uint8, copy=False)
