"""Labels as people have them: with a byte order mark, with numbers in front, with numbers that are left out."""

from __future__ import annotations

import pytest

from emflow_schema.labels import class_values, label_counts, read_labels


@pytest.mark.parametrize(
    "text",
    [
        "cat\ndog\nowl",
        "\ufeffcat\ndog\nowl\n",
        "cat\r\ndog\r\nowl\r\n\r\n",
        "0 cat\n1 dog\n2 owl",
        "\ufeff0 cat\n1 dog\n2 owl",
        "0: cat\n1: dog\n2: owl",
        "1 cat\n2 dog\n3 owl",
        "1. cat\n2. dog\n3. owl",
        "0\tcat\n1\tdog\n2\towl",
        "0,cat\n1,dog\n2,owl",
        "  0  cat\n  1  dog\n  2  owl\n",
    ],
)
def test_a_mark_at_the_start_and_numbers_in_front_are_no_part_of_labels(text: str) -> None:
    assert read_labels(text.encode()) == ("cat", "dog", "owl")


def test_numbers_that_are_left_out_are_classes_without_a_label() -> None:
    # As in the lists of COCO's classes: https://github.com/google-coral/test_data/blob/master/coco_labels.txt.
    assert read_labels(b"0  person\n1  bicycle\n3  motorcycle\n") == ("person", "bicycle", "", "motorcycle")
    assert read_labels(b"1 person\n2 bicycle\n4 motorcycle\n") == ("person", "bicycle", "", "motorcycle")


@pytest.mark.parametrize(
    "lines",
    [
        ["0", "1", "2", "3"],
        ["1 euro", "2 euro", "3 euro"],
        ["1 cent", "2 cents", "5 cents", "10 cents"],
        ["1st floor", "2nd floor"],
        ["7 up", "8 ball"],
        ["3 wheels", "2 wheels"],
        ["0 cat", "dog", "2 owl"],
        ["n01440764 tench", "n01443537 goldfish"],
        ["5 o'clock"],
        ["1 a", "1 b"],
    ],
)
def test_numbers_that_are_part_of_labels_stay(lines: list[str]) -> None:
    assert read_labels("\n".join(lines).encode()) == tuple(lines)


def test_another_encoding_is_refused() -> None:
    with pytest.raises(UnicodeDecodeError):
        read_labels("cat\ndog".encode("utf-16"))


@pytest.mark.parametrize(
    ("shape", "values"),
    [
        ((1, 1001), 1001),
        ((1001,), 1001),
        ((1, 1000, 1, 1), 1000),
        ((1, 1, 1, 1000), 1000),
        ((1, 1), 1),
        ((1,), 1),
        ((1, 1, 1, 1), 1),
        ((-1, 10), 10),
        ((-1, 1), 1),
        ((), None),
        ((1, 10, 4), None),
        ((2, 10), None),
        ((1, -1), None),
    ],
)
def test_a_list_of_classes_has_one_side_that_is_not_1(shape: tuple[int, ...], values: int | None) -> None:
    assert class_values(shape) == values


def test_a_single_value_stands_for_two_classes_and_may_name_the_second_only() -> None:
    assert label_counts(1, 0) == (2, 1)
    assert label_counts(1001, 1) == (1001, 1000)
