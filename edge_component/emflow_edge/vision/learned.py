"""What a model's frames have shown about its outputs, where its file does not say it.

Such a property belongs to the model: it is decided by a frame that leaves no doubt, and then kept, also for frames that
fit several answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emflow_edge.vision.values import Floats

# By how much a confidence may lie outside of 0…1: quantised ones are rounded.
_TOLERANCE = 0.05
# A sum of all classes that is taken for 1: quantised confidences of many classes have a large error together.
_SUM_TOLERANCE = 0.1


@dataclass
class LearnedProperties:
    """Properties of one loaded model; shared by all threads, which only ever add to it.

    raw: values were outside of 0…1, so they are no confidences yet. distribution: they were within it, with a sum of 1.
    pixels: boxes have coordinates in pixels. on_grid: boxes are relative to the cells of a grid.
    classes_first: of two outputs that may be classes and scores, the first is the classes; None: not known yet.
    """

    raw: bool = False
    distribution: bool = False
    pixels: bool = False
    on_grid: bool = False
    classes_first: bool | None = None

    def are_raw(self, values: Floats) -> bool:
        """Whether values of this model have yet to become confidences, by these and all before."""
        if not self.raw and not within_one(values):
            self.raw = True
        return self.raw

    def are_distribution(self, values: Floats) -> bool:
        """Whether values of this model are confidences of classes that exclude each other, by these and all before."""
        if not self.are_raw(values) and abs(float(values.sum()) - 1) <= _SUM_TOLERANCE:
            self.distribution = True
        return self.distribution and not self.raw


def within_one(values: Floats) -> bool:
    """Whether all values may be confidences: 0…1, and a little more for their rounding."""
    return not values.size or (float(values.min()) >= -_TOLERANCE and float(values.max()) <= 1 + _TOLERANCE)
