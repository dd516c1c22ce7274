"""The names of a model's classes, from the file that the configuration names."""

from __future__ import annotations

from pathlib import Path

from emflow_schema.errors import ConfigProblem
from emflow_schema.labels import label_counts
from emflow_schema.labels import read_labels as parse_labels


class Labels:
    """What a model's classes are called.

    Args:
        lines: for all classes, or for those after the offset; none at all is allowed.
        classes: how many the model has.
    """

    def __init__(self, lines: tuple[str, ...], classes: int) -> None:
        self._lines, self._before = lines, classes - len(lines)

    def __call__(self, number: int) -> str | None:
        """The name of the class with this number among the model's outputs; None where there is none."""
        place = number - self._before
        return (self._lines[place] or None) if 0 <= place < len(self._lines) else None


def read_labels(path: Path, classes: int, class_offset: int, lines: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """One label a line, for all classes or for those after the offset.

    classes: how many values the output has; a single one stands for two classes. lines: what is in the file; without
    it, it is read.

    Raises:
        ConfigProblem: the file is missing, no text, or has another number of labels.
    """
    labels = read_lines(path) if lines is None else lines
    wanted = label_counts(classes, class_offset)
    if len(labels) not in wanted:
        raise ConfigProblem(
            f"modelIO.labels: {path} has {len(labels)} lines, but the model has {wanted[0]} classes "
            f"({wanted[1]} after modelIO.classOffset)"
        )
    return labels


def read_lines(path: Path) -> tuple[str, ...]:
    """One label a line; empty lines at the end do not count.

    Raises:
        ConfigProblem: the file is missing or no text.
    """
    try:
        return parse_labels(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigProblem(f"modelIO.labels: {path} cannot be read as text: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8; save it as UTF-8"
