"""Component versions (Semantic Versioning 2.0.0) and the version requirements between them (npm ranges).

The libraries `semver` and `node-semver` decide; this module says where Greengrass differs, and loads them only where
they are needed. `emflow validate` sees `1.2.3` and `>=1.0.0 <2.0.0` nearly always, and loading both libraries takes a
tenth of its time, so these two forms are recognised here.

Where Greengrass (semver4j in its nucleus) differs from node-semver in strict mode:

- `==1.2.3` means `=1.2.3`. The nucleus itself writes it for the components that a deployment names.
- A comma between comparators counts as a blank: `>=1.0.0, <2.0.0`.

Build metadata does not count in ranges, as SemVer says: `1.0.0+a` and `1.0.0+b` are the same to `>=1.0.0` and to
`=1.0.0`. But both can be component versions, and a deployment names one of them: `==1.0.0+a` is that one only.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semver import Version

_NUMBERS = r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)){2}"
_PLAIN_VERSION = re.compile(_NUMBERS)
_BUILD = re.compile(r"={0,2} *(?P<version>[^\s<>=~^|,*+]+\+[0-9A-Za-z.-]+)")
_PLAIN_REQUIREMENT = re.compile(rf"(?:[<>]=?|=)?{_NUMBERS}(?: (?:[<>]=?|=)?{_NUMBERS})*")


def parse_version(text: str) -> Version:
    """A version that compares as SemVer says. Raises ValueError when `text` is none."""
    from semver import Version

    try:
        return Version.parse(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a semantic version such as 1.0.0") from None


def is_version(text: str) -> bool:
    """Whether a text is a semantic version: three numbers, perhaps with a pre-release and build metadata."""
    if _PLAIN_VERSION.fullmatch(text):
        return True
    if not text[:1].isdigit():  # `auto`, `latest`
        return False
    from semver import Version

    return Version.is_valid(text)


def sort_key(text: str) -> tuple[bool, Any]:
    """For sorting versions from the oldest to the newest; a text that is no version comes before all that are."""
    return (True, parse_version(text)) if is_version(text) else (False, text)


def satisfies(version: str, requirement: str) -> bool:
    """Whether a version fits a requirement such as `>=1.0.0 <2.0.0`, `~1.2`, `^1.0.0`, `=1.0.0 || =2.0.0` or `*`.

    A pre-release fits only where the requirement names a pre-release of the same version, and a build only where it
    names no other one.

    Raises:
        ValueError: the version or the requirement cannot be read.
    """
    build = _BUILD.fullmatch(requirement.strip())
    if build and is_version(build["version"]):
        return str(parse_version(version)) == build["version"]
    return bool(_range(requirement).test(str(parse_version(version))))


def check_requirement(requirement: str) -> None:
    """Raises ValueError when a requirement cannot be read."""
    if not _PLAIN_REQUIREMENT.fullmatch(requirement):
        _range(requirement)


@lru_cache(maxsize=256)
def _range(requirement: str) -> Any:
    from nodesemver import make_range

    try:
        # Greengrass' two differences, as npm writes them.
        return make_range(re.sub(r"==(?!=)", "=", requirement.replace(",", " ")), False)
    except ValueError:
        raise ValueError(f"{requirement!r} is not a version requirement such as >=1.0.0 <2.0.0") from None
