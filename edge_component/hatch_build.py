"""Build hook of hatchling: the packages of the contract, from wherever they are.

In the repository they have folders of their own beside this one; a source distribution holds all packages side by side.
An editable installation takes the folders from `dev-mode-dirs` instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = {"emflow_proto": "../proto", "emflow_schema": "../schema"}


class ContractPackages(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        for package, folder in FOLDERS.items():
            if Path(self.root, package).is_dir():  # in a source distribution
                continue
            source = Path(self.root, folder, package).resolve()
            if not source.is_dir():
                raise FileNotFoundError(
                    f"{source}: there is no such folder. pip before 21.3 builds in a copy of edge_component/, without "
                    "the folders beside it: update pip (python -m pip install --upgrade pip), or install the wheel."
                )
            build_data["force_include"][str(source)] = package
