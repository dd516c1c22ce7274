"""The names of a model's classes: a text with one label a line, read by the host that checks it and by the device.

A byte order mark is no part of the first label. Where every line has its number in front, as `0 person` or `1: tench`,
the numbers are no part of the labels; numbers that are left out are classes without a label.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# A number, what separates it, and the label. Not `1st floor`: without a separator the number belongs to the label.
_NUMBERED = re.compile(r"(\d{1,5})(?:\s*[:;,.)=|]\s*|\s+)(\S.*)")
# Of numbered lines, at most so many times as many classes as lines: above it, the numbers say something else.
_MOST_CLASSES_PER_LINE = 2
# At least so many of ten labels differ where the numbers are only numbers: `1 euro`, `2 euro` are labels.
_DISTINCT_OF_TEN = 9


def read_labels(content: bytes) -> tuple[str, ...]:
    """The labels, in the order of the model's classes; empty lines at the end do not count.

    A class that numbered lines leave out has an empty label.

    Raises:
        UnicodeDecodeError: the content is not UTF-8.
    """
    lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return _without_numbers(lines) or tuple(lines)


def label_counts(values: int, offset: int) -> tuple[int, ...]:
    """How many labels fit a classifier: one a class, or one a class after the first `offset`.

    Args:
        values: of its output. A single one stands for two classes, of which the second may be the only one with a name.
    """
    return (2, 1) if values == 1 else (values, values - offset)


def class_values(shape: Sequence[int]) -> int | None:
    """How many values a classifier's output has; None where this shape is no list of classes, or the size is open.

    Args:
        shape: such as [1, classes] or [1, classes, 1, 1]; a size below 1 is open, and 1 where it is the first.
    """
    sides = [side for place, side in enumerate(shape) if side != 1 and not (place == 0 and side < 1)]
    if not shape or len(sides) > 1 or min(sides, default=1) < 1:
        return None
    return sides[0] if sides else 1


def _without_numbers(lines: list[str]) -> tuple[str, ...]:
    """The labels of numbered lines, each at its number; empty when the lines are not numbered."""
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    found = [(int(match[1]), match[2].strip()) for match in numbered if match]
    if len(found) < max(2, len(lines)):
        return ()
    first, last = found[0][0], found[-1][0]
    rising = all(one < other for (one, _), (other, _) in zip(found, found[1:]))
    distinct = len({label for _, label in found})
    if first > 1 or not rising or last - first >= _MOST_CLASSES_PER_LINE * len(found):
        return ()
    if distinct * 10 < _DISTINCT_OF_TEN * len(found):
        return ()
    labels = [""] * (last - first + 1)
    for number, label in found:
        labels[number - first] = label
    return tuple(labels)
