"""The kinds of things that a workflow has in AWS, one module each, and the list of them for one workflow."""

from __future__ import annotations

from emflow.resources.build import build, core_devices, removable
from emflow.resources.rollout import wait_for_deployment

__all__ = ["build", "core_devices", "removable", "wait_for_deployment"]
