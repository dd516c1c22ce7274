"""Which files of a folder or an archive are a model: decided here, for the host and for the device."""

from __future__ import annotations

from collections.abc import Iterable

TFLITE, ONNX = ".tflite", ".onnx"
ARCHIVES = (".tar.gz", ".tgz")
"""What Neo takes."""
NEO_LIBRARY = "libdlr.so"
"""The runtime that a model compiled by Neo brings with it."""

# macOS stores a file's attributes beside it: as `._name` in archives and on other file systems (AppleDouble,
# https://www.rfc-editor.org/rfc/rfc1740), in `__MACOSX/` in zips; and how a folder is shown in `.DS_Store`.
_MAC_PREFIX, _MAC_NAMES = "._", ("__MACOSX", ".DS_Store")


def is_left_by_macos(path: str) -> bool:
    """Whether macOS made this file by itself; it is never the model, whatever its name ends in.

    path: in a folder or an archive, with slashes between its parts.
    """
    return any(part.startswith(_MAC_PREFIX) or part in _MAC_NAMES for part in path.split("/"))


def without_files_of_macos(paths: Iterable[str]) -> list[str]:
    """These paths without the files that macOS made, in the same order."""
    return [path for path in paths if not is_left_by_macos(path)]


def is_tflite(path: str) -> bool:
    """Whether the name is that of a TensorFlow Lite model, in capitals or not."""
    return _ends(path, TFLITE)


def is_onnx(path: str) -> bool:
    """Whether the name is that of an ONNX model, in capitals or not."""
    return _ends(path, ONNX)


def is_archive(path: str) -> bool:
    """Whether the name is that of an archive that Neo takes, in capitals or not."""
    return any(_ends(path, ending) for ending in ARCHIVES)


def _ends(path: str, ending: str) -> bool:
    return path.lower().endswith(ending) and not is_left_by_macos(path)
