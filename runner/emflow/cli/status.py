"""`emflow status`: health and components of a workflow's devices, its deployment, and its jobs."""

from __future__ import annotations

import re
import select
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import click

from emflow.cli.options import File, Json, Root, Var, VarFile, load_workflow, parse_duration
from emflow.cli.parameters import Option
from emflow.json_text import to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.text import Text

    from emflow.engine.cancellation import Cancellation
    from emflow.resources.application_status import ApplicationStatus, StreamStatus
    from emflow.resources.status import Status
    from emflow.resources.status_queries import DeviceDeployment, DeviceStatus

EXIT_TROUBLE = 3
"""The exit code of `--detailed-exitcode` when something is not well, or not looked at."""

GOOD = frozenset({"HEALTHY", "SUCCEEDED", "COMPLETED", "RUNNING", "FINISHED", "ACTIVE"})
BAD = frozenset({"UNHEALTHY", "FAILED", "BROKEN", "ERRORED", "TIMED_OUT", "REJECTED", "CANCELED", "STOPPED"})


def status(
    file: File,
    var: Var = None,
    var_file: VarFile = None,
    root: Root = None,
    as_json: Json = False,
    watch: Annotated[bool, Option("--watch", "-w", help="Repeat until Ctrl-C.")] = False,
    every: Annotated[str, Option(metavar="DURATION", help="Time between two queries of --watch.")] = "5s",
    detailed_exitcode: Annotated[
        bool,
        Option(
            "--detailed-exitcode",
            help="Exit with 3 when something is unhealthy, failed, not deployed, without results, or not looked at.",
        ),
    ] = False,
    devices: Annotated[
        int,
        Option("--devices", min=1, metavar="N", help="Read the details of at most N devices, unhealthy first."),
    ] = 50,
) -> None:
    """Show device health, deployment with its errors, component states, cameras, jobs, and when results last came.

    What the cameras see is known from the retained message on edge.publish.status_topic. A stream that has had no
    result for longer than five of its intervals is a warning.

    Of a large thing group the health of every device is read, and the details of --devices of them. What was not looked
    at is not known to be well: the status says so, and is not `well`.

    It only reads. With --watch and no terminal, the status is printed again only when it has changed; with --json, as
    one line each time.
    """
    from emflow.cli.signals import SignalHandling
    from emflow.engine.cancellation import Interrupted
    from emflow.engine.clients import Clients
    from emflow.resources.status import read_status

    interval = parse_duration(every, "--every") or 0.0
    with SignalHandling(lambda _: None) as signals:
        workflow = load_workflow(file, var, var_file, root)
        clients = Clients(workflow.aws)

        def query() -> Status:
            return read_status(workflow, clients, signals.cancellation, most_devices=devices)

        try:
            if watch:
                _watch(query, max(interval, 0.1), signals.cancellation, as_json=as_json)
            found = query()
        except Interrupted:
            if watch and signals.by_ctrl_c:
                signals.end(0)
            raise
    if as_json:
        sys.stdout.write(to_json(as_data(found), indent=2, ascii_only=False) + "\n")
    else:
        _console().print(as_text(found), soft_wrap=True)
    if detailed_exitcode and not found.well:
        raise click.exceptions.Exit(EXIT_TROUBLE)


def _watch(query: Callable[[], Status], interval: float, cancellation: Cancellation, *, as_json: bool) -> None:
    """Query and print until a signal, which raises `Interrupted`."""
    from rich.live import Live

    from emflow.engine.cancellation import Cancelled, Interrupted

    console = _console()
    live = Live(console=console, auto_refresh=False, screen=False) if console.is_terminal and not as_json else None
    printed: dict[str, Any] = {}
    with live or nullcontext():
        while True:
            found = query()
            data = as_data(found)
            without_time = _without_progress(data)
            if live:
                live.update(as_text(found), refresh=True)
            elif without_time != printed:
                if as_json:
                    sys.stdout.write(to_json(data, ascii_only=False) + "\n")
                    sys.stdout.flush()
                else:
                    console.print(as_text(found), soft_wrap=True)
                printed = without_time
            try:
                cancellation.pause(interval)
            except Cancelled:
                raise Interrupted(cancellation, mend="") from None
            if _reader_closed(sys.stdout.fileno()):  # a write would notice it, but only after the next change
                raise BrokenPipeError


def _without_progress(data: Any) -> Any:
    """A status without what differs at each query although nothing has happened: times that go on, and durations."""
    if isinstance(data, dict):
        left = {
            key: value for key, value in data.items() if key not in {"at", "reported", "last_result", "last_results"}
        }
        return {key: _without_progress(value) for key, value in left.items()} | {
            "source": (data.get("last_results") or {}).get("source")
        }
    if isinstance(data, list):
        return [_without_progress(each) for each in data]
    return re.sub(r"\d+ (s|min|h|days)\b", "", data) if isinstance(data, str) else data


def _reader_closed(descriptor: int) -> bool:
    """Whether the other end of a pipe, a socket or a terminal has been closed."""
    reader = select.poll()
    reader.register(descriptor, 0)
    return bool(reader.poll(0))


def as_data(status: Status) -> dict[str, Any]:
    """A status as JSON data, as `status.schema.json` describes it."""
    from emflow.engine.saved_plan import to_json_data
    from emflow.workflow.redaction import masked

    data: dict[str, Any] = masked(to_json_data(status))
    data["well"], data["looked_at"] = status.well, status.looked_at
    for device, each in zip(data["devices"], status.devices, strict=True):
        device["well"] = each.well
    return data


def as_text(status: Status) -> Text:
    """A status for people: good states in green, bad ones in red."""
    from rich.text import Text

    from emflow.workflow.redaction import redacted

    text = Text("\n").join(_coloured(redacted(line)) for line in _lines(status))
    text.no_wrap = True
    text.overflow = "fold"
    return text


def _coloured(line: str) -> Text:
    from rich.text import Text

    text = Text(line)
    text.highlight_words(sorted(GOOD), "green")
    text.highlight_words(sorted(BAD), "bold red")
    text.highlight_regex(r"^ +warning: .*", "bold yellow")
    text.highlight_regex(r"\b(UN|IN_PROGRESS|INPROGRESS|QUEUED|STARTING|INSTALLED|NEW|UNKNOWN)\b", "yellow")
    return text


def _lines(status: Status) -> Iterator[str]:
    deployment = status.deployment
    what = f'"{deployment.name}"  {deployment.status}' if deployment else "not deployed yet: run emflow apply"
    since = f", created {_ago(deployment.created, status.at)}" if deployment and deployment.created else ""
    yield f"{status.workflow}  {status.target}  {what}{since}"
    if not status.devices:
        yield "  the target has no core device"
    for device in status.devices:
        yield from _device_lines(device, status.at)
    if status.looked_at < len(status.devices):
        others = len(status.devices) - status.looked_at
        yield f"  looked at    {status.looked_at} of {len(status.devices)} devices"
        yield f"    warning: of {others} devices only the health is known; --devices N looks at more"
    for job in status.jobs:
        reason = f": {job.reason}" if job.reason else ""
        when = f", {_ago(job.changed, status.at)}" if job.changed else ""
        yield f"  {job.kind:<11}  {job.name}  {job.status}{when}{reason}"
    results = status.last_results
    known = f"{_ago(results.time, status.at)} ({results.source})" if results else "not known"
    yield f"  results      {known}"


def _device_lines(device: DeviceStatus, at: datetime) -> Iterator[str]:
    facts = [f"nucleus {device.core_version}" if device.core_version else "", device.platform]
    never = "never connected: is it set up as a core device?"
    facts.append(f"last seen {_ago(device.heard, at)}" if device.heard else never)
    yield f"  device       {device.thing}  {device.health}  {', '.join(filter(None, facts))}"
    if device.deployment:
        yield from _deployment_lines(device.deployment, at)
    elif device.detailed and device.heard:
        yield "    deployment  none yet"
    width = max((len(component.name) for component in device.components), default=0)
    for component in device.components:
        details = f"  {component.details}" if component.details else ""
        yield f"    {component.name:<{width}}  {component.version:<8} {component.state}{details}"
    if device.application:
        yield from _application_lines(device.application, at)


def _application_lines(application: ApplicationStatus, at: datetime) -> Iterator[str]:
    if application.reported is None:
        yield f"    cameras     not known: {application.reason}"
        return
    reason = f": {application.reason}" if application.reason else ""
    since = f" since {_ago(application.since, at)}" if application.since else ""
    yield f"    cameras     {application.status}{since}{reason}  (reported {_ago(application.reported, at)})"
    width = max((len(stream.name) for stream in application.streams), default=0)
    for stream in application.streams:
        yield f"      {stream.name:<{width}}  {_stream_line(stream, at)}"
    agent = application.agent
    if agent and agent.status != "running":
        since = f" since {_ago(agent.since, at)}" if agent.since else ""
        yield f"      agent: {agent.status}{since}" + (f": {agent.reason}" if agent.reason else "")
    yield from (f"    warning: {warning}" for warning in application.warnings)


def _stream_line(stream: StreamStatus, at: datetime) -> str:
    since = f" since {_ago(stream.since, at)}" if stream.since else ""
    reason = f": {stream.reason}" if stream.reason else ""
    last = f"last result {_ago(stream.last_result, at)}" if stream.last_result else "no result yet"
    return f"{stream.status}{since}{reason}, {last}"


def _deployment_lines(deployment: DeviceDeployment, at: datetime) -> Iterator[str]:
    since = f", {_ago(deployment.since, at)}" if deployment.since else ""
    older = "" if deployment.latest else "  (not the latest of its target, which has not arrived yet)"
    yield f"    deployment  {deployment.status}{since}{older}"
    if deployment.reason and deployment.status not in GOOD:
        reason, *output = deployment.reason.splitlines()
        yield f"      reason: {reason}"
        yield from (f"        {line}" for line in output)  # the virtual core's last lines of the script that failed
    if deployment.error_stack:
        yield f"      errors: {' > '.join(deployment.error_stack)}"
    if deployment.error_types:
        yield f"      kinds:  {', '.join(deployment.error_types)}"


def _ago(time: datetime | None, at: datetime) -> str:
    """`12 s ago`, `3 min ago`, `5 h ago`, `2 days ago`."""
    if time is None:
        return "at an unknown time"
    from emflow.resources.application_status import span

    return f"{span(max(0.0, (at - time).total_seconds()))} ago"


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)
