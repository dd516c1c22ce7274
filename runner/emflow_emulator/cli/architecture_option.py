"""The option `--architecture`, which `up` and `local` have in common."""

from __future__ import annotations

from typing import Annotated

from emflow.cli.parameters import Option

Architecture = Annotated[
    str,
    Option(
        metavar="NAME",
        help="Architecture that the core device says it has, such as aarch64: it uses recipes for it. Programs that "
        "are compiled for it do not run here. The default is that of this machine.",
    ),
]
