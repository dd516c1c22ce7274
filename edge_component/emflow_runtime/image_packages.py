"""What the board's image brings: whether the packages are there that the workflow leaves to it, in these versions."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata

_RELEASE = re.compile(r"\d+(?:\.\d+)*")
_BOUND = re.compile(r"(>=|<=|==|!=|<|>|~=)\s*([0-9][0-9.]*)")
_MODULE_VERSION = (
    "import importlib, sys\nmodule = importlib.import_module(sys.argv[1])\nprint(getattr(module, '__version__', ''))\n"
)
_PATIENCE = 120.0
"""Seconds that the import of one package may take, on a slow board."""


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version: `(4, 10, 0)` for 4.10.0-dev. Empty when it begins with none."""
    found = _RELEASE.match(version.strip().lstrip("v"))
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def image_version(distribution: str, module: str) -> str | None:
    """The version of a distribution that the image has: as its metadata say, or its module.

    An image often has a module without metadata, such as cv2 or tflite_runtime.

    Returns:
        None when it cannot be imported; empty when it does not say its version.

    Raises:
        subprocess.TimeoutExpired: its import takes too long.
    """
    top = module.partition(".")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-c", _MODULE_VERSION, top],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PATIENCE,
    )
    if done.returncode:
        return None
    return installed_version(distribution) or (done.stdout.strip().splitlines() or [""])[-1]


def installed_version(distribution: str) -> str:
    """The version that the metadata on `sys.path` say; empty when there are none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def is_version(found: str, wanted: str) -> bool:
    """Whether a version is the one that the workflow names, which may leave out its last numbers."""
    numbers = release(wanted)
    return (release(found) + (0,) * len(numbers))[: len(numbers)] == numbers


def fits(found: str, requirement: str) -> bool:
    """Whether a version keeps the bounds of a requirement such as `numpy<2,>=1.24`."""
    have = release(found)
    for operator, text in _BOUND.findall(requirement):
        wanted = release(text)
        length = max(len(have), len(wanted))
        one, other = have + (0,) * (length - len(have)), wanted + (0,) * (length - len(wanted))
        kept = {
            ">=": one >= other,
            "<=": one <= other,
            "==": one == other,
            "!=": one != other,
            "<": one < other,
            ">": one > other,
            "~=": one >= other and have[: len(wanted) - 1] == wanted[:-1],
        }
        if not kept[operator]:
            return False
    return True


def name_of(requirement: str) -> str:
    """The distribution of a requirement."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def missing(
    provides: Mapping[str, str], requirements: Mapping[str, str], modules: Mapping[str, str], found: dict[str, str]
) -> Iterator[str]:
    """What the image lacks, a sentence each.

    Args:
        provides: distributions and the versions that the workflow names.
        requirements: distributions that have to be there besides, and their requirements.
        modules: the module of each distribution.
        found: is filled in: the version of each distribution that is there.
    """
    for name in sorted({*provides, *requirements}):
        try:
            version = image_version(name, modules.get(name, name.replace("-", "_")))
        except subprocess.TimeoutExpired:
            yield f"the import of the image's {name} did not end within {_PATIENCE:g} s"
            continue
        if version is None:
            yield f"the image has no {name}, which cannot be imported"
            continue
        found[name] = version
        wanted = provides.get(name)
        if wanted is not None and version and not is_version(version, wanted):
            yield f"the image has {name} {version}, and edge.board.provides says {wanted}"
        elif name in requirements and version and not fits(version, requirements[name]):
            yield f"the image has {name} {version}, and {requirements[name]} is needed"
