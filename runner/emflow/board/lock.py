"""The lock file of a board: which wheels it gets, with their SHA-256, in the format of PEP 751.

It lies beside the workflow and belongs into version control. Each package has exactly the wheel that fits the board.
What the lock was made for stands under `[tool.emflow]`, so that a stale one is found without a network. The same
packages give the same text: it has no times, and of addresses nothing that is secret.

https://packaging.python.org/en/latest/specifications/pylock-toml/
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from emflow.board.figures import MACHINES, BoardFigures
from emflow.json_text import to_json
from emflow.problems import Problem
from emflow.workflow.model import Workflow
from emflow.workflow.source.safe_open import read_text

MAX_LOCK_BYTES = 1024 * 1024
LOCK_VERSION = "1.0"
MADE_AGAIN = "Run `emflow lock`, and commit the file that it writes."

_FIGURES = ("architecture", "python", "glibc", "packages")
"""The figures of a board on which the choice of its packages depends, beside those in `requirements`."""
_WHEEL = re.compile(r"[A-Za-z0-9._]+-[A-Za-z0-9._!+]+(-[0-9][A-Za-z0-9_]*)?(-[A-Za-z0-9._]+){3}\.whl")
_SHA256 = re.compile("[0-9a-f]{64}")
_NAME = re.compile("[a-z0-9]+(-[a-z0-9]+)*")
_VERSION = re.compile(r"[A-Za-z0-9.!+_-]{1,64}")
_HEAD = """\
# The Python packages of a board. Made by `emflow lock`, which keeps these versions as long as they fit;
# `emflow lock --upgrade` takes the newest ones.
"""


@dataclass(frozen=True)
class Wheel:
    """A file of an index, or of a folder.

    Args:
        sha256: in hexadecimal.
        size: bytes; 0 where it is not known.
        url: its address, without credentials; empty where it is in a folder.
        path: of a folder's file, from the lock's folder.
    """

    name: str
    sha256: str
    size: int = 0
    url: str = ""
    path: str = ""


@dataclass(frozen=True)
class LockedPackage:
    """A distribution in one version, with the wheel that fits the board."""

    name: str
    version: str
    wheel: Wheel


@dataclass(frozen=True)
class Lock:
    """What a board gets.

    Args:
        architecture, python, glibc, packages: the board's figures, as in `BoardFigures`.
        requirements: what was asked for, as `device_requirements` gives it.
        provides: what the image brings, which is not among the packages.
        installer: pip, in a version that runs on the board's Python; None where nothing is to be installed.
    """

    architecture: str
    python: str
    glibc: str
    packages: str
    requirements: tuple[str, ...]
    provides: Mapping[str, str] = field(default_factory=dict)
    locked: tuple[LockedPackage, ...] = ()
    installer: LockedPackage | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what is installed and for which board, in hexadecimal: the name of the folder on the device."""
        content = {
            **{name: getattr(self, name) for name in _FIGURES},
            "provides": dict(self.provides),
            "requirements": list(self.requirements) if self.packages == "image" else [],
            "wheels": sorted([each.wheel.name, each.wheel.sha256] for each in self.locked),
        }
        return hashlib.sha256(to_json(content, sort_keys=True).encode()).hexdigest()

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """Every file that has to be fetched."""
        return tuple(each.wheel for each in (*self.locked, *([self.installer] if self.installer else ())))

    def text(self) -> str:
        """The lock file."""
        machine = MACHINES[self.architecture]
        where = f"sys_platform == 'linux' and platform_machine == '{machine}' and python_version == '{self.python}'"
        lines = [
            _HEAD + f"lock-version = {_toml(LOCK_VERSION)}",
            f"environments = [{_toml(where)}]",
            f"requires-python = {_toml(f'=={self.python}.*')}",
            f"created-by = {_toml('emflow')}",
            *([] if self.locked else ["packages = []"]),
        ]
        for package in sorted(self.locked, key=lambda each: each.name):
            lines += ["", "[[packages]]", *_package_lines(package)]
        lines += ["", "[tool.emflow]", *(f"{name} = {_toml(getattr(self, name))}" for name in _FIGURES)]
        lines += ["requirements = [", *(f"    {_toml(each)}," for each in self.requirements), "]"]
        lines += ["", "[tool.emflow.provides]"] if self.provides else []
        lines += [f"{_toml(name)} = {_toml(version)}" for name, version in sorted(self.provides.items())]
        lines += ["", "[tool.emflow.installer]", *_package_lines(self.installer)] if self.installer else []
        return "\n".join(lines) + "\n"


def lock_path(workflow: Workflow, board: BoardFigures) -> Path:
    """The lock file of a workflow's board, beside the workflow; it need not exist."""
    return Path(workflow.folder, f"pylock.{board.name}.toml" if board.name else "pylock.toml")


def read_lock(path: Path) -> Lock:
    """A lock file.

    Raises:
        Problem: there is none, or it is no lock of emflow.
    """
    try:
        return parse(read_text(path, MAX_LOCK_BYTES), str(path))
    except FileNotFoundError:
        raise Problem("there is no lock file of the board's packages", where=str(path), mend=MADE_AGAIN) from None
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise Problem(f"cannot be read: {why}", where=str(path)) from None


def parse(text: str, where: str) -> Lock:
    """The content of a lock file.

    Raises:
        Problem: it is no lock of emflow.
    """
    try:
        return _parsed(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"misses {error}" if isinstance(error, KeyError) else str(error)
        raise Problem(f"is no lock file of emflow: {why}", where=where, mend=MADE_AGAIN) from None


def differences(locked: Lock, wanted: Lock) -> Iterator[str]:
    """What has to change in one lock to become the other, a sentence each. Where a file is, makes no difference."""
    yield from stale(locked, wanted)
    before = {each.name: each for each in locked.locked}
    after = {each.name: each for each in wanted.locked}
    for name in sorted(before.keys() | after.keys()):
        yield from _package_difference(name, before.get(name), after.get(name))
    if locked.installer or wanted.installer:
        yield from _package_difference("pip (for the installation)", locked.installer, wanted.installer)


def stale(locked: Lock, wanted: Lock) -> Iterator[str]:
    """What a lock was made for, and is different now, a sentence each; without looking at its packages."""
    for name in _FIGURES:
        if getattr(locked, name) != getattr(wanted, name):
            yield f"edge.board.{name}: locked for {getattr(locked, name)}, the board has {getattr(wanted, name)}"
    for name in sorted(locked.provides.keys() | wanted.provides.keys()):
        before, after = locked.provides.get(name, "nothing"), wanted.provides.get(name, "nothing")
        if before != after:
            yield f"edge.board.provides.{name}: locked for {before}, the board has {after}"
    for requirement in sorted(set(wanted.requirements) - set(locked.requirements)):
        yield f"the device needs {requirement}, which the lock was not made for"
    for requirement in sorted(set(locked.requirements) - set(wanted.requirements)):
        yield f"the lock was made for {requirement}, which the device no longer needs"


def made_for(board: BoardFigures, requirements: Iterable[str]) -> Lock:
    """A lock without packages: what one for this board is compared with."""
    figures = {name: getattr(board, name) for name in _FIGURES}
    return Lock(**figures, requirements=tuple(requirements), provides=dict(board.provides))


def keep_addresses(lock: Lock, before: Lock, beside: Path = Path()) -> Lock:
    """A lock with the addresses that the one before has for the same files: another mirror is no change.

    A path is kept as long as a file is there. One that leaves the lock's folder is that of somebody's machine, so it
    gives way to an address of the index; and an address gives way to a path, which was asked for.

    Args:
        beside: the folder of the lock file.
    """
    known = {each.sha256: each for each in before.wheels}

    def kept(package: LockedPackage) -> LockedPackage:
        new = package.wheel
        old = known.get(new.sha256, new)
        if old.path:
            travels = not old.path.startswith(("/", "../"))
            keeps = (beside / old.path).is_file() and (travels or bool(new.path))
        else:
            keeps = bool(new.url)
        return replace(package, wheel=old if keeps else new)

    installer = kept(lock.installer) if lock.installer else None
    return replace(lock, locked=tuple(map(kept, lock.locked)), installer=installer)


def without_credentials(url: str) -> str:
    """An address without user, password, query and fragment: tokens of private indexes are in any of them."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _package_difference(name: str, before: LockedPackage | None, after: LockedPackage | None) -> Iterator[str]:
    if before is None and after is not None:
        yield f"{name}: {after.version} is missing"
    elif after is None and before is not None:
        yield f"{name}: {before.version} is not needed"
    elif before and after and before.version != after.version:
        yield f"{name}: locked is {before.version}, needed {after.version}"
    elif before and after and before.wheel.name != after.wheel.name:
        yield f"{name}: locked is {before.wheel.name}, needed {after.wheel.name}"
    elif before and after and before.wheel.sha256 != after.wheel.sha256:
        yield f"{name}: {after.wheel.name} has another SHA-256 than the lock says"


def _package_lines(package: LockedPackage) -> Iterator[str]:
    wheel = package.wheel
    yield f"name = {_toml(package.name)}"
    yield f"version = {_toml(package.version)}"
    place = f"url = {_toml(wheel.url)}" if wheel.url else f"path = {_toml(wheel.path)}"
    size = f", size = {wheel.size}" if wheel.size else ""
    hashes = f"hashes = {{ sha256 = {_toml(wheel.sha256)} }}"
    yield "wheels = ["
    yield f"    {{ name = {_toml(wheel.name)}, {place}{size}, {hashes} }},"
    yield "]"


def _toml(text: str) -> str:
    """A basic string of TOML; JSON's escapes are among those of TOML."""
    return to_json(text)


def _parsed(found: Mapping[str, Any]) -> Lock:
    if found["lock-version"] != LOCK_VERSION:
        raise ValueError(f"its lock-version is {found['lock-version']!r}, and {LOCK_VERSION} is known")
    ours = found["tool"]["emflow"]
    for name in _FIGURES:
        if not isinstance(ours[name], str):
            raise ValueError(f"tool.emflow.{name} is no text")
    if ours["architecture"] not in MACHINES:
        raise ValueError(f"the architecture {ours['architecture']!r} is not known")
    installer = ours.get("installer")
    return Lock(
        **{name: ours[name] for name in _FIGURES},
        requirements=tuple(map(str, ours["requirements"])),
        provides=dict(sorted(ours.get("provides", {}).items())),
        locked=tuple(map(_parsed_package, found["packages"])),
        installer=_parsed_package(installer) if installer else None,
    )


def _parsed_package(found: Mapping[str, Any]) -> LockedPackage:
    name, version, (wheel,) = found["name"], found["version"], found["wheels"]
    file, digest, size = wheel["name"], wheel["hashes"]["sha256"], wheel.get("size", 0)
    for text, pattern in ((name, _NAME), (version, _VERSION), (file, _WHEEL), (digest, _SHA256)):
        if not pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not valid")
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"{size!r} is no number of bytes")
    url, path = str(wheel.get("url", "")), str(wheel.get("path", ""))
    if bool(url) == bool(path) or (url and urlsplit(url).scheme not in ("https", "http")):
        raise ValueError(f"{file} has neither an address nor a path, or both")
    return LockedPackage(name, version, Wheel(file, digest, size, url, path))
