"""The Python of the virtual core: what a board has, and nothing else of the installation that runs emflow.

A component that lacks a package has to fail here as it would on a board. So components get a virtual environment of
their own, with what emflow-device's extra `edge` needs. What takes the place of AWS's Edge Manager agent, which is a
program without needs, brings its packages itself, in folders that only its recipe names.

The packages are those that are installed beside emflow, in the same versions: they are linked into a folder in the
user's cache (copied where that is not possible), once for each set of versions. This needs no network. A component may
install more with pip: that goes into the environment of this device, and is removed with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from emflow.problems import Problem
from emflow_emulator.core.layout import Layout
from emflow_schema.installation import how_to_install

DEVICE = "emflow-device"
COMPONENTS = (f"{DEVICE}[edge]",)
"""Requirements whose packages all components can import; our distribution itself excepted."""
AGENT = (f"{DEVICE}[agent]",)
"""Those of the agent."""
AGENT_IF_INSTALLED = (f"{DEVICE}[onnx,signing]", "boto3")
"""Those that the agent can do without."""
AGENT_CODE = ("emflow_agent", "emflow_proto", "emflow_schema")

_MOST = 8
"""Folders of packages in the cache at most; each device uses two. Those that were not used for the longest go first."""
_PIP = """#!/bin/sh
exec "$(dirname "$0")/python3" -P -m pip "$@"
"""
"""-P: a program named pip does not search the current folder for modules."""


def make(layout: Layout) -> Path:
    """Make the device's Python; returns the folder with `python3`.

    Raises:
        Problem: a package is not installed, or a folder cannot be made.
    """
    components = _closure(COMPONENTS)
    agent = _closure(AGENT) | _closure(AGENT_IF_INSTALLED, optional=True)
    try:
        own = {name: each for name, each in agent.items() if name not in components}
        pip = _closure(("pip",), optional=True)
        _environment(layout, _stored((components | pip).values(), layout))
        layout.agent_packages.unlink(missing_ok=True)
        layout.agent_packages.symlink_to(_stored(own.values(), layout))
        for package in AGENT_CODE:
            shutil.copytree(_folder_of(package), layout.agent / package, dirs_exist_ok=True)
    except OSError as error:
        raise Problem(
            f"cannot make the Python of the core device: {error.strerror or error}",
            where=str(error.filename or layout.python),
        ) from error
    return layout.python / "bin"


def _environment(layout: Layout, packages: Path) -> None:
    """A virtual environment without packages of its own; it finds those in `packages`."""
    venv.EnvBuilder(symlinks=True, clear=True).create(layout.python)
    site_packages = next(layout.python.glob("lib/python*/site-packages"))
    (site_packages / "board.pth").write_text(f"{packages}\n")
    for name in ("pip", "pip3"):  # without them, a script would find those of this machine
        program = layout.python / "bin" / name
        program.write_text(_PIP)
        program.chmod(0o755)


def _closure(requirements: Iterable[str], *, optional: bool = False) -> dict[str, Distribution]:
    """The installed distributions that requirements need, directly or indirectly, by their normalized names.

    Args:
        optional: leave out what is not installed.

    Raises:
        Problem: one is not installed.
    """
    found: dict[str, Distribution] = {}
    waiting, seen = [Requirement(each) for each in requirements], set[str]()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), sorted(wanted.extras)
        if str((name, extras)) in seen:
            continue
        seen.add(str((name, extras)))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            if optional:
                continue
            mend = f"Install what it needs: {how_to_install('emflow-emulator')}"
            raise Problem(f"the core device's components need {name}, which is not installed", mend=mend) from None
        if name != DEVICE:  # components bring their own code
            found[name] = installed
        needs = [Requirement(each) for each in installed.requires or ()]
        waiting += [
            each
            for each in needs
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        ]
    return found


def _stored(distributions: Iterable[Distribution], layout: Layout) -> Path:
    """A folder with the files of these distributions: in the user's cache, or in the device's folder."""
    ordered = sorted(distributions, key=lambda each: each.name)
    records = [(each.name, each.version, _record(each)) for each in ordered]
    key = hashlib.sha256(repr((sys.version, sys.platform, records)).encode()).hexdigest()[:24]
    with contextlib.suppress(OSError):
        cache = _cache()
        folder = cache / key
        if not folder.is_dir():
            _fill(cache, folder, ordered)
            _remove_unused(cache, folder)
        os.utime(folder)
        return folder
    packages = layout.root / "board-packages"
    packages.mkdir(exist_ok=True)
    folder = packages / key
    if not folder.is_dir():
        _fill(packages, folder, ordered)
    return folder


def _cache() -> Path:
    """The folder of emflow in the user's cache.

    Raises:
        OSError: it cannot be made, or others may write into it.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if base.startswith("/") else Path("~/.cache").expanduser()
    cache = home / "emflow" / "board-packages"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = cache.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(f"others may write into {cache}")
    return cache


def _fill(parent: Path, folder: Path, distributions: Iterable[Distribution]) -> None:
    """Make the folder in one step: another device that starts at the same time finds all of it, or nothing."""
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=parent))
    try:
        for each in distributions:
            for path in each.files or ():
                # Not its programs, and not what it adds to the path: those are for the installation beside emflow.
                source = Path(str(each.locate_file(path)))
                if ".." not in path.parts and not path.is_absolute() and path.suffix != ".pth" and source.is_file():
                    target = fresh / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link(source, target)
        fresh.rename(folder)
    except OSError:
        if not folder.is_dir():  # of another device
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except FileExistsError:
        return  # two distributions may have the same file of a namespace
    except OSError:
        shutil.copy2(source, target)


def _record(each: Distribution) -> str:
    """The list of a distribution's files with their digests.

    Raises:
        Problem: its installer has not written one.
    """
    record = each.read_text("RECORD")
    if record is None:
        raise Problem(
            f"{each.name} {each.version} was installed without a list of its files",
            mend=f"Use a virtual environment for emflow: python3 -m venv …, then {how_to_install('emflow-emulator')}",
        )
    return record


def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        mend = f"Install it with: {how_to_install('emflow-device')}"
        raise Problem(f"the package {package} is not installed", mend=mend)
    return Path(spec.submodule_search_locations[0])


def _remove_unused(cache: Path, but: Path) -> None:
    with contextlib.suppress(OSError):  # of another device that removes the same
        others = sorted((each for each in cache.iterdir() if each != but), key=lambda each: each.stat().st_mtime)
        for folder in others[: -(_MOST - 1)]:
            shutil.rmtree(folder, ignore_errors=True)
