"""What `plan` and `apply` are asked for: a workflow with options, or a plan that carries both."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from emflow.cli.options import asking
from emflow.problems import UsageProblem

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from rich.console import Console

    from emflow.engine.clients import Clients
    from emflow.engine.plan import Plan
    from emflow.engine.resource import Resource
    from emflow.problems import Finding
    from emflow.workflow.model import Workflow


import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emflow.cli.output_files import write_whole
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
from emflow.workflow.variables.resolve import assignments

if TYPE_CHECKING:
    from emflow.engine.cancellation import Stop
    from emflow.engine.clients import Clients
    from emflow.engine.resource import Resource

# What `plan`, `apply` and `destroy` have in common: their arguments, and asking before anything is changed.


File = Annotated[Path, typer.Argument(metavar="FILE", help="The workflow.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Repeat what failed with the same inputs, under a next name.")
]
Adopt = Annotated[
    list[str] | None,
    typer.Option("--adopt", metavar="ID", help="Also change this thing, which somebody else made; may be repeated."),
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="ID",
        help="Only this resource, such as model/package, or all of a group, such as model, and what they need; "
        "may be repeated.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="JSON on standard output; what is for people goes to standard error.")
]


class Wanted(NamedTuple):
    """A workflow, the way to AWS, what is wanted there, and what is worth a word about the workflow."""

    workflow: Workflow
    clients: Clients
    resources: tuple[Resource, ...]
    warnings: tuple[Finding, ...]


def prepare(
    file: Path,
    var: Sequence[str] | None,
    *,
    var_file: Sequence[Path] | None = None,
    retry_failed: bool = False,
    adopt: Collection[str] = (),
    target: Collection[str] = (),
) -> tuple[Workflow, Clients, tuple[Resource, ...]]:
    """A workflow, what it wants, and the way to AWS.

    Raises:
        Problem: the workflow is wrong, a file that it names is missing, or there is no such profile.
    """
    from emflow.workflow.variables.resolve import assignments

    given, files = assignments(var or []), [str(path) for path in var_file or ()]
    return wanted(file, given, var_file=files, retry_failed=retry_failed, adopt=adopt, target=target)[:3]


def wanted(
    file: Path,
    given: Mapping[str, str],
    *,
    var_file: Sequence[str] = (),
    retry_failed: bool = False,
    adopt: Collection[str] = (),
    target: Collection[str] = (),
) -> Wanted:
    """As `prepare`, with the warnings, and with variables that have been read already. Raises as it does."""
    from emflow.engine.clients import Clients
    from emflow.resources import build
    from emflow.workflow.load import check

    checked = check(file, given, [Path(each) for each in var_file])
    workflow = checked.workflow
    resources = build(workflow, retry_failed=retry_failed, adopt=adopt)
    if target:
        resources = _only(resources, target)
    return Wanted(workflow, Clients(workflow.aws), resources, checked.warnings)


def _only(resources: tuple[Resource, ...], target: Collection[str]) -> tuple[Resource, ...]:
    from emflow.engine.plan_text import room
    from emflow.engine.scheduler import only
    from emflow.workflow.variables.limits import close

    ids = [each.id for each in resources]
    wanted = []
    for name in target:
        # A plan prints the rooms as headings, so somebody will name one.
        fitting = [name] if name in ids else [each for each in ids if room(each) == name.rstrip("/")]
        if not fitting:
            mend = close(name, [*ids, *map(room, ids)]) or f"one of: {', '.join(ids)}"
            raise UsageProblem(f"this workflow has no {name}", where="--target", mend=mend)
        wanted += fitting
    return only(resources, wanted)


def duration(text: str | None, option: str) -> float | None:
    """Seconds of an option such as `--timeout 10m`; None when it was not given.

    Raises:
        UsageProblem: it is no duration.
    """
    from emflow_schema.units import seconds

    try:
        return None if text is None else seconds(text)
    except ValueError as error:
        raise UsageProblem(str(error), where=option, mend="such as 90s, 15m or 1h") from None


def show_plan(console: Console, plan: Plan, *, details: bool = False) -> None:
    """The plan, with the sign of each line in its colour; with `details`, every field of what would be made."""
    show_lines(console, plan.text(details=details))


def show_lines(console: Console, text: str) -> None:
    from rich.text import Text

    colours = {"+": "green", "~": "yellow", "±": "magenta", "-": "red", "=": "dim"}
    for line in text.splitlines():
        sign = line[2:3] if line.startswith("  ") and line[3:4] == " " else ""
        console.print(Text(line, style=colours.get(sign, "")), soft_wrap=True)


def need_terminal(command: str, *, yes: bool) -> None:
    """See that somebody can be asked.

    Raises:
        UsageProblem: nobody can, and nobody said `--yes`.
    """
    if not yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageProblem(
            f"emflow {command} asks before it changes anything, and there is no terminal to ask on",
            mend=f"Look at it first (emflow plan), then: emflow {command} --yes",
        )


def agreed(question: str, *, yes: bool) -> bool:
    """Ask, unless `--yes` was said."""
    if yes:
        return True
    with asking("nothing was changed"):
        return typer.confirm(question)


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
