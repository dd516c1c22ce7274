"""`emflow local`: the embedded AWS and the broker on loopback until Ctrl-C; with --thing also a virtual core device."""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from pathlib import Path
from typing import Annotated

import click

from emflow.cli.parameters import Option
from emflow.problems import UsageProblem
from emflow_emulator import architecture as architectures
from emflow_emulator.cli.device_options import Architecture, Nucleus, NucleusName, device_note


def local(
    port: Annotated[
        int, Option(min=0, max=65535, metavar="N", help="Port of the embedded AWS; 0 picks a free one.")
    ] = 4566,
    mqtt_port: Annotated[
        int, Option(min=0, max=65535, metavar="N", help="Port of the MQTT broker; 0 picks a free one.")
    ] = 1883,
    core: Annotated[
        list[str] | None, Option(metavar="THING", help="Also run a virtual core device with this thing name.")
    ] = None,
    architecture: Architecture = "",
    nucleus: Nucleus = NucleusName.CLASSIC,
    job_seconds: Annotated[
        float, Option(min=0, metavar="N", help="Duration of compilation and packaging jobs, in seconds.")
    ] = 1.0,
    region: Annotated[str, Option(metavar="REGION", help="Region of the core device.")] = "us-east-1",
) -> None:
    """Run the embedded AWS and the MQTT broker on 127.0.0.1, until Ctrl-C.

    The embedded AWS has S3, IAM, STS, IoT, KMS, Secrets Manager, Greengrass V2 and SageMaker (Neo, Edge Manager). Use
    it from boto3 or the AWS CLI with AWS_ENDPOINT_URL and the access key of this run; requests without the key are
    refused. The command prints both, and writes them to a file for your shell. All data is in memory and is lost at
    the end.
    """
    architectures.check(architecture)
    for thing in core or ():
        if not re.fullmatch(r"[a-zA-Z0-9:_-]{1,128}", thing):
            raise UsageProblem(
                f"{thing!r} is not a thing name",
                where="--core",
                mend="Write 1 to 128 letters, digits, `:`, `_` and `-`.",
            )
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]+", region):
        raise UsageProblem(f"{region!r} is not a region", where="--region", mend="For example: us-east-1.")
    from emflow_emulator.access import Access, write_private
    from emflow_emulator.child import Child
    from emflow_schema.signals import on_end

    stop = threading.Event()
    on_end(lambda _: stop.set())
    # Imported after the signal handlers are set, because these imports take most of the start time.
    from emflow_emulator.aws import EmbeddedAws
    from emflow_emulator.broker import Broker

    with contextlib.ExitStack() as stack:
        access = Access.new()
        broker = stack.enter_context(Broker(port=mqtt_port, user=access.broker))
        aws = stack.enter_context(EmbeddedAws(port, job_seconds=job_seconds, credentials=access.key, broker=broker))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emflow-local-")))
        shell_lines = access.shell_lines(aws.endpoint_url, region)
        shell_file = folder / "credentials.sh"
        write_private(shell_file, "\n".join([*shell_lines, ""]))
        click.echo(f"embedded AWS  {aws.endpoint_url}")
        click.echo(f"MQTT broker   {broker.host}:{broker.port}")
        if core:
            access_file = folder / "access.json"
            access.write(access_file)
            services = ("--endpoint-url", aws.endpoint_url, "--mqtt", f"{broker.host}:{broker.port}")
            common = (
                *services,
                "--access",
                str(access_file),
                "--architecture",
                architecture,
                "--nucleus",
                nucleus.value,
            )
            children = []
            for number, thing in enumerate(core):
                root = folder / f"core-{number}"
                args = ("--thing", thing, "--root", str(root), "--region", region, "--remove", str(folder), *common)
                child = Child("core", "emflow_emulator.core", args, folder / f"core-{number}.log")
                stack.callback(child.stop)
                children.append((child, thing, root))
            for child, thing, root in children:
                child.ready()
                click.echo(f"core device   {thing}  {root}{device_note(architecture, nucleus)}")
        click.echo(f"credentials   {shell_file}")
        click.echo("")
        for line in shell_lines:
            click.echo(f"  {line}")
        click.echo("")
        click.echo("Requests without these credentials are refused. In another shell, run these lines or:")
        click.echo(f"  . {shell_file}")
        click.echo("Ctrl-C ends it.")
        stop.wait()
