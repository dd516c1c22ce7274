"""The environment of a lifecycle script, as the Greengrass documentation lists it.

https://docs.aws.amazon.com/greengrass/v2/developerguide/component-environment-variables.html
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emflow_emulator.access import without_aws

GGC_VERSION = "2.12.6"
"""The nucleus version that this device says it is."""


@dataclass(frozen=True)
class Credentials:
    """Where a component gets AWS credentials: the token exchange service's endpoint."""

    uri: str


@dataclass(frozen=True)
class DeviceIdentity:
    """What is the same for all components of a device."""

    thing: str
    region: str
    endpoint_url: str
    socket: Path
    root_ca: Path


def environment(
    host: Mapping[str, str],
    device: DeviceIdentity,
    token: str,
    credentials: Credentials | None,
    *setenv: Mapping[str, str],
) -> dict[str, str]:
    """The whole environment of a script.

    Args:
        host: this process's environment. What it says about AWS and Python is left out: on a board nothing would be
            there, and credentials of the person at the keyboard must not stand in for the device's.
        token: the component's SVCUID, with which it opens IPC and asks for credentials.
        credentials: None without TokenExchangeService.
        setenv: what the recipe sets, for all steps and for this one.
    """
    kept = {name: value for name, value in host.items() if not name.startswith("PYTHON")}
    result = without_aws(kept) | {
        # First the folder of this Python, so that `python3` in a script is the board's Python with its packages.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), host.get("PATH", os.defpath))),
        "AWS_IOT_THING_NAME": device.thing,
        "AWS_REGION": device.region,
        "AWS_DEFAULT_REGION": device.region,
        "GGC_VERSION": GGC_VERSION,
        "GG_ROOT_CA_PATH": str(device.root_ca),
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH": str(device.socket),
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(device.socket),
        "SVCUID": token,
        # boto3 in a component reaches the embedded cloud, with the device's credentials and nobody's profile.
        "AWS_ENDPOINT_URL": device.endpoint_url,
    }
    if credentials:
        result["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = credentials.uri
        result["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = token
    for each in setenv:
        result.update(each)
    return result
