"""The last configuration that worked, in a file, so that a process that is started with a broken one goes on with it.

A nucleus that validates a configuration before it deploys it still cannot know whether a model fits into memory, and
the lite nucleus neither validates nor goes back: there, a wrong configuration would leave a device without results.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emflow_schema.json_text import finite

log = logging.getLogger(__name__)

_FILE = "last-working-configuration.json"


@dataclass(frozen=True)
class WorkingConfiguration:
    """configuration: as it came from the deployment; label_lines: what its file of labels held, None without one.

    model: the files of the model that it worked with, as `Settings.accepted_with`; empty where they cannot be known.
    arrived: the digest of the last configuration that arrived while the component ran; empty without one.
    """

    configuration: Mapping[str, Any]
    label_lines: tuple[str, ...] | None = None
    model: str = ""
    arrived: str = ""


class LastWorking:
    """The file. Only its owner can read it: a stream's address may have a password.

    Args:
        folder: the component's work folder; None to keep nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / _FILE if folder is not None else None
        self._held: WorkingConfiguration | None = None

    @property
    def held(self) -> WorkingConfiguration | None:
        """What was read or saved last."""
        return self._held

    def read(self) -> WorkingConfiguration | None:
        """What was saved; None where there is nothing that can be read."""
        if self._path is None:
            return None
        self._remove_unfinished(self._path)
        try:
            held = json.loads(self._path.read_text(encoding="utf-8"))
            configuration, lines, model, arrived = (
                held[key] for key in ("configuration", "labels", "model", "arrived")
            )
            texts = [model, arrived, *(() if lines is None else lines)]
            if not isinstance(configuration, dict) or not all(isinstance(text, str) for text in texts):
                raise ValueError("it has another form")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            # Without the details of what was read, which may hold a password.
            log.warning(
                "the last configuration that worked cannot be read from %s: %s", self._path, type(error).__name__
            )
            return None
        self._held = WorkingConfiguration(configuration, None if lines is None else tuple(lines), model, arrived)
        return self._held

    def _remove_unfinished(self, path: Path) -> None:
        """Remove what a process that was killed while it wrote has left: it may hold a password."""
        try:
            for copy in path.parent.glob(f".{path.name}.*"):
                copy.unlink()
        except OSError as error:
            log.warning("a file that was not written to its end cannot be removed: %s", error)

    def save(self, working: WorkingConfiguration) -> None:
        """Save this one, unless it is there already. A file that cannot be written is logged, and stops nothing."""
        if self._path is None or working == self._held:
            return
        try:
            content = {
                "configuration": working.configuration,
                "labels": working.label_lines,
                "model": working.model,
                "arrived": working.arrived,
            }
            _write(self._path, content)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            log.warning("the configuration, which works, cannot be kept in %s: %s", self._path, error)
            return
        self._held = working


def digest(configuration: Mapping[str, Any]) -> str:
    """What tells a configuration from others, without its passwords."""
    return hashlib.sha256(json.dumps(finite(configuration), sort_keys=True, allow_nan=False).encode()).hexdigest()


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON so that the file has either the old content or the new one, whenever the power fails."""
    # Made with mode 0600.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
