"""What `plan`, `apply` and `unlock` work on: a workflow with its resources, or a saved plan of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from emflow.cli.output_files import write_atomically
from emflow.engine.clients import Clients
from emflow.engine.plan import Plan, make_plan
from emflow.engine.plan_text import group_of
from emflow.engine.resource import Action
from emflow.engine.saved_plan import (
    AccountRegion,
    PlanRequest,
    plan_document,
    read_plan,
    refuse_changed_workflow,
    refuse_changed_world,
    request_from_plan,
)
from emflow.engine.scheduler import with_dependencies
from emflow.json_text import to_json
from emflow.problems import UsageProblem
from emflow.workflow.suggestions import did_you_mean
from emflow.workflow.variables.overrides import parse_assignments

if TYPE_CHECKING:
    from rich.console import Console

    from emflow.engine.cancellation import Cancellation
    from emflow.engine.resource import Resource
    from emflow.problems import Finding
    from emflow.workflow.model import Workflow


class LoadedWorkflow(NamedTuple):
    """A checked workflow, the AWS clients for it, the resources that it describes, and its warnings."""

    workflow: Workflow
    clients: Clients
    resources: tuple[Resource, ...]
    warnings: tuple[Finding, ...]


def load_resources(
    file: Path,
    assignments: Mapping[str, str],
    *,
    var_file: Sequence[str] = (),
    root: str | None = None,
    retry_failed: bool = False,
    adopt: Collection[str] = (),
    target: Collection[str] = (),
) -> LoadedWorkflow:
    """Load a workflow and build its resources. The options are those of `plan` and `apply`.

    Args:
        assignments: name → text, of `--var`.

    Raises:
        Problem: the workflow is wrong, a file that it names is missing, or the AWS profile does not exist.
    """
    from emflow.resources import desired_resources
    from emflow.workflow.load import check

    checked = check(file, assignments, [Path(each) for each in var_file], root=Path(root) if root else None)
    workflow = checked.workflow
    resources = desired_resources(workflow, retry_failed=retry_failed, adopt=adopt)
    if target:
        resources = select_resources(resources, target)
    return LoadedWorkflow(workflow, Clients(workflow.aws), resources, checked.warnings)


def select_resources(resources: tuple[Resource, ...], target: Collection[str]) -> tuple[Resource, ...]:
    """The resources that `--target` names, by id or group, and what they need.

    Raises:
        UsageProblem: a name is neither.
    """
    ids = [each.id for each in resources]
    selected = []
    for name in target:
        # A plan prints the groups as headings, so a person may name one of them.
        matching = [name] if name in ids else [each for each in ids if group_of(each) == name.rstrip("/")]
        if not matching:
            mend = did_you_mean(name, [*ids, *map(group_of, ids)]) or f"one of: {', '.join(ids)}"
            raise UsageProblem(f"this workflow has no {name}", where="--target", mend=mend)
        selected += matching
    return with_dependencies(resources, selected)


@dataclass(frozen=True)
class PlanInput:
    """The file and options of `plan` or `apply`, and the saved plan when the file is one."""

    request: PlanRequest
    saved_plan: dict[str, Any] | None = None

    @classmethod
    def from_options(
        cls,
        file: Path,
        var: Sequence[str] | None,
        *,
        var_file: Sequence[Path] | None = None,
        root: Path | None = None,
        retry_failed: bool = False,
        adopt: Sequence[str] | None = None,
        target: Sequence[str] | None = None,
    ) -> PlanInput:
        """Read the options, and the file if it is a saved plan.

        Raises:
            UsageProblem: the saved plan is unusable, or an option is repeated that it already contains.
        """
        assignments = parse_assignments(var or [])
        options = {
            "var_file": [str(path) for path in var_file or ()],
            "root": str(root or ""),
            "retry_failed": retry_failed,
            "adopt": sorted(adopt or ()),
            "target": sorted(target or ()),
        }
        saved_plan = read_plan(file)
        if saved_plan is None:
            return cls(PlanRequest(str(file), assignments, options))
        if repeated := [f"--{name.replace('_', '-')}" for name, value in options.items() if value]:
            raise UsageProblem(
                f"{', '.join(repeated)} cannot be given with the plan {file}, which contains it",
                mend="Leave it out, or make a new plan with it.",
            )
        return cls(request_from_plan(saved_plan, assignments), saved_plan)

    def load(self) -> LoadedWorkflow:
        """Load the workflow. Raises `Problem`, also when it differs from the one of the saved plan."""
        loaded = load_resources(Path(self.request.file), self.request.vars, **self.request.options)
        if self.saved_plan is not None:
            refuse_changed_workflow(self.saved_plan, loaded.workflow)
        return loaded

    def make_plan(self, resources: Sequence[Resource], clients: Clients, cancellation: Cancellation) -> Plan:
        """Observe AWS and compare. Raises `Problem`, also when AWS differs from what the saved plan observed."""
        plan = make_plan(resources, clients, cancellation)
        if self.saved_plan is not None:
            refuse_changed_world(self.saved_plan, plan, AccountRegion(clients.account, clients.region))
        return plan


def is_new_installation(plan: Plan) -> bool:
    """Whether a plan makes the device fleet: then no device of this workflow has run with it yet."""
    from emflow.resources.sagemaker.devices import FLEET

    return any(step.resource.id == FLEET and step.diff.action is Action.CREATE for step in plan.steps)


def plan_json(plan: Plan, loaded: LoadedWorkflow, request: PlanRequest) -> str:
    """A plan as JSON text, for `--json` and `--out`."""
    clients = loaded.clients
    data = plan_document(
        plan, loaded.workflow, request, AccountRegion(clients.account, clients.region), loaded.warnings
    )
    return to_json(data, indent=2, ascii_only=False) + "\n"


def save_plan(path: Path, text: str) -> None:
    """Write a plan's JSON text to a file. Raises `Problem` when that fails."""
    write_atomically(path, text.encode(), mend="Give another path with --out.", private=True)


def print_plan(console: Console, plan: Plan, *, details: bool = False) -> None:
    """Print a plan in colour; with `details`, all fields of every resource that would be created."""
    print_plan_text(console, plan.text(details=details))


def print_plan_text(console: Console, text: str) -> None:
    """Print the lines of a plan, each in the colour of its sign."""
    from rich.text import Text

    colours = {"+": "green", "~": "yellow", "±": "magenta", "-": "red", "=": "dim"}
    for line in text.splitlines():
        sign = line[2:3] if line.startswith("  ") and line[3:4] == " " else ""
        console.print(Text(line, style=colours.get(sign, "")), soft_wrap=True)
