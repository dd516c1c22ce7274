"""`emflow captures`: lists, shows and exports captured tensors from a bucket or a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sized
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from emflow.cli.options import Json, Root, Var, VarFile, load_workflow
from emflow.cli.parameters import Argument, Option, command
from emflow.json_text import to_json
from emflow.problems import Problem, UsageProblem, printable

if TYPE_CHECKING:
    from emflow.cli.capture_reader import CaptureReader
    from emflow.results.capture_stores import CaptureStore
    from emflow.results.captures import Capture, Part

Source = Annotated[str, Argument(metavar="SOURCE", help="A workflow, a folder, or s3://BUCKET[/PREFIX].")]
Model = Annotated[str | None, Option("--model", metavar="NAME", help="Only captures of this model.")]


def list_captures(
    source: Source,
    model: Model = None,
    limit: Annotated[int, Option(min=1, metavar="N", help="At most this many, the newest first.")] = 20,
    var: Var = None,
    var_file: VarFile = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """List captures, newest first. Columns: inference time (UTC), fleet, model, device, id."""
    from emflow.cli.capture_reader import CaptureReader

    store, prefix = _open_store(source, var, var_file, root)
    reader = CaptureReader(store, prefix, model)
    found: list[dict[str, Any]] = []
    problem = None
    try:
        for capture in islice(reader.captures(), limit):
            found.append(describe(capture))  # noqa: PERF401 what was read before a problem stays
    except Problem as error:
        problem = error
    if as_json and (found or not problem):
        _print_json(found)
    if not as_json:
        for each in found:
            line = "  ".join(each[key] or "-" for key in ("time", "fleet", "model", "device", "id"))
            click.echo(printable(line))
    if not found and not problem and not as_json:
        click.echo(printable(f"no captures in {store}"), err=True)
    _end(reader, found, problem)


def show(
    source: Source,
    capture_id: Annotated[str, Argument(metavar="ID", help="An id from `list`, or `latest`.")],
    model: Model = None,
    var: Var = None,
    var_file: VarFile = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show one capture. Its tensors are listed with type, shape, and smallest, largest and mean value."""
    from emflow.cli.capture_reader import CaptureReader

    store, prefix = _open_store(source, var, var_file, root)
    capture = CaptureReader(store, prefix, model).find(capture_id)
    parts = [_describe_part(part) for part in capture.parts(store)]
    details = {**describe(capture), "key": capture.key, "parts": parts}
    if as_json:
        _print_json(details)
        return
    for key in ("id", "time", "fleet", "model", "device", "key"):
        click.echo(printable(f"{key:<7} {details[key] or '-'}"))
    for part in parts:
        click.echo(printable(f"{part['role']:<7} {part['name']}  {part['kind']}  {_values(part)}"))


def export(
    source: Source,
    folder: Annotated[Path, Argument(metavar="FOLDER", help="The folder for the files; it is created if missing.")],
    capture_id: Annotated[
        list[str] | None, Option("--id", metavar="ID", help="Only this capture; may be repeated.")
    ] = None,
    model: Model = None,
    limit: Annotated[
        int, Option(min=1, metavar="N", help="At most this many, the newest first; ignored with --id.")
    ] = 100,
    bgr: Annotated[
        bool,
        Option("--bgr", help="The channels of pictures are in the order blue, green, red, as with `color: bgr`."),
    ] = False,
    var: Var = None,
    var_file: VarFile = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Write captures as .npz files for NumPy. Inputs that are pictures (uint8) also as .png files."""
    from emflow.cli.capture_reader import CaptureReader
    from emflow.results.capture_export import export as write

    store, prefix = _open_store(source, var, var_file, root)
    reader = CaptureReader(store, prefix, model)
    selected = map(reader.find, capture_id) if capture_id else islice(reader.captures(), limit)
    files, exported = [], []
    problem = None
    try:
        for capture in selected:
            parts = capture.parts(store)
            for part in parts:
                if part.data is None:
                    click.echo(printable(f"{capture.id}: {part.role} {part.name} is not there any more"), err=True)
            for path in write(capture, parts, folder, bgr=bgr):
                files.append(str(path))
                if not as_json:
                    click.echo(printable(str(path)))
            exported.append(capture.id)
    except Problem as error:
        problem = error
    if as_json and (exported or files or not problem):
        _print_json(files)
    if not files and not problem:
        click.echo(printable(f"nothing to export in {store}"), err=True)
    _end(reader, [] if capture_id else exported, problem)


def _end(reader: CaptureReader, taken: Sized, problem: Problem | None) -> None:
    """Say why there is not more than was printed: what was not looked at must not seem not to exist.

    Raises:
        Problem: `problem`, unless it is only that the rest, after `taken`, was not tried.
    """
    from emflow.cli.capture_reader import RestNotTried

    if isinstance(problem, RestNotTried) and taken:
        click.echo(str(problem), err=True)
    elif problem:
        raise problem
    elif taken and reader.has_older():
        click.echo(f"there are older captures than these {len(taken)}: --limit N takes more", err=True)


def describe(capture: Capture) -> dict[str, Any]:
    """What `list` prints of a capture."""
    return {
        "id": capture.id,
        "time": capture.time.isoformat() if capture.time else None,
        "fleet": capture.fleet,
        "model": capture.model,
        "device": capture.device,
    }


def _describe_part(part: Part) -> dict[str, Any]:
    from emflow.results.capture_export import statistics

    return {
        "role": part.role,
        "name": part.name,
        "kind": part.kind,
        "dtype": part.dtype or None,
        "shape": part.shape,
        "bytes": None if part.data is None else len(part.data),
        "statistics": statistics(part),
    }


def _values(part: dict[str, Any]) -> str:
    if part["bytes"] is None:
        return "not there any more"
    values = part["statistics"]
    if values is None:
        return f"{part['bytes']} bytes"
    numbers = (
        f"{key} not known" if values[key] is None else f"{key} {values[key]:.6g}"
        for key in ("min", "max", "mean", "std")
    )
    others = f", {values['not_finite']} values are NaN or infinite" if "not_finite" in values else ""
    return f"{', '.join(numbers)}, largest at {values['argmax']}{others}"


def _open_store(source: str, var: Any, var_file: Any, root: Path | None) -> tuple[CaptureStore, str]:
    """The store of a SOURCE, and the prefix of its captures there."""
    from emflow.results.capture_stores import FolderStore

    if not source.startswith("s3://"):
        path = Path(source)
        if path.suffix not in (".yaml", ".yml") or path.is_dir():
            return FolderStore(path), ""
        workflow = load_workflow(path, var, var_file, root)
        prefix = f"{workflow.edge.capture.prefix.strip('/')}/{workflow.cloud.fleet.name}/"
        return _bucket(workflow.aws, workflow.cloud.buckets.inference_results.name), prefix
    from emflow.workflow.model import Aws

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")

    name, _, prefix = source.removeprefix("s3://").partition("/")
    if not name:
        raise UsageProblem(
            "the bucket's name is missing", where=source, mend="Write s3://BUCKET or s3://BUCKET/PREFIX."
        )
    return _bucket(Aws(region=region) if region else Aws(), name), f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def _bucket(aws: Any, name: str) -> CaptureStore:
    from emflow.engine.clients import Clients
    from emflow.resources.s3.captures import CaptureBucket

    return CaptureBucket(Clients(aws)("s3"), name)


def _print_json(data: Any) -> None:
    sys.stdout.write(to_json(data, indent=2, ascii_only=False) + "\n")


captures = click.Group(
    "captures",
    {"list": command("list", list_captures), "show": command("show", show), "export": command("export", export)},
    no_args_is_help=True,
    help="List, show and export captured tensors. SOURCE is a workflow, a folder, or s3://BUCKET/PREFIX.",
)
