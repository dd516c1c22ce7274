"""Finds the versions that fit a board, through uv, which resolves for a platform that is not its own; pip does not.

What the image brings takes part as a wheel without content and without needs, in the version `1.26.4+image` that no
index has: so everything else is chosen to fit it, whether an index has this version for the board or not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from emflow.board.figures import MACHINES, BoardFigures
from emflow.board.lock import Lock, LockedPackage, Wheel, without_credentials
from emflow.problems import Problem
from emflow.workflow.redaction import without_passwords
from emflow_schema.installation import how_to_install

GLIBC = (17, 28, *range(31, 41))
"""The versions of glibc, 2.x, for which uv resolves."""
INSTALLER = "pip"
IMAGE = "image"
"""The local version that marks what the image brings."""

_PIP_VARIABLES = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_CERT": "SSL_CERT_FILE",
}
"""pip's settings that count where uv's own, and the older `UV_INDEX_URL` for the first, are not set."""
_OLD_NAMES = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
_UNREACHABLE = re.compile(
    r"Failed to fetch|error sending request|Could not connect|Request failed after|dns error|timed? ?out", re.IGNORECASE
)
_REFUSED = re.compile(r"\b(401 Unauthorized|403 Forbidden)\b")
_ADDRESS = re.compile(r"https?://[^\s`'\")]+")
_HINT = re.compile(r"^\s*hint:\s*(.*)", re.MULTILINE)
_WHEELS = re.compile(
    r"[Ww]heels (?:are available )?for `(?P<name>[\w.-]+)` \(v(?P<version>[^)]+)\) "
    r"(?:with|on) the following (?P<kind>Python ABI tags|Python implementation tags|platforms|platform tags): "
    r"(?P<tags>(?:`[^`]+`(?:, )?)+)"
)
"""What uv says about a package that has wheels, but none for this board."""
_NOISE = re.compile(r"^(error: )?No solution found when resolving dependencies:?( cause:)?\s*")


@dataclass(frozen=True)
class Resolution:
    """What was found for a board: its packages, without those of the image, and pip to install them with."""

    locked: tuple[LockedPackage, ...]
    installer: LockedPackage


def resolve(
    board: BoardFigures,
    requirements: Iterable[str],
    *,
    keep: Lock | None = None,
    wheels: Path | None = None,
    beside: Path = Path(),
) -> Resolution:
    """The packages of a board.

    Args:
        requirements: as `device_requirements` gives them.
        keep: versions of this lock are taken again where they fit.
        wheels: a folder of wheels in place of the index.
        beside: the folder of the lock file, from which paths into `wheels` start.

    Raises:
        Problem: uv is missing, the index cannot be reached, or nothing there fits the board.
    """
    with tempfile.TemporaryDirectory(prefix="emflow-lock-") as name:
        folder = Path(name)
        found = _run_uv(board, [*requirements, INSTALLER], folder, keep, wheels)
    packages = {canonicalize_name(each["name"]): each for each in found.get("packages", ())}
    unknown = sorted(board.provides.keys() - packages.keys())
    if unknown:
        needed = ", ".join(sorted(packages.keys() - {INSTALLER}))
        raise Problem(
            f"edge.board.provides: nothing on the device needs {', '.join(unknown)}",
            mend=f"Remove it, or write the name that the index has. Needed are: {needed}.",
        )
    tags = board_tags(board)
    chosen = {
        each: _package(each, packages[each], tags, board, beside)
        for each in sorted(packages.keys() - board.provides.keys())
    }
    installer = chosen.pop(canonicalize_name(INSTALLER))
    return Resolution(tuple(chosen.values()), installer)


def board_tags(board: BoardFigures) -> list[Tag]:
    """The tags of the wheels that run on a board, the best first."""
    machine, python = MACHINES[board.architecture], (3, int(board.python.partition(".")[2]))
    platforms = []
    for minor in range(int(board.glibc.partition(".")[2]), 4, -1):
        platforms.append(f"manylinux_2_{minor}_{machine}")
        legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}.get(minor)
        if legacy:
            platforms.append(f"{legacy}_{machine}")
    platforms.append(f"linux_{machine}")
    interpreter = f"cp{python[0]}{python[1]}"
    return [*cpython_tags(python, platforms=platforms), *compatible_tags(python, interpreter, platforms)]


def _package(name: str, found: Mapping[str, Any], tags: list[Tag], board: BoardFigures, beside: Path) -> LockedPackage:
    """A package of uv's answer, with the best of its wheels."""
    rank = {tag: number for number, tag in reversed(list(enumerate(tags)))}
    fitting = []
    for each in found.get("wheels", ()):
        wheel = _wheel(each, beside)
        try:
            _, _, build, tagged = parse_wheel_filename(wheel.name)
        except InvalidWheelFilename:
            continue
        ranks = [rank[tag] for tag in tagged if tag in rank]
        if ranks and wheel.sha256:
            fitting.append((min(ranks), [-number for number in build if isinstance(number, int)], wheel.name, wheel))
    if not fitting:
        names = ", ".join(sorted(_wheel(each, beside).name for each in found.get("wheels", ()))) or "none"
        raise Problem(
            f"there is no wheel of {name} {found['version']} for this board ({board.shown})",
            mend=f"Correct edge.board, or name the version that the image brings under provides. There are: {names}.",
        )
    return LockedPackage(name, str(found["version"]), min(fitting)[-1])


def _wheel(found: Mapping[str, Any], beside: Path) -> Wheel:
    address = str(found.get("url") or "")
    path = str(found.get("path") or "")
    if address.startswith("file:"):
        address, path = "", unquote(urlsplit(address).path)
    name = str(found.get("name") or unquote((address or path).rpartition("/")[2]))
    if path:
        path = os.path.relpath(path, beside.resolve())
    hashes = found.get("hashes") or {}
    return Wheel(name, str(hashes.get("sha256", "")), int(found.get("size") or 0), without_credentials(address), path)


def _run_uv(
    board: BoardFigures, requirements: list[str], folder: Path, keep: Lock | None, wheels: Path | None
) -> dict[str, Any]:
    """uv's answer, a lock as it writes one."""
    stubs = folder / "image"
    stubs.mkdir()
    for name, version in board.provides.items():
        _write_stub(stubs, name, version)
    constraints = [f"{name}=={version}+{IMAGE}" for name, version in board.provides.items()]
    (folder / "requirements.in").write_text("".join(f"{line}\n" for line in requirements))
    (folder / "constraints.txt").write_text("".join(f"{line}\n" for line in constraints))
    output = folder / "pylock.toml"
    if keep:
        output.write_text(keep.text())
    machine, minor = MACHINES[board.architecture], int(board.glibc.partition(".")[2])
    platform = f"{machine}-manylinux_2_{max((each for each in GLIBC if each <= minor), default=GLIBC[0])}"
    command = [
        *(_uv(), "pip", "compile", str(folder / "requirements.in"), "--output-file", str(output)),
        *("--format", "pylock.toml", "--python-platform", platform, "--python-version", board.python),
        *("--python", sys.executable, "--only-binary", ":all:", "--constraints", str(folder / "constraints.txt")),
        *("--find-links", str(stubs), "--no-header", "--color", "never", "--no-progress", "--quiet"),
    ]
    if wheels is not None:
        command += ["--no-index", "--find-links", str(wheels.resolve())]
    # Not in the user's folder: a pyproject.toml there has nothing to do with the board.
    done = subprocess.run(
        command, check=False, cwd=folder, env=_environment(os.environ), capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        raise _failure(board, done.stderr)
    return tomllib.loads(output.read_text(encoding="utf-8"))


def _write_stub(folder: Path, name: str, version: str) -> None:
    """A wheel that says that a distribution is there in a version, and needs nothing."""
    plain, full = name.replace("-", "_"), f"{version}+{IMAGE}"
    info = f"{plain}-{full}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {full}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: emflow\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{plain}-{full}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


def _uv() -> str:
    """The path of uv.

    Raises:
        Problem: it is not installed.
    """
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        mend = f"Install it with: {how_to_install('emflow-runner', 'lock')}"
        raise Problem("`emflow lock` needs uv, which is not installed", mend=mend)
    return found


def _environment(host: Mapping[str, str]) -> dict[str, str]:
    """uv's environment: the user's, with pip's settings where uv has none of its own. It never fetches a Python."""
    made = {**host, "UV_PYTHON_DOWNLOADS": "never"}
    for theirs, ours in _PIP_VARIABLES.items():
        if theirs in host and not {ours, _OLD_NAMES.get(ours, ours)} & host.keys():
            made[ours] = host[theirs]
    return made


def _failure(board: BoardFigures, output: str) -> Problem:
    """What uv said, in one sentence and one advice."""
    text = without_passwords(output)
    address, status = _ADDRESS.search(text), _REFUSED.search(text)
    where = without_credentials(address[0]) if address else ""
    if status:
        mend = "Check the user and password in UV_DEFAULT_INDEX or PIP_INDEX_URL, or in ~/.netrc."
        return Problem(f"the package index refuses access ({status[1]})", where=where, mend=mend)
    if _UNREACHABLE.search(text):
        mend = "Check the network and the proxy, name another index (UV_DEFAULT_INDEX), or give a folder with --wheels."
        return Problem("the package index cannot be reached", where=where, mend=mend)
    hints = " ".join(_HINT.findall(text))
    there = list(_WHEELS.finditer(" ".join(text.split())))  # some versions of uv break its lines
    if there:
        tags = "; ".join(f"{each['name']} {each['version']} for {_shown(each)}" for each in there)
        names = ", ".join(dict.fromkeys(each["name"] for each in there))
        return Problem(
            f"there is no wheel of {names} for this board ({board.shown})",
            mend=f"There are: {tags}. Correct edge.board, or name what the image brings under edge.board.provides.",
        )
    lines = [line.strip(" │╰─▶\N{MULTIPLICATION SIGN}") for line in text.splitlines()]
    reason = _NOISE.sub("", " ".join(line for line in lines if line and not line.startswith("hint:")))
    return Problem(f"no packages fit this board ({board.shown}): {reason}", mend=hints)


def _shown(found: re.Match[str]) -> str:
    """The tags of a hint for people: `Python 3.9, 3.10` for `cp39`, `cp310`."""
    tags = re.findall("`([^`]+)`", found["tags"])
    pythons = [re.fullmatch(r"cp3(\d+)", tag) for tag in tags]
    return "Python " + ", ".join(f"3.{each[1]}" for each in pythons if each) if all(pythons) else ", ".join(tags)
