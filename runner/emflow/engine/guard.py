"""Between agreeing to a plan and making it true: the lock, and a second look at the world.

A plan is made, shown and agreed to without the lock: a second apply, which has nothing to do, must not write anything,
and nobody is to be locked out while a person reads. So what was planned may have been done, or spoilt, by somebody
else since. Under the lock everything is observed once more, and what is left to do has to be part of what was agreed.
"""

from __future__ import annotations

from collections.abc import Callable

from emflow.engine.cancellation import Stop
from emflow.engine.clients import Clients
from emflow.engine.lock import Lock
from emflow.engine.plan import Plan, Step, make_plan
from emflow.engine.resource import LATER
from emflow.problems import Problem


def secure(
    plan: Plan, clients: Clients, lock: Lock, make: Callable[[str], bool], stop: Stop | None = None
) -> Plan | None:
    """Take the lock, and look again: the plan as it is now, None when `make` failed; `plan` itself without a lock.

    Args:
        make: makes one resource of the plan. It is called for the one that the lock is kept in, when that is not
            there yet; two that do this at once make the same thing, and one of them gets the lock.
        stop: ends the second look early when asked, without waiting for answers.

    Raises:
        Problem: somebody else holds the lock, or something else would have to be done now than was agreed to.
        Interrupted: `stop` was asked for.
    """
    agreed = {step.resource.id: step for step in plan.steps}
    if not lock.acquire():
        if lock.needs not in agreed:
            lock.go_without()  # a part of a workflow, before its first apply: nobody can have the lock
            return plan
        if not make(lock.needs):
            return None
        if not lock.acquire():
            raise Problem(f"there is no place for the lock, although {lock.needs} is there", mend="Run it again.")
    now = make_plan([step.resource for step in plan.steps], clients, stop)
    moved = [step for step in now.changes if not _within(step, agreed[step.resource.id])]
    if moved:
        raise Problem(
            "somebody has changed AWS since this was planned: " + ", ".join(step.resource.id for step in moved),
            mend="Look again (emflow plan), then apply that.",
        )
    return now


def _within(now: Step, agreed: Step) -> bool:
    """Whether what is to be done now is part of what was agreed to: something of it may be done, or a job be over."""
    if now.diff.wanted and now.diff.wanted != agreed.diff.wanted:
        return False
    known = {change.field: change.new for change in agreed.diff.changes}
    return all(
        change.field in known and (known[change.field] == change.new or known[change.field] is LATER)
        for change in now.diff.changes
    )
