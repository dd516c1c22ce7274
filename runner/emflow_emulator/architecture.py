"""A virtual core that says it has another architecture than this machine.

Recipes for a board's architecture are used then. Programs that are compiled for it do not run here.
"""

from __future__ import annotations

import platform

from emflow.problems import UsageProblem

ARCHITECTURES = ("amd64", "aarch64", "arm", "x86")
"""Those that recipes name."""

_OF_MACHINES = {
    "x86_64": "amd64",
    "AMD64": "amd64",
    "arm64": "aarch64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "x86",
}


def of_this_machine() -> str:
    """This machine's architecture in Greengrass's words."""
    machine = platform.machine()
    return _OF_MACHINES.get(machine, machine)


def check(architecture: str) -> None:
    """Refuse an architecture that does not exist; empty is that of this machine.

    Raises:
        UsageProblem: there is no such architecture.
    """
    if architecture and architecture not in ARCHITECTURES:
        raise UsageProblem(
            f"{architecture!r} is not an architecture that recipes name",
            where="--architecture",
            mend=f"One of: {', '.join(ARCHITECTURES)}.",
        )


def note(architecture: str) -> str:
    """What to add about a device that says it has this architecture; empty when it is that of this machine."""
    here = of_this_machine()
    if architecture in ("", here):
        return ""
    return f"  (says that it is {architecture}; programs compiled for it do not run on this machine, which is {here})"
