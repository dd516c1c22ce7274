"""Metadata hook of hatchling: dependencies that name this very version, as `{version}`.

The lists are in pyproject.toml, under `[tool.hatch.metadata.hooks.custom]`.
"""

from __future__ import annotations

from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class SameVersion(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        def filled(requirements: list[str]) -> list[str]:
            return [requirement.format(version=metadata["version"]) for requirement in requirements]

        metadata["dependencies"] = filled(self.config["dependencies"])
        extras = self.config.get("optional-dependencies", {})
        metadata["optional-dependencies"] = {extra: filled(requirements) for extra, requirements in extras.items()}
