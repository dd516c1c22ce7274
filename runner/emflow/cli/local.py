"""`emflow local`: the embedded AWS and the broker on loopback, until Ctrl-C; with a virtual core device when asked."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from pathlib import Path
from typing import Annotated

import typer


def local(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port of the embedded AWS; 0 takes a free one.")
    ] = 4566,
    mqtt_port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port of the MQTT broker; 0 takes a free one.")
    ] = 1883,
    core: Annotated[
        list[str] | None, typer.Option(metavar="THING", help="Also run a virtual core device of this thing name.")
    ] = None,
    job_seconds: Annotated[
        float, typer.Option(min=0, metavar="N", help="How long compilation and packaging jobs take, in seconds.")
    ] = 1.0,
    region: Annotated[str, typer.Option(metavar="REGION", help="Region of the core devices.")] = "us-east-1",
) -> None:
    """Run the embedded AWS and the MQTT broker on 127.0.0.1, until Ctrl-C.

    S3, IAM, STS, IoT, KMS, Secrets Manager, Greengrass V2 and SageMaker (Neo, Edge Manager). Whatever uses boto3 or the
    AWS CLI reaches it with AWS_ENDPOINT_URL and any credentials. Everything is in memory and gone at the end.
    """
    from emflow.local.child import Child
    from emflow.local.signals import on_end

    told = threading.Event()
    on_end(lambda _: told.set())
    # After the signal handlers: these imports take most of the start.
    from emflow.local.aws import EmbeddedAws
    from emflow.local.broker import Broker

    with contextlib.ExitStack() as stack:
        aws = stack.enter_context(EmbeddedAws(port, job_seconds=job_seconds))
        broker = stack.enter_context(Broker(port=mqtt_port))
        typer.echo(f"embedded AWS  {aws.endpoint_url}")
        typer.echo(f"MQTT broker   {broker.host}:{broker.port}")
        if core:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emflow-local-")))
            where = ("--endpoint-url", aws.endpoint_url, "--mqtt", f"{broker.host}:{broker.port}")
            children = []
            for number, thing in enumerate(core):
                root = folder / f"core-{number}"
                args = ("--thing", thing, "--root", str(root), "--region", region, "--remove", str(folder), *where)
                child = Child("core", "emflow.local.core", args, folder / f"core-{number}.log")
                stack.callback(child.stop)
                children.append((child, thing, root))
            for child, thing, root in children:
                child.ready()
                typer.echo(f"core device   {thing}  {root}")
        typer.echo("")
        typer.echo(f"  export AWS_ENDPOINT_URL={aws.endpoint_url} AWS_DEFAULT_REGION={region}")
        typer.echo("  export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local")
        typer.echo("")
        typer.echo("Ctrl-C ends it.")
        told.wait()
