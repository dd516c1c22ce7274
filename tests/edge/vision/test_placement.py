import pytest
from hypothesis import given
from hypothesis import strategies as st

from emflow_edge.vision.preprocess import Area, place_frame

SIZES = st.integers(1, 4000)


def test_stretching_leaves_fractions_as_they_are() -> None:
    box = place_frame((1920, 1080), (300, 300), "stretch").box_in_frame(0.1, 0.2, 0.5, 0.7)
    assert (box.x, box.y, box.width, box.height) == pytest.approx((0.1, 0.2, 0.4, 0.5))


def test_a_box_in_a_letterbox_is_found_again_in_the_frame() -> None:
    placed = place_frame((400, 200), (100, 100), "letterbox")
    assert placed.target == Area(0, 25, 100, 50)
    box = placed.box_in_frame(0.0, 0.25, 0.5, 0.5)
    assert (box.x, box.y, box.width, box.height) == pytest.approx((0, 0, 0.5, 0.5))


def test_a_box_in_the_margin_is_cut_off_at_the_frames_edge() -> None:
    box = place_frame((400, 200), (100, 100), "letterbox").box_in_frame(0.0, 0.0, 1.0, 0.2)
    assert (box.y, box.height) == (0, 0)


def test_a_box_in_a_cropped_picture_is_found_again_in_the_frame() -> None:
    placed = place_frame((400, 200), (100, 100), "crop")
    assert placed.source == Area(100, 0, 200, 200)
    box = placed.box_in_frame(0.0, 0.0, 1.0, 1.0)
    assert (box.x, box.y, box.width, box.height) == pytest.approx((0.25, 0, 0.5, 1))


@given(SIZES, SIZES, SIZES, SIZES, st.sampled_from(["stretch", "letterbox", "crop"]))
def test_what_is_placed_lies_within_both_pictures(width: int, height: int, across: int, down: int, resize: str) -> None:
    placed = place_frame((width, height), (across, down), resize)
    for area, (wide, high) in ((placed.source, (width, height)), (placed.target, (across, down))):
        assert 0 <= area.x <= area.x + area.width <= wide
        assert 0 <= area.y <= area.y + area.height <= high
        assert min(area.width, area.height) >= 1
    if resize != "crop":
        assert placed.source == Area(0, 0, width, height)
