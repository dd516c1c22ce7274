"""Exports captured tensors: as .npz files for NumPy, and inputs that are pictures also as .png."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from emflow.problems import Problem
from emflow.results.captures import Capture, Part
from emflow_schema.installation import how_to_install

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


LONGEST_SIDE = 65_535
"""Pixels. PNG files may be larger, but not all that read them take those."""


def statistics(part: Part) -> dict[str, float | int | None] | None:
    """Minimum, maximum, mean, standard deviation, and the index of the maximum; None without numbers.

    They are of the finite values. `not_finite` counts the others (NaN and infinity), where there are any. A mean or a
    deviation that is too large for a number is None.
    """
    import numpy as np

    array = part.array()
    if array is None:
        return None
    values = array.astype("f8")
    finite = np.isfinite(values)
    if not finite.any():
        return None
    known = values[finite]
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = {"min": known.min(), "max": known.max(), "mean": known.mean(), "std": known.std()}
    others = int(finite.size - known.size)
    return {
        **{name: float(number) if np.isfinite(number) else None for name, number in numbers.items()},
        "argmax": int(np.where(finite, values, -np.inf).argmax()),
        **({"not_finite": others} if others else {}),
    }


def export(capture: Capture, parts: Sequence[Part], folder: Path, *, bgr: bool = False) -> Iterator[Path]:
    """Write the files of one capture into a folder; yields each path after writing it.

    Args:
        bgr: the channels of pictures are in the order blue, green, red; otherwise red, green, blue.

    Raises:
        Problem: OpenCV, which writes the pictures, is not installed.
        OSError: a file cannot be written.
    """
    import numpy as np

    stem = re.sub(r"[^\w-]", "_", capture.id)[:64] or "capture"
    arrays: dict[str, Any] = {}
    for part in parts:
        array = part.array()
        if array is not None:
            name = same = _file_name(f"{part.role}_{part.name}")
            number = 1
            while name in arrays:
                number += 1
                name = f"{same}-{number}"
            arrays[name] = array
    if arrays:
        yield _write_file(folder / f"{stem}.npz", lambda path: np.savez_compressed(path, **arrays))
    for number, part in enumerate(parts):
        pixels = picture(part) if part.role == "input" else None
        if pixels is not None:
            suffix = f"-{number}" if number else ""
            yield _write_file(folder / f"{stem}{suffix}.png", lambda path, shown=pixels: _png(path, shown, bgr))


def picture(part: Part) -> npt.NDArray[np.uint8] | None:
    """A uint8 tensor that has the shape of one picture, as height x width x 3 or x 1; None for any other."""
    array = part.array()
    if array is None or array.dtype != "u1" or array.ndim not in (3, 4):
        return None
    if array.ndim == 4:
        if array.shape[0] != 1:
            return None
        array = array[0]
    if array.shape[2] not in (1, 3) and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    # A list of boxes may have the shape of a picture too, but then it is only a few pixels high.
    if array.shape[2] not in (1, 3) or min(array.shape[:2]) < 8 or max(array.shape[:2]) > LONGEST_SIDE:
        return None
    return cast("npt.NDArray[np.uint8]", array)


def _png(path: Path, pixels: npt.NDArray[np.uint8], bgr: bool) -> None:
    try:
        import cv2
    except ImportError as error:
        mend = f"Install it with: {how_to_install('emflow-device', 'edge')}"
        raise Problem(f"OpenCV, which writes the pictures, is not available: {error}", mend=mend) from error
    in_order = pixels if bgr or pixels.shape[2] == 1 else pixels[:, :, ::-1]
    done, data = cv2.imencode(".png", in_order)
    if not done:
        raise Problem("OpenCV cannot write this picture as PNG", where=str(path))
    path.write_bytes(data.tobytes())


def _write_file(path: Path, write: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    return path


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.:-]", "_", text)[:100]
