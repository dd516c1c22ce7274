"""What `plan` and `apply` are asked for: a workflow with options, or a plan that carries both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emflow.cli.output_files import write_whole
from emflow.cli.rollout import Wanted, wanted
from emflow.engine.plan import Plan, make_plan
from emflow.engine.saved_plan import (
    Account,
    Request,
    document,
    read,
    refuse_other_workflow,
    refuse_other_world,
    request_of,
)
from emflow.problems import UsageProblem
from emflow.workflow.variables.resolve import assignments

if TYPE_CHECKING:
    from emflow.engine.cancellation import Stop
    from emflow.engine.clients import Clients
    from emflow.engine.resource import Resource


@dataclass(frozen=True)
class Asked:
    """A request, and the plan that it came from if it came from one."""

    request: Request
    planned: dict[str, Any] | None = None

    @classmethod
    def of(
        cls,
        file: Path,
        var: Sequence[str] | None,
        *,
        var_file: Sequence[Path] | None = None,
        retry_failed: bool = False,
        adopt: Sequence[str] | None = None,
        target: Sequence[str] | None = None,
    ) -> Asked:
        """Read the command line, and the file if it is a plan.

        Raises:
            UsageProblem: an option that the plan has settled is given again, or the plan is none of ours.
        """
        given = assignments(var or [])
        options = {
            "var_file": [str(path) for path in var_file or ()],
            "retry_failed": retry_failed,
            "adopt": sorted(adopt or ()),
            "target": sorted(target or ()),
        }
        planned = read(file)
        if planned is None:
            return cls(Request(str(file), given, options))
        if settled := [f"--{name.replace('_', '-')}" for name, value in options.items() if value]:
            raise UsageProblem(
                f"{', '.join(settled)} was settled when {file} was made", mend="Leave it out, or plan again with it."
            )
        return cls(request_of(planned, given), planned)

    def prepare(self) -> Wanted:
        """What is wanted, and where. Raises `Problem`, also when the workflow is not as it was planned."""
        found = wanted(Path(self.request.file), self.request.vars, **self.request.options)
        if self.planned is not None:
            refuse_other_workflow(self.planned, found.workflow)
        return found

    def plan(self, resources: Sequence[Resource], clients: Clients, stop: Stop) -> Plan:
        """Look at AWS and compare. Raises `Problem`, also when the world is not as it was planned."""
        plan = make_plan(resources, clients, stop)
        if self.planned is not None:
            refuse_other_world(self.planned, plan, Account(clients.account, clients.region))
        return plan


def as_text(plan: Plan, found: Wanted, request: Request) -> str:
    """A plan as JSON text."""
    clients = found.clients
    made = document(plan, found.workflow, request, Account(clients.account, clients.region), found.warnings)
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def write(path: Path, text: str) -> None:
    """Write a plan. Raises `Problem` when that cannot be done."""
    write_whole(path, text.encode(), mend="Give another path with --out.")
