"""`emflow captures`: list, show and export what agents captured, out of a bucket or a folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emflow.cli.options import Var, VarFile, load_workflow
from emflow.cli.planning import Json

if TYPE_CHECKING:
    from emflow.results.capture_places import Place
    from emflow.results.captures import Capture, Part

captures = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="List, show and export captured tensors. SOURCE is a workflow, a folder, or s3://BUCKET/PREFIX.",
)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A workflow, a folder, or s3://BUCKET[/PREFIX].")]
Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Only captures of this model.")]


@captures.command("list")
def list_captures(
    source: Source,
    model: Model = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many of the newest.")] = 20,
    var: Var = None,
    var_file: VarFile = None,
    as_json: Json = False,
) -> None:
    """List captures, newest first: time of the inference (UTC), fleet, model, device, id."""
    place, top = _place(source, var, var_file)
    found = [about(one) for one in _first(_captures(place, top, model), limit)]
    if as_json:
        _json(found)
        return
    for one in found:
        line = "  ".join(one[key] or "-" for key in ("time", "fleet", "model", "device", "id"))
        typer.echo(_printable(line))
    if not found:
        typer.echo(f"no captures in {place}", err=True)


@captures.command("show")
def show(
    source: Source,
    capture_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` tells it; the newest with `latest`.")],
    model: Model = None,
    var: Var = None,
    var_file: VarFile = None,
    as_json: Json = False,
) -> None:
    """Show one capture: its tensors with type, shape, and smallest, largest and mean value."""
    place, top = _place(source, var, var_file)
    capture = _one(place, top, model, capture_id)
    told = {**about(capture), "key": capture.key, "parts": [_told(part) for part in capture.parts(place)]}
    if as_json:
        _json(told)
        return
    for key in ("id", "time", "fleet", "model", "device", "key"):
        typer.echo(_printable(f"{key:<7} {told[key] or '-'}"))
    for part in told["parts"]:
        typer.echo(_printable(f"{part['role']:<7} {part['name']}  {part['kind']}  {_values(part)}"))


@captures.command("export")
def export(
    source: Source,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go; made when it is not there.")],
    capture_id: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="This one; may be repeated.")
    ] = None,
    model: Model = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many of the newest, without --id.")] = 100,
    bgr: Annotated[bool, typer.Option("--bgr", help="Pictures have blue first, as with `color: bgr`.")] = False,
    var: Var = None,
    var_file: VarFile = None,
    as_json: Json = False,
) -> None:
    """Write captures as NumPy's .npz, a file each, and inputs that are pictures (uint8) as .png beside it."""
    from emflow.results.capture_export import export as write

    place, top = _place(source, var, var_file)
    wanted = (
        (_one(place, top, model, each) for each in capture_id)
        if capture_id
        else _first(_captures(place, top, model), limit)
    )
    files = []
    for capture in wanted:
        parts = capture.parts(place)
        for part in parts:
            if part.data is None:
                typer.echo(_printable(f"{capture.id}: {part.role} {part.name} is not there any more"), err=True)
        for path in write(capture, parts, folder, bgr=bgr):
            files.append(str(path))
            if not as_json:
                typer.echo(path)
    if as_json:
        _json(files)
    if not files:
        typer.echo(f"nothing to export in {place}", err=True)


def about(capture: Capture) -> dict[str, Any]:
    """What `list` tells of a capture."""
    return {
        "id": capture.id,
        "time": capture.time.isoformat() if capture.time else None,
        "fleet": capture.fleet,
        "model": capture.model,
        "device": capture.device,
    }


def _told(part: Part) -> dict[str, Any]:
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
    numbers = (f"{key} {values[key]:.6g}" for key in ("min", "max", "mean", "std"))
    return f"{', '.join(numbers)}, largest at {values['argmax']}"


def _place(source: str, var: Any, var_file: Any) -> tuple[Place, str]:
    """Where to look, and below which prefix."""
    from emflow.results.capture_places import Folder

    if not source.startswith("s3://"):
        path = Path(source)
        if path.suffix not in (".yaml", ".yml") or path.is_dir():
            return Folder(path), ""
        workflow = load_workflow(path, var, var_file)
        prefix = f"{workflow.edge.capture.prefix.strip('/')}/{workflow.cloud.fleet.name}/"
        return _bucket(workflow.aws, workflow.cloud.buckets.inference_results.name), prefix
    from emflow.problems import UsageProblem
    from emflow.workflow.model import Aws

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")

    name, _, prefix = source.removeprefix("s3://").partition("/")
    if not name:
        raise UsageProblem("names no bucket", where=source, mend="Write s3://BUCKET or s3://BUCKET/PREFIX.")
    return _bucket(Aws(region=region) if region else Aws(), name), f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def _bucket(aws: Any, name: str) -> Place:
    from emflow.engine.clients import Clients
    from emflow.resources.s3.objects import Bucket

    return Bucket(Clients(aws)("s3"), name)


def _captures(place: Place, top: str, model: str | None) -> Iterator[Capture]:
    from emflow.results.capture_places import batches
    from emflow.results.captures import NotACapture, read_batch

    for key in batches(place, top, model):
        for one in read_batch(place, key):
            if isinstance(one, NotACapture):
                typer.echo(_printable(f"{one.key}, line {one.number}: not a capture ({one.reason})"), err=True)
            else:
                yield one


def _one(place: Place, top: str, model: str | None, capture_id: str) -> Capture:
    from emflow.problems import Problem

    wanted = capture_id.replace("-", "").lower()
    for capture in _captures(place, top, model):
        if capture_id == "latest" or capture.id.replace("-", "").lower() == wanted:
            return capture
    raise Problem(f"no capture {capture_id} in {place}", mend="`emflow captures list` shows those that there are.")


def _first(found: Iterator[Capture], limit: int) -> Iterator[Capture]:
    for number, one in enumerate(found, 1):
        yield one
        if number == limit:
            return


def _json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def _printable(text: str) -> str:
    """What came over the network must not steer somebody's terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
