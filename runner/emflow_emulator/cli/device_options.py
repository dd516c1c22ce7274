"""The options about the virtual core device, which `up` and `local` have in common."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from emflow.cli.parameters import Option
from emflow_emulator import architecture as architectures

Architecture = Annotated[
    str,
    Option(
        metavar="NAME",
        help="Architecture that the core device says it has, such as aarch64: it uses recipes for it. Programs that "
        "are compiled for it do not run here. The default is that of this machine.",
    ),
]


class NucleusName(StrEnum):
    CLASSIC = "classic"
    LITE = "lite"


Nucleus = Annotated[
    NucleusName,
    Option(help="The Greengrass nucleus that the core device behaves as: what one of them does not do fails here too."),
]


def device_note(architecture: str, nucleus: NucleusName) -> str:
    """What to add about a device that is not like this machine, or does not have the classic nucleus."""
    lite = "  (as the lite nucleus)" if nucleus == NucleusName.LITE else ""
    return lite + architectures.note(architecture)
