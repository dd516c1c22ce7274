"""The kinds of things that a workflow has in AWS, one module each, and the list of them for one workflow."""

from __future__ import annotations

from emflow.resources.greengrass.rollout import wait_for_deployment
from emflow.resources.registry import core_devices, desired_resources, removable_resources

__all__ = ["core_devices", "desired_resources", "removable_resources", "wait_for_deployment"]
