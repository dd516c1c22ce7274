"""`emflow up`: runs a whole workflow on this machine, from the cloud's buckets to results over MQTT."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from emflow.cli.options import Root, Var, VarFile, load_workflow
from emflow.cli.parameters import Argument, Option
from emflow_emulator.cli.device_options import Architecture, Nucleus, NucleusName

if TYPE_CHECKING:
    from rich.console import Console

    from emflow.engine.events import Event
    from emflow.results.message import NotAResult, Result
    from emflow.results.subscriber import ResultSubscriber
    from emflow.workflow.model import Workflow
    from emflow_emulator.highlights import Highlight
    from emflow_emulator.stack import Camera, Cloud, Stack

PATIENCE = 60.0
"""Seconds without a result that count as an error, unless the workflow's interval between results is longer."""


def up(
    file: Annotated[
        Path | None, Argument(metavar="FILE", help="The workflow file; the default is the included demo.")
    ] = None,
    var: Var = None,
    var_file: VarFile = None,
    root: Root = None,
    results: Annotated[int, Option(min=0, metavar="N", help="Stop after N results; 0: run until Ctrl-C.")] = 0,
    camera: Annotated[
        str,
        Option(
            metavar="SOURCE",
            help="What the streams show: `scenes`, the path of a picture, or `workflow` for the URLs in the workflow.",
        ),
    ] = "scenes",
    architecture: Architecture = "",
    nucleus: Nucleus = NucleusName.CLASSIC,
    as_json: Annotated[
        bool,
        Option("--json", help="Print results as JSON lines on standard output, all else on standard error."),
    ] = False,
) -> None:
    """Run a whole workflow on this machine, without an AWS account and without a board.

    It starts an embedded AWS, an MQTT broker, a test camera and a virtual device, and applies the workflow to them. The
    same file works with AWS unchanged: `emflow apply`.
    """
    from rich.console import Console

    from emflow.problems import UsageProblem
    from emflow_emulator import architecture as architectures
    from emflow_emulator.cli.shutdown import Shutdown
    from emflow_emulator.demo import demo_workflow
    from emflow_emulator.stack import FROM_WORKFLOW, SCENES, Stack
    from emflow_schema.signals import on_end

    architectures.check(architecture)
    path = file or demo_workflow()
    if camera not in {SCENES, FROM_WORKFLOW} and not Path(camera).is_file():
        mend = "Give `scenes`, `workflow` or the path of a picture."
        raise UsageProblem(f"there is no picture file {camera}", where="--camera", mend=mend)
    workflow = load_workflow(path, var, var_file, root)
    # With --json, standard output has only JSON; all text for people goes to standard error.
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    stack = Stack(camera=camera, architecture=architecture, nucleus=nucleus.value)
    shutdown = Shutdown(console, stack)
    on_end(shutdown.on_signal)
    with stack:
        stack.watch(shutdown.on_death)
        _run(console, path, workflow, stack, results, as_json)


def _run(console: Console, path: Path, workflow: Workflow, stack: Stack, results: int, as_json: bool) -> None:
    from emflow.workflow.topic_grants import results as result_topics
    from emflow_emulator.cli.device_options import NucleusName, device_note
    from emflow_emulator.highlights import Follower
    from emflow_emulator.stack import on_this_machine, use_embedded_credentials

    started = time.monotonic()
    console.print(f"emflow up {path}", style="bold", markup=False)
    cloud, camera = stack.start(workflow)
    use_embedded_credentials(cloud)
    console.print(f"  embedded AWS  {cloud.endpoint_url}")
    console.print(f"  MQTT broker   {cloud.mqtt_host}:{cloud.mqtt_port}")
    console.print(f"  credentials   {cloud.shell_file}  (for another shell: . FILE)")
    if camera is not None:
        shows = f"{len(camera.scenes)} scenes, {camera.dwell:g} s each" if camera.scenes else "one picture"
        console.print(f"  camera        {camera.url}  ({shows})")
    thing = _thing(workflow)
    core = stack.start_core(thing, cloud, workflow, camera)
    console.print(
        f"  core device   {core.thing}  {core.root}{device_note(stack.architecture, NucleusName(stack.nucleus))}\n",
        markup=False,
    )
    workflow = on_this_machine(workflow, camera, core)
    topics = result_topics(workflow, core.thing)
    with (
        _watcher(cloud, topics) as watcher,
        Follower(core.root / "logs", lambda line: _show_highlight(console, stack, line)),
    ):
        _apply(console, stack, workflow)
        console.print(f"\nResults on MQTT topic {', '.join(topics)} (press Ctrl-C to stop):", markup=False)
        patience = max([PATIENCE, *(3 * stream.every.seconds for stream in workflow.edge.streams)])
        _show_results(console, watcher, camera, patience, results, as_json)
    took = time.monotonic() - started
    console.print(f"\nDone in {took:.0f} s: {path} ran on this machine, from buckets to results.", markup=False)
    console.print("Next steps:", markup=False)
    console.print(f"  change {path} (`every: 500ms`, another topic) and run this again", markup=False)
    console.print(f"  emflow render {path} -o rendered    writes what Greengrass would get", markup=False)
    console.print(f"  emflow plan {path}                  plans the same file in your AWS account", markup=False)


def _thing(workflow: Workflow) -> str:
    """The thing name of the virtual device: the deployment's thing, or the first device of the fleet."""
    from emflow.problems import Problem

    target = workflow.cloud.deployment.target
    thing = target.thing or next(iter(workflow.cloud.fleet.devices), None)
    if thing is None:
        raise Problem(
            "the workflow names no device, so no virtual device can be started",
            where="cloud.deployment.target",
            mend="Name a thing there, or a device under cloud.fleet.devices.",
        )
    return thing


def _watcher(cloud: Cloud, topics: tuple[str, ...]) -> ResultSubscriber:
    from emflow.results.subscriber import ResultSubscriber

    user = cloud.access.broker
    return ResultSubscriber(cloud.mqtt_host, cloud.mqtt_port, *topics, username=user.name, password=user.password)


def _apply(console: Console, stack: Stack, workflow: Workflow) -> None:
    from emflow.cli.event_output import Progress
    from emflow.cli.planning import print_plan
    from emflow.engine.apply import apply_plan
    from emflow.engine.clients import Clients
    from emflow.engine.plan import make_plan
    from emflow.problems import Problem
    from emflow.resources import desired_resources, wait_for_deployment

    clients = Clients(workflow.aws)
    resources = desired_resources(workflow)
    plan = make_plan(resources, clients)
    print_plan(console, plan)
    with Progress(console) as progress:

        def show(event: Event) -> None:
            if not stack.abandoned.is_set():
                progress.show(event)

        apply_plan(plan, clients, show)
        try:
            wait_for_deployment(workflow, clients, show)
        except Problem as problem:  # the logs, to which its advice leads, are removed at the end
            raise Problem(problem.what, where=problem.where, mend="Correct the workflow and run it again.") from problem


def _show_highlight(console: Console, stack: Stack, line: Highlight) -> None:
    if stack.abandoned.is_set():
        return
    style = {"W": "yellow", "E": "red"}.get(line.level, "dim")
    console.print(f"  device | {line.component.rpartition('.')[2]}: {line.text}", style=style, markup=False)


def _show_results(
    console: Console, watcher: ResultSubscriber, camera: Camera | None, patience: float, wanted: int, as_json: bool
) -> None:
    """Print each result when it arrives, and compare it with what the camera showed at the time of its frame."""
    from emflow.results.message import NotAResult, format_line
    from emflow_emulator.camera.scenes import shown_at

    right = shown = 0
    while not wanted or shown < wanted:
        result = _next(console, watcher, patience, bool(wanted))
        if isinstance(result, NotAResult):
            console.print(format_line(result), style="red", markup=False)
            continue
        shown += 1
        beside = ""
        if camera and camera.scenes and result.frame_time:
            truth = shown_at(result.frame_time.timestamp(), camera.dwell)
            right += truth == result.label
            beside = "  ✓" if truth == result.label else f"  ✗ the camera showed {truth}"
        if as_json:
            sys.stdout.write(result.payload.decode() + "\n")
            sys.stdout.flush()
        else:
            console.print(format_line(result) + beside, markup=False)
    if camera and camera.scenes:
        console.print(f"\n{right} of {shown} results name the scene that the camera showed at the time of the frame.")


def _next(console: Console, watcher: ResultSubscriber, patience: float, must_come: bool) -> Result | NotAResult:
    """The next message. After `patience` seconds without one: an error if `must_come`, else one printed note."""
    from emflow.problems import Problem

    try:
        return watcher.next(patience)
    except TimeoutError:
        look = "The lines of the device above show what it has done so far."
        if must_come:
            raise Problem(f"no result for {patience:g} s", where="emflow up", mend=look) from None
    console.print(f"No result for {patience:g} s; still waiting. {look}", style="yellow", markup=False)
    while True:
        try:
            return watcher.next(patience)
        except TimeoutError:
            continue
