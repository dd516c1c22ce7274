"""Where modules are searched for: our code, the standard library, the installed packages, then the image's packages.

So the standard library is never hidden by a package, and a package of the image is found only where none was installed:
those that the workflow leaves to the image are not among the installed ones. With `bundled`, the image's packages are
not searched at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

_ZIP = re.compile(r"python3\d+\.zip")


def search_path(before: Sequence[str], packages: str, mode: str) -> list[str]:
    """The new `sys.path`.

    Args:
        before: `sys.path`, as Python made it.
        packages: the folder of the installed packages.
        mode: `bundled`, `both`, or `image`, where nothing is installed.
    """
    standard = [number for number, entry in enumerate(before) if _is_standard(entry)]
    first, last = (standard[0], standard[-1] + 1) if standard else (len(before), len(before))
    of_image = [] if mode == "bundled" else list(before[last:])
    installed = [] if mode == "image" else [packages]
    return [*before[:first], *before[first:last], *installed, *of_image]


def _is_standard(entry: str) -> bool:
    path = Path(entry)
    return path == Path(os.__file__).parent or path.name == "lib-dynload" or bool(_ZIP.fullmatch(path.name))
