"""The names of a model's classes: a text file with one label a line."""

from __future__ import annotations

from pathlib import Path

from emflow_schema.errors import ConfigProblem


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
        return self._lines[place] if 0 <= place < len(self._lines) else None


def read_labels(path: Path, classes: int, class_offset: int) -> tuple[str, ...]:
    """One label a line, for all classes or for those after the offset.

    Raises:
        ConfigProblem: the file is missing, no text, or has another number of lines.
    """
    labels = read_lines(path)
    if len(labels) not in (classes, classes - class_offset):
        raise ConfigProblem(
            f"modelIO.labels: {path} has {len(labels)} lines, but the model has {classes} classes "
            f"({classes - class_offset} after modelIO.classOffset)"
        )
    return labels


def read_lines(path: Path) -> tuple[str, ...]:
    """One label a line; empty lines at the end do not count.

    Raises:
        ConfigProblem: the file is missing or no text.
    """
    try:
        labels = tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigProblem(f"modelIO.labels: {path} cannot be read as text: {_reason(error)}") from error
    while labels and not labels[-1].strip():
        labels = labels[:-1]
    return tuple(label.strip() for label in labels)


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"
