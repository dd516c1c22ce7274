"""`emflow verify`: verifies a signed package of a model, as the agent of a device does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import click

from emflow.cli.parameters import Argument, Option
from emflow.problems import Problem, UsageProblem, printable


def verify(
    package: Annotated[Path, Argument(metavar="PACKAGE", help="A folder, or a .zip.")],
    key: Annotated[
        list[Path],
        Option(metavar="FILE", help="Public key that has to have signed it, in PEM format; may be repeated."),
    ],
    name: Annotated[str | None, Option(metavar="NAME", help="The model that it has to be of.")] = None,
    version: Annotated[str | None, Option(metavar="VERSION", help="The version that it has to be of.")] = None,
) -> None:
    """Verify signature, files and times of a package. No network.

    A folder that the command model_signing signed is verified too. Without a signed manifest (emflow-model.json) it is
    no package that a device would load, which is said as a warning.
    """
    from emflow.signing.package import read_public_keys, verify_package
    from emflow_schema.model_manifest import MANIFEST, written
    from emflow_schema.signed_package import BadPackage, check_times

    for option, given in (("--name", name), ("--version", version)):
        if given == "":  # a variable that is not set must not turn the comparison off
            raise UsageProblem(f"{option} is empty; give what the package has to be of, or leave {option} out")
    verified = verify_package(package, read_public_keys(key))
    manifest = verified.manifest
    try:
        check_times(manifest, verified.key, datetime.now(UTC))
        if name or version:
            verified.check_model(name or (manifest.name if manifest else ""), version or "")
    except BadPackage as problem:
        raise Problem(str(problem), where=str(package)) from None
    what = str(manifest) if manifest else "a model without a name"
    click.echo(printable(f"{package}: {what}, {len(verified.statement.files)} files, signed by {verified.key}"))
    if manifest is None:
        click.echo(f"emflow: no device loads it: it has no signed {MANIFEST}; sign it with emflow package", err=True)
        return
    limits = [("valid from", manifest.not_before), ("valid until", manifest.not_after)]
    facts = [f"{what} {written(moment)}" for what, moment in limits if moment]
    facts += [f"floor {manifest.floor}"] if manifest.floor else []
    facts += [f"lowers the floor {manifest.lowers_floor}"] if manifest.lowers_floor else []
    if facts:
        click.echo(f"  {', '.join(facts)}")
