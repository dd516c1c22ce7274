"""The Python of the virtual core: what a board has, and nothing else of the installation that runs emflow.

A component that lacks a package has to fail here as it would on a board. So components get a virtual environment of
their own, with what emflow-device's extra `edge` needs. What takes the place of AWS's Edge Manager agent, which is a
program without needs, brings its packages itself, in folders that only its recipe names.

The packages are those that are installed beside emflow, in the same versions: they are copied into a folder in the
user's cache, once for each set of versions. This needs no network. They are not linked: a component that writes into a
file of a package would change emflow's own installation. Such a change, like a file that is missing, is found at the
next start, and the packages are copied again. A component may install more with pip: that goes into the environment of
this device, and is removed with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import venv
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from emflow.json_text import from_json, to_json
from emflow.problems import Problem
from emflow.user_cache import cache_folder
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
_LIST = "emflow-files.json"
"""The list of the files in a folder of packages, as they were copied."""
_PIP = """#!/bin/sh
exec "$(dirname "$0")/python3" -P -m pip "$@"
"""
"""-P: a program named pip does not search the current folder for modules."""


def make(layout: Layout, in_use: contextlib.ExitStack) -> Path:
    """Make the device's Python; returns the folder with `python3`.

    Args:
        in_use: keeps the packages in the cache until it is closed; no other device removes them before.

    Raises:
        Problem: a package is not installed, or a folder cannot be made.
    """
    components = _closure(COMPONENTS)
    agent = _closure(AGENT) | _closure(AGENT_IF_INSTALLED, optional=True)
    try:
        own = {name: each for name, each in agent.items() if name not in components}
        pip = _closure(("pip",), optional=True)
        _environment(layout, _stored((components | pip).values(), layout, in_use))
        layout.agent_packages.unlink(missing_ok=True)
        layout.agent_packages.symlink_to(_stored(own.values(), layout, in_use))
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


def _stored(distributions: Iterable[Distribution], layout: Layout, in_use: contextlib.ExitStack) -> Path:
    """A folder with the files of these distributions: in the user's cache, or in the device's folder."""
    ordered = sorted(distributions, key=lambda each: each.name)
    records = [(each.name, each.version, _record(each)) for each in ordered]
    key = hashlib.sha256(repr((sys.version, sys.platform, records)).encode()).hexdigest()[:24]
    with contextlib.suppress(OSError):
        cache = cache_folder("board-packages")
        folder = _intact(cache, key, ordered)
        while not _keep(folder, in_use):  # removed at this moment, because others were used later
            folder = _intact(cache, key, ordered)
        os.utime(folder)
        _remove_unused(cache)
        return folder
    packages = layout.root / "board-packages"
    packages.mkdir(mode=0o755, exist_ok=True)
    return _intact(packages, key, ordered)


def _keep(folder: Path, in_use: contextlib.ExitStack) -> bool:
    """Keep a folder until `in_use` is closed; False when it has gone."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        in_use.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return os.path.lexists(folder) and os.path.samestat(os.fstat(descriptor), folder.stat())
    return False


def _intact(parent: Path, name: str, distributions: Iterable[Distribution]) -> Path:
    """The folder with the distributions' files; it is made when it is not there, or its files have changed."""
    folder = parent / name
    if not _is_intact(folder):
        with _alone(parent):
            if not _is_intact(folder):  # another device may have made it
                _fill(parent, folder, distributions)
    return folder


def _is_intact(folder: Path) -> bool:
    """Whether the files are those that were copied, by names, sizes and times: their content is not read."""
    try:
        return bool(from_json((folder / _LIST).read_bytes()) == _files(folder))
    except (OSError, ValueError):
        return False


def _files(folder: Path) -> dict[str, list[int]]:
    """Size in bytes and time of change in ns of each file. Compiled ones are left out: Python writes them anew."""
    found = {}
    start = len(f"{folder}/")
    for place, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each != "__pycache__"]
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118 a Path for each of some thousand files takes longer
            status = os.lstat(path)
            found[path[start:]] = [status.st_size, status.st_mtime_ns]
    found.pop(_LIST, None)
    return found


@contextlib.contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """Wait until no other device makes packages in this folder."""
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fill(parent: Path, folder: Path, distributions: Iterable[Distribution]) -> None:
    """Make the folder anew. A device that uses the old one at this moment finds either that or the new one."""
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=parent))
    try:
        packages = fresh / "packages"
        packages.mkdir(mode=0o755)
        made = {packages}
        for each in distributions:
            for path in each.files or ():
                # Not its programs, and not what it adds to the path: those are for the installation beside emflow.
                source = Path(str(each.locate_file(path)))
                if ".." not in path.parts and not path.is_absolute() and path.suffix != ".pth" and source.is_file():
                    target = packages / path
                    if target.parent not in made:
                        target.parent.mkdir(parents=True, exist_ok=True)
                        made.add(target.parent)
                    _copy(source, target)
        (packages / _LIST).write_text(to_json(_files(packages)))
        if folder.exists():
            folder.rename(fresh / "old")
        packages.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its time, which its compiled file names, and its mode, but writable by its owner alone."""
    shutil.copyfile(source, target)
    status = source.stat()
    target.chmod(status.st_mode & 0o755 | 0o600)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


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


def _remove_unused(cache: Path) -> None:
    """Remove what was not used for the longest, but for what a running device keeps."""
    with contextlib.suppress(OSError):  # of another device that removes the same
        for folder in sorted(cache.iterdir(), key=lambda each: each.stat().st_mtime)[:-_MOST]:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            except BlockingIOError:
                continue
            finally:
                os.close(descriptor)
