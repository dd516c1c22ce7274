"""Where things lie on a core device: the folders and files below its root."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from emflow.problems import Problem

_LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path on Linux (sun_path has 108, the last one is the end mark)."""

_NOT_IN_QUOTES = re.compile(r'[$"`\\\x00-\x1f\x7f]')
"""What a shell does not take as it is between double quotes, as recipes put paths into scripts."""


@dataclass(frozen=True)
class Layout:
    """The paths of a core device, as the nucleus lays them out below `/greengrass/v2`."""

    root: Path

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def greengrass_log(self) -> Path:
        return self.logs / "greengrass.log"

    def log(self, component: str) -> Path:
        return self.logs / f"{component}.log"

    def work(self, component: str) -> Path:
        return self.root / "work" / component

    @property
    def artifact_store(self) -> Path:
        return self.root / "packages" / "artifacts"

    def artifacts(self, component: str, version: str) -> Path:
        return self.artifact_store / component / version

    def unarchived(self, component: str, version: str) -> Path:
        return self.root / "packages" / "artifacts-unarchived" / component / version

    @property
    def configuration(self) -> Path:
        return self.root / "config" / "configuration.json"

    @property
    def socket(self) -> Path:
        return self.root / "ipc.socket"

    @property
    def root_ca(self) -> Path:
        return self.root / "rootCA.pem"

    def make(self) -> None:
        """Make the folders.

        Raises:
            Problem: the root cannot be made, lies too deep for a Unix socket in it, or has a name that breaks scripts.
        """
        odd = _NOT_IN_QUOTES.search(str(self.root))
        if odd:
            raise Problem(
                f"{str(self.root)!r} has {odd[0]!r} in it, which a shell does not take as it is, so the scripts of "
                "components would break",
                mend="Choose another folder; for temporary ones, set TMPDIR.",
            )
        too_long = len(os.fsencode(self.socket)) - _LONGEST_SOCKET
        if too_long > 0:
            raise Problem(
                f"{self.root} is too long a path for a core device: its socket {self.socket} is {too_long} bytes over "
                f"the {_LONGEST_SOCKET} that a Unix socket may have",
                mend="Choose a folder nearer to the root, such as one in /tmp.",
            )
        try:
            for folder in (self.logs, self.root / "work", self.root / "packages", self.configuration.parent):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Problem(f"cannot make the core device's folder {self.root}: {error.strerror}") from error
