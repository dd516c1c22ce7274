"""The kinds of things that a workflow has in AWS, one module each, and the registry that lists them.

A kind's module declares everything about it: the ids, what it needs, how it is observed, compared, applied and
removed, how people call its fields, and which orphans of it an earlier form of the workflow may have left.
"""

from __future__ import annotations

from emflow.resources.greengrass.rollout import wait_for_deployment
from emflow.resources.registry import desired_resources, removable_resources

__all__ = ["desired_resources", "removable_resources", "wait_for_deployment"]
