"""The kinds of things that a workflow has in AWS, one module each, and the list of them for one workflow."""

from __future__ import annotations

from emflow.resources.greengrass.rollout import wait_for_deployment
from emflow.resources.registry import build, core_devices, removable

__all__ = ["build", "core_devices", "removable", "wait_for_deployment"]
