"""A second look at what is shared, right before it is removed: others may have begun to use it since the plan was made.

Between the two, a person reads the plan and agrees to it, and other resources are removed.
"""

from __future__ import annotations

from emflow.engine.clients import Clients
from emflow.engine.resource import Removable
from emflow.problems import Problem


def is_still_removable(resource: Removable, clients: Clients) -> bool:
    """Look again at a resource that is about to be removed; False when it is not there any more.

    Raises:
        Problem: it has to stay by now.
    """
    found = resource.observe(clients)
    if found is None:
        return False
    retention = resource.retention(found, delete_data=True)
    if retention.kept:
        raise stays(resource.name, resource.id, retention.reason)
    return True


def stays(name: str, where: str, reason: str) -> Problem:
    """What is said of a resource that was to be removed, and stays for a reason that came after the plan."""
    return Problem(
        f"{name} stays, because this has changed since the plan was made: {reason or 'others may use it'}",
        where=where,
        mend="Nothing of it was removed. To see what stays, make a new plan: run the same command again.",
    )
