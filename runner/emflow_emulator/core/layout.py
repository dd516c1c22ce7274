"""The folders and files of a core device below its root."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from emflow.problems import Problem

_LONGEST_SOCKET = 107
"""Maximum bytes of a Unix socket's path on Linux (sun_path has 108, with the terminating zero)."""

_NOT_IN_QUOTES = re.compile(r'[$"`\\\x00-\x1f\x7f]')
"""Characters that are special to a shell in double quotes; recipes write paths into scripts like that."""


@dataclass(frozen=True)
class Layout:
    """The paths of a core device, arranged as by the nucleus below `/greengrass/v2`."""

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

    def artifact_record(self, component: str, version: str) -> Path:
        """What the artifacts in place were made from."""
        return self.root / "packages" / "artifact-records" / component / f"{version}.json"

    @property
    def staged(self) -> Path:
        """Artifacts that a deployment has prepared and not put in place yet."""
        return self.root / "packages" / "staged"

    @property
    def replaced(self) -> Path:
        """Artifacts whose place others took, until the deployment has succeeded."""
        return self.root / "packages" / "replaced"

    @property
    def configuration(self) -> Path:
        return self.root / "config" / "configuration.json"

    @property
    def roots(self) -> Path:
        """The components that the deployments of each target name."""
        return self.root / "config" / "roots.json"

    @property
    def deployed(self) -> Path:
        """What the device goes on with when it starts again."""
        return self.root / "config" / "deployed.json"

    @property
    def python(self) -> Path:
        """The virtual environment in which components run."""
        return self.root / "python"

    @property
    def agent(self) -> Path:
        """The code of what takes the place of the Edge Manager agent."""
        return self.root / "agent"

    @property
    def agent_packages(self) -> Path:
        """The packages that only the agent needs."""
        return self.root / "agent-packages"

    @property
    def socket(self) -> Path:
        return self.root / "ipc.socket"

    @property
    def root_ca(self) -> Path:
        return self.root / "rootCA.pem"

    def make(self) -> None:
        """Make the folders, into which only their owner may write, whatever the umask is: the agent's socket is there.

        Raises:
            Problem: the root cannot be made, its path is too long for a Unix socket, or its name would break scripts.
        """
        odd = _NOT_IN_QUOTES.search(str(self.root))
        if odd:
            raise Problem(
                f"{str(self.root)!r} contains {odd[0]!r}, which has a special meaning in a shell, so the scripts of "
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
            self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
            for folder in (self.logs, self.root / "work", self.root / "packages", self.configuration.parent):
                folder.mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            raise Problem(f"cannot make the core device's folder {self.root}: {error.strerror}") from error
