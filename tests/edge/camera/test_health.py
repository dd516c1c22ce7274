import numpy as np
import pytest

from emflow_edge.camera.health import PictureMonitor

RNG = np.random.default_rng(1)
SCENE = RNG.integers(30, 220, (60, 80), dtype=np.uint8)


def seen(pictures: "list[np.ndarray]", frozen: float = 5.0, black: float = 5.0) -> list[str]:
    """What is wrong after each of some pictures, one a second."""
    eye, states = PictureMonitor(frozen, black), []
    for at, picture in enumerate(pictures):
        eye.look(picture, float(at))
        states.append(eye.state)
    return states


def noisy(picture: np.ndarray, noise: int) -> np.ndarray:
    return np.clip(picture + RNG.integers(-noise, noise + 1, picture.shape), 0, 255).astype(np.uint8)


def test_the_same_picture_for_too_long_is_frozen_although_an_encoder_makes_noise() -> None:
    assert seen([noisy(SCENE, 3) for _ in range(8)]) == [""] * 5 + ["frozen"] * 3


def test_a_frozen_picture_that_moves_again_is_well() -> None:
    moved = np.roll(SCENE, 1, axis=1)
    assert seen([SCENE] * 7 + [moved] * 7) == [""] * 5 + ["frozen"] * 2 + [""] * 5 + ["frozen"] * 2


def test_the_seconds_of_a_clock_in_the_picture_are_enough_to_be_alive() -> None:
    pictures = []
    for second in range(10):
        picture = SCENE.copy()
        picture[2:6, 70:73] = 235 if second % 2 else 20
        pictures.append(picture)
    assert seen(pictures) == [""] * 10


def test_a_light_that_fades_slowly_is_no_frozen_picture() -> None:
    assert seen([(SCENE * (1 - 0.01 * number)).astype(np.uint8) for number in range(12)]) == [""] * 12


def test_a_black_picture_is_reported_as_black_and_not_as_frozen() -> None:
    black = np.full((60, 80), 16, np.uint8)
    assert seen([SCENE, *([black] * 8), SCENE]) == [""] * 6 + ["black"] * 3 + [""]
    assert seen([noisy(black, 4)] * 7, frozen=2.0) == [""] * 5 + ["black"] * 2


def test_a_dark_street_with_a_lamp_is_not_black() -> None:
    street = np.full((60, 80), 20, np.uint8)
    street[10:20, 30:50] = 200
    assert "black" not in seen([noisy(street, 3) for _ in range(9)])


def test_nothing_is_reported_when_it_is_turned_off() -> None:
    assert seen([SCENE] * 9, frozen=0.0) == [""] * 9
    assert not PictureMonitor(0.0, 0.0).is_due(100.0)
    black = np.zeros((60, 80), np.uint8)
    assert "black" not in seen([black] * 9, frozen=0.0, black=0.0)


def test_a_black_picture_is_frozen_where_only_that_is_asked_for() -> None:
    assert seen([np.zeros((60, 80), np.uint8)] * 7, black=0.0)[-1] == "frozen"


def test_another_size_is_another_picture() -> None:
    assert seen([SCENE] * 4 + [SCENE[::2]] * 4) == [""] * 8


def test_after_a_break_it_begins_anew() -> None:
    eye = PictureMonitor(5.0, 5.0)
    eye.look(SCENE, 0.0)
    eye.forget()
    eye.look(SCENE, 6.0)
    assert eye.state == ""


@pytest.mark.parametrize(("between", "wanted"), [(0.1, False), (0.6, True)])
def test_it_does_not_look_at_every_picture(between: float, wanted: bool) -> None:
    eye = PictureMonitor(5.0, 5.0)
    assert eye.is_due(1.0)
    eye.look(SCENE, 1.0)
    assert eye.is_due(1.0 + between) is wanted
