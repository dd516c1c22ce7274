"""`emflow package`: makes a signed package of a model, for the agent of a device."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import click

from emflow.cli.parameters import Argument, Option
from emflow.problems import UsageProblem
from emflow_schema.model_manifest import BadManifest, ModelManifest, parse_time, written


def package(
    source: Annotated[
        Path, Argument(metavar="FOLDER|MODEL", help="The model's folder, a .tflite or .onnx, or a .tar.gz of one.")
    ],
    name: Annotated[str, Option(metavar="NAME", help="The model's name: applications load it under this name.")],
    version: Annotated[str, Option(metavar="VERSION", help="The model's version, such as 1.2.0.")],
    key: Annotated[
        str,
        Option(
            metavar="FILE|kms:KEY-ID",
            help="The private key (ECDSA P-256): a PEM file, or kms: and the id, ARN or alias of a key in AWS KMS.",
        ),
    ],
    out: Annotated[
        Path,
        Option(
            "--out",
            "-o",
            metavar="PATH",
            help="What to write: a .zip, a new folder, or the model's own folder.",
        ),
    ],
    not_before: Annotated[
        str | None, Option(metavar="TIME", help="Devices load it from then on: 2027-01-31, or 2027-01-31T12:00:00Z.")
    ] = None,
    not_after: Annotated[
        str | None, Option(metavar="TIME", help="Devices load it until then; a day alone is included.")
    ] = None,
    floor: Annotated[
        str | None,
        Option(
            metavar="VERSION",
            help="The lowest version that a device loads after this one has proved itself there. Default: no change.",
        ),
    ] = None,
    lowers_floor: Annotated[
        str | None,
        Option(
            "--lowers-floor",
            "--lower-floor",
            metavar="VERSION",
            help="Devices whose floor is at most this version load the package although it is older; --floor replaces "
            "theirs.",
        ),
    ] = None,
    region: Annotated[str | None, Option(metavar="REGION", help="AWS region of a key in KMS.")] = None,
    profile: Annotated[str | None, Option(metavar="NAME", help="AWS profile for a key in KMS.")] = None,
) -> None:
    """Sign a model for devices that trust the key (setting TrustKeys of the agent). No network, but for a key in KMS.

    The package holds the model's files, a manifest (emflow-model.json) and the signature of all of them (model.sig),
    in the format of OpenSSF model signing. The same input gives the same bytes, but for the signature itself.
    """
    from emflow.cli.output_files import write_atomically
    from emflow.signing.package import ZIP, check_place, sign_package, verify_package, write_package
    from emflow.signing.signers import open_signer

    try:
        begin = parse_time(not_before) if not_before else None
    except ValueError as error:
        raise UsageProblem(f"--not-before: {error}") from None
    try:
        end = parse_time(not_after, end_of_day=True) if not_after else None
    except ValueError as error:
        raise UsageProblem(f"--not-after: {error}") from None
    try:
        manifest = ModelManifest(name, version, begin, end, floor or "", lowers_floor or "")
    except BadManifest as error:
        raise UsageProblem(f"the package {error}") from None
    check_place(source, out)
    signer = open_signer(key, region, profile)
    made = sign_package(source, manifest, signer)
    if out.suffix.lower() == ZIP:
        write_atomically(out, made.zipped(), mend="give another --out", folder=True)
    else:
        write_package(made, source, out)
    verified = verify_package(out, [signer.public])  # what lies there now, as a device will see it
    click.echo(f"{out}: {manifest}, {len(verified.statement.files)} files, signed by {signer.public}")
    if end and end < datetime.now(UTC):
        click.echo(f"emflow: no device loads it: it expired at {written(end)}", err=True)
