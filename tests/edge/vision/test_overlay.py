import numpy as np

from emflow_edge.observability.overlay import draw
from emflow_edge.outcome import Box, ClassScore, Detection, Outcome

FRAME = np.full((480, 640, 3), 90, np.uint8)


def changed(drawn: np.ndarray) -> np.ndarray:
    return (drawn != FRAME).any(axis=2)


def test_a_box_is_drawn_around_the_thing_and_the_frame_itself_stays() -> None:
    before = FRAME.copy()
    drawn = changed(draw(FRAME, Outcome((), (Detection(3, "dog", 0.9, Box(0.25, 0.5, 0.5, 0.25)),))))
    assert np.array_equal(FRAME, before)
    assert drawn[240:361, 160].all()
    assert drawn[360, 160:481].all()
    assert not drawn[300, 200:440].any()


def test_classes_of_the_whole_picture_stand_in_its_corner() -> None:
    drawn = changed(draw(FRAME, Outcome((ClassScore(1, "Ägyptische Katze", 0.8), ClassScore(2, None, 0.1)))))
    assert drawn[:60, :200].any()
    assert not drawn[100:].any()


def test_nothing_found_is_nothing_drawn() -> None:
    assert not changed(draw(FRAME, Outcome((), ()))).any()


def test_a_box_at_the_edge_keeps_its_words_in_the_picture() -> None:
    at_edge = Detection(0, "a long name for a small thing", 1.0, Box(0.98, 0.98, 0.02, 0.02))
    assert changed(draw(FRAME, Outcome((), (at_edge,))))[:, :600].any()
