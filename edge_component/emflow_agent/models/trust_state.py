"""What the agent remembers about trust over restarts: the newest time that it has seen, and the floors of models.

A floor is the lowest version of a model that is loaded. It comes from a signed package, and counts from when the
application has said that the model works (`emflow_agent.calls.service.AgentService.ConfirmModel`); until then, going
back is free.

Boards without a battery start with a clock that is wrong. A clock older than the newest time that was seen is known to
be wrong, and what is limited in time is loaded with a warning then.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from emflow_agent.errors import CannotLoad, CannotStart
from emflow_schema.json_text import json_text
from emflow_schema.model_manifest import (
    NAME,
    ModelManifest,
    is_version,
    parse_time,
    precedence,
    read_json,
    written,
)

log = logging.getLogger(__name__)

STATE = "model-trust.json"
MAX_STATE_BYTES = 1 << 20
FORMAT = 1

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Why a folder cannot be made on a disk that takes nothing, where another folder would not help either."""

EARLIEST = datetime(2026, 1, 1, tzinfo=timezone.utc)
"""Before this software was made; a clock that is older is wrong, whatever was seen."""


class NotStored(CannotLoad):
    """The state cannot be written."""


class DamagedState(CannotLoad):
    """The state is not what this agent writes."""


@dataclass(frozen=True)
class Remembered:
    """newest: the newest time that was seen, in UTC. floors: the lowest version that is loaded, by the model's name."""

    newest: datetime = EARLIEST
    floors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Clock:
    """now: in UTC. newest: the newest time that was seen before."""

    now: datetime
    newest: datetime

    @property
    def is_right(self) -> bool:
        """Whether `now` can be the present."""
        return self.now >= self.newest


class TrustState:
    """The state in a folder, which several agents may share. Thread-safe.

    Args:
        folder: made when it is first needed; None keeps the state in memory only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._in_memory = Remembered()

    def prepare(self) -> None:
        """Make the folder, and note the time. A disk that takes nothing is a warning, and a damaged file too: models
        that nobody confirms need no write, and packages are refused until the damaged file is removed.

        Raises:
            CannotStart: the folder cannot be used, or the file cannot be read.
        """
        try:
            self.note_time()
        except (NotStored, DamagedState) as problem:
            log.warning("TrustState: %s", problem)
        except CannotLoad as problem:
            raise CannotStart(f"TrustState: {problem}") from None

    def clock(self) -> Clock:
        """
        Raises:
            CannotLoad: the state cannot be read.
        """
        return Clock(datetime.now(timezone.utc), self._read().newest)

    def note_time(self) -> None:
        """Remember the time, if it is the newest so far.

        Raises:
            CannotLoad: the state cannot be read.
            NotStored: it cannot be written.
        """
        now = datetime.now(timezone.utc).replace(microsecond=0)
        with self._changing() as state:
            if now > state.newest:
                self._write(replace(state, newest=now))

    def check_floor(self, manifest: ModelManifest) -> None:
        """
        Raises:
            CannotLoad: the version is below the floor of this model, or the state cannot be read.
        """
        floor = self._read().floors.get(manifest.name, "")
        if not floor or precedence(manifest.version) >= precedence(floor):
            return
        lowers = manifest.lowers_floor
        if lowers and precedence(floor) <= precedence(lowers):
            return
        mend = (
            f"lower the floor with a package signed by emflow package --floor {manifest.version} --lowers-floor {floor}"
        )
        raise CannotLoad(f"version {manifest.version} of {manifest.name} is below this device's floor {floor}; {mend}")

    def confirm(self, manifest: ModelManifest) -> str:
        """The model works: its floor counts from now on. A floor only rises, unless the package lowers it.

        Returns:
            The floor of this model; empty for none.

        Raises:
            CannotLoad: the state cannot be read or written.
        """
        with self._changing() as state:
            floor = state.floors.get(manifest.name, "")
            rises = not floor or precedence(manifest.floor or "0.0.0-0") > precedence(floor)
            lowers = bool(manifest.lowers_floor and floor) and precedence(floor) <= precedence(manifest.lowers_floor)
            if manifest.floor and manifest.floor != floor and (rises or lowers):
                self._write(replace(state, floors={**state.floors, manifest.name: manifest.floor}))
                log.info(
                    "the floor of model %s is %s now; it was %s", manifest.name, manifest.floor, floor or "not set"
                )
                floor = manifest.floor
            return floor

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Remembered]:
        """The state, which nobody else changes meanwhile."""
        with self._lock:
            if self._folder is None:
                yield self._in_memory
                return
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                kind = NotStored if error.errno in _FULL else CannotLoad
                raise kind(f"the folder {self._folder} cannot be used: {error.strerror}") from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield self._read()
            finally:
                os.close(descriptor)

    def _read(self) -> Remembered:
        if self._folder is None:
            return self._in_memory
        file = self._folder / STATE
        try:
            with file.open("rb") as stream:
                content = stream.read(MAX_STATE_BYTES + 1)
        except FileNotFoundError:
            return Remembered()
        except OSError as error:
            raise CannotLoad(f"{file} cannot be read: {error.strerror}") from None
        try:
            return _parsed(content)
        except ValueError as error:
            # It is written whole or not at all, so this is not what a power cut leaves behind.
            raise DamagedState(
                f"{file} is damaged: {error}; remove it, and the floors of this device's models are gone with it"
            ) from None

    def _write(self, state: Remembered) -> None:
        if self._folder is None:
            self._in_memory = state
            return
        document = {"format": FORMAT, "newestTime": written(state.newest), "floors": dict(sorted(state.floors.items()))}
        try:
            _replace(self._folder / STATE, json_text(document, indent=2, ascii_only=True).encode() + b"\n")
        except OSError as error:
            raise NotStored(f"{self._folder / STATE} cannot be written: {error.strerror}") from None


def _parsed(content: bytes) -> Remembered:
    """Raises: ValueError."""
    if len(content) > MAX_STATE_BYTES:
        raise ValueError(f"it has more than {MAX_STATE_BYTES} bytes")
    document = read_json(content)
    floors, newest = document.get("floors"), document.get("newestTime")
    if document.get("format") != FORMAT or not isinstance(floors, dict) or not isinstance(newest, str):
        raise ValueError("it is not what this agent writes")
    for name, floor in floors.items():
        if not NAME.fullmatch(name[:256]) or not isinstance(floor, str) or not is_version(floor):
            raise ValueError("it has a floor that is no version")
    return Remembered(max(parse_time(newest), EARLIEST), floors)


def _replace(file: Path, content: bytes) -> None:
    """Write a file whole or not at all, also when the power fails. Raises: OSError."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def default_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the state is when no folder is named: systemd's StateDirectory, the work folder of a Greengrass component,
    or a folder of the own user."""
    if environ.get("STATE_DIRECTORY"):
        return Path(environ["STATE_DIRECTORY"].partition(":")[0])
    if "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT" in environ:
        return Path.cwd()
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "emflow"
    try:
        home = Path.home() if os.geteuid() else None
    except (RuntimeError, KeyError):  # a user without one, as containers have; KeyError before Python 3.10
        home = None
    return home / ".local" / "state" / "emflow" if home else Path("/var/lib/emflow")
