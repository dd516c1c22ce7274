"""The environment of a lifecycle script, as the Greengrass documentation lists it.

https://docs.aws.amazon.com/greengrass/v2/developerguide/component-environment-variables.html
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emflow_emulator.access import without_aws
from emflow_emulator.core.nuclei import CLASSIC, NucleusModel


@dataclass(frozen=True)
class Credentials:
    """The endpoint of the token exchange service, from which components get AWS credentials."""

    uri: str


@dataclass(frozen=True)
class DeviceIdentity:
    """The values that are the same for all components of a device."""

    thing: str
    region: str
    endpoint_url: str
    socket: Path
    root_ca: Path
    python: Path | None = None
    """The folder with the device's `python3`; None: the first one on the path."""
    nucleus: NucleusModel = CLASSIC


_OF_PYTHON = ("PYTHON", "VIRTUAL_ENV", "CONDA_", "__PYVENV")
"""Beginnings of variables that name a Python, or where its packages are."""


def search_path(host: Mapping[str, str], python: Path | None) -> str:
    """The device's PATH: its own Python first, then this machine's programs without those of emflow's Python.

    Args:
        host: this process's environment.
        python: the folder with the device's `python3`, if it has one.
    """
    programs = [
        entry for entry in host.get("PATH", os.defpath).split(os.pathsep) if entry and not _is_of_emflow(Path(entry))
    ]
    return os.pathsep.join([*([str(python)] if python else []), *programs])


def _is_of_emflow(folder: Path) -> bool:
    """Whether a folder of programs belongs to the Python that runs this process. One with a shell is the system's."""
    ours = {Path(sys.executable).parent, Path(sys.prefix, "bin"), Path(sysconfig.get_path("scripts"))}
    return (
        bool({folder, folder.resolve()} & {*ours, *(each.resolve() for each in ours)}) and not (folder / "sh").exists()
    )


def _names_ours(value: str) -> bool:
    """Whether a variable names the virtual environment that runs this process, as `_` of a shell does."""
    return sys.prefix != sys.base_prefix and sys.prefix in value


def environment(
    host: Mapping[str, str],
    device: DeviceIdentity,
    token: str,
    credentials: Credentials | None,
    *setenv: Mapping[str, str],
) -> dict[str, str]:
    """All environment variables of a script.

    Args:
        host: this process's environment. Its variables for AWS and Python are left out: a board does not have them, and
            the user's own credentials must not be used instead of the device's. The same is true for the programs and
            packages of the Python that runs this process.
        token: the component's SVCUID, with which it connects to IPC and requests credentials.
        credentials: None without TokenExchangeService.
        setenv: the recipe's variables, for all steps and for this one.
    """
    kept = {name: value for name, value in host.items() if not name.startswith(_OF_PYTHON) and not _names_ours(value)}
    result = without_aws(kept) | {
        "PATH": search_path(host, device.python),
        "AWS_IOT_THING_NAME": device.thing,
        "AWS_REGION": device.region,
        "AWS_DEFAULT_REGION": device.region,
        "GGC_VERSION": device.nucleus.version,
        "GG_ROOT_CA_PATH": str(device.root_ca),
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(device.socket),
        "SVCUID": token,
        # boto3 in a component uses the embedded AWS with the device's credentials, without any profile.
        "AWS_ENDPOINT_URL": device.endpoint_url,
    }
    if device.nucleus.legacy_socket_variable:
        result["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH"] = str(device.socket)
    if credentials:
        result["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = credentials.uri
        result["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = token
    for each in setenv:
        result.update(each)
    return result
