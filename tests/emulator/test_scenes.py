"""What the camera shows when, and how the scenes are drawn."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from emflow_emulator.camera.scenes import SCENES, draw, moving, shown_at

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z
LONG_DWELL = 3600.0


def test_there_are_eight_to_twelve_scenes_with_names_of_their_own() -> None:
    assert 8 <= len(SCENES) <= 12
    assert len(set(SCENES)) == len(SCENES)
    assert all(scene == scene.strip() and scene for scene in SCENES)


def test_each_scene_stays_for_the_dwell_and_then_comes_the_next_for_ever() -> None:
    round_trip = [shown_at(step * 2.0, 2.0) for step in range(2 * len(SCENES))]

    assert round_trip == [*SCENES, *SCENES]
    assert {shown_at(4.0 + moment, 2.0) for moment in (0.0, 0.5, 1.0, 1.999)} == {SCENES[2]}


def test_the_schedule_starts_with_unix_time_and_not_with_whoever_asks() -> None:
    assert shown_at(NOON, 2.0) == SCENES[int(NOON / 2) % len(SCENES)]
    assert shown_at(NOON + 0.3 * 7, 0.3) == SCENES[int((NOON + 0.3 * 7) / 0.3) % len(SCENES)]


@pytest.mark.parametrize("dwell", [0.0, -1.0, float("nan")])
def test_a_scene_that_does_not_stay_is_refused(dwell: float) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        shown_at(NOON, dwell)


def test_a_scene_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"no scene 'cat'.*red circle"):
        draw("cat", 64, 48, np.random.default_rng(0))


@pytest.mark.parametrize("scene", SCENES)
def test_pictures_have_the_size_that_was_asked_for(scene: str) -> None:
    for width, height in ((640, 480), (224, 224), (320, 568), (33, 17)):
        for picture in (draw(scene, width, height, np.random.default_rng(1)), moving(scene, NOON, width, height)):
            assert picture.shape == (height, width, 3)
            assert picture.dtype == np.uint8


@pytest.mark.parametrize("scene", SCENES)
def test_the_same_seed_draws_the_same_picture_and_another_seed_another(scene: str) -> None:
    first, again, other = (draw(scene, 160, 120, np.random.default_rng(seed)) for seed in (5, 5, 6))

    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 5


@pytest.mark.parametrize("scene", SCENES)
def test_the_live_picture_is_never_frozen_and_never_jumps(scene: str) -> None:
    frames = [moving(scene, NOON + tick / 25, 320, 240, LONG_DWELL).astype(int) for tick in range(26)]
    changes = [np.abs(after - before).mean() for before, after in itertools.pairwise(frames)]
    next_slot = moving(scene, NOON + LONG_DWELL, 320, 240, LONG_DWELL)

    assert min(changes) > 0
    assert max(changes) < 0.5 * np.abs(next_slot - frames[0]).mean()
    assert np.abs(frames[25] - frames[0]).mean() > 1.5 * max(changes), "it moves, and not only its noise"


def test_the_same_moment_has_the_same_picture() -> None:
    for scene in SCENES:
        assert np.array_equal(moving(scene, NOON + 0.12, 160, 120), moving(scene, NOON + 0.12, 160, 120))


def test_a_scene_looks_different_when_it_comes_round_again() -> None:
    dwell = 2.0
    once = moving("blue square", NOON, 160, 120, dwell)
    again = moving("blue square", NOON + dwell * len(SCENES), 160, 120, dwell)

    assert np.abs(once.astype(int) - again).mean() > 5


def test_colours_are_red_green_blue_in_this_order() -> None:
    """The centre of a shape has the colour of its name, so red and blue are not mixed up."""
    strongest = {"red circle": 0, "green triangle": 1, "blue square": 2}
    for scene, channel in strongest.items():
        for seed in range(20):
            picture = draw(scene, 160, 120, np.random.default_rng(seed)).astype(int)
            saturation = picture.max(axis=2) - picture.min(axis=2)
            row, column = np.unravel_index(saturation.argmax(), saturation.shape)
            assert picture[row, column].argmax() == channel, f"{scene}, seed {seed}"


def test_drawing_keeps_up_with_a_camera() -> None:
    """A few milliseconds at 640 x 480, where a camera of 25 frames a second has 40 for everything.

    Processor time and the best of several, so that a busy machine does not count.
    """
    for scene in SCENES:
        took = []
        for tick in range(7):
            began = time.process_time()
            moving(scene, NOON + tick / 25, 640, 480)
            took.append(time.process_time() - began)
        assert min(took) < 0.015, scene
