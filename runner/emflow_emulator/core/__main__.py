"""The virtual core device as a process: `python -m emflow_emulator.core --thing NAME --root DIR …`."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
from pathlib import Path

from emflow.problems import Problem, UsageProblem
from emflow_emulator import child
from emflow_emulator.access import Access
from emflow_emulator.core.nuclei import NUCLEI
from emflow_emulator.core.nucleus import Nucleus


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m emflow_emulator.core", description=__doc__)
    parser.add_argument("--thing", required=True, help="name of the core device's thing")
    parser.add_argument("--root", required=True, type=Path, help="its folder, /greengrass/v2 on a board")
    parser.add_argument("--endpoint-url", required=True, help="the embedded AWS, such as http://127.0.0.1:4566")
    parser.add_argument("--mqtt", required=True, metavar="HOST:PORT", help="the embedded broker")
    parser.add_argument(
        "--access", type=Path, required=True, metavar="FILE", help="JSON file with the access key and the broker's user"
    )
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--role-alias", help="the role alias for credentials; default: the account's first")
    parser.add_argument(
        "--architecture", default="", help="the architecture that it says it has; default: this machine's"
    )
    parser.add_argument(
        "--remove",
        type=Path,
        metavar="DIR",
        help="a temporary folder to remove when the parent process was killed",
    )
    parser.add_argument("--nucleus", choices=sorted(NUCLEI), default="classic", help="the nucleus that it behaves as")
    parser.add_argument(
        "--deployment-seconds",
        type=float,
        metavar="N",
        help="seconds in which a deployment has to end, for a nucleus with such a limit; default: that of the nucleus",
    )
    options = parser.parse_args()
    nucleus = NUCLEI[options.nucleus]
    if options.deployment_seconds is not None and nucleus.deployment_seconds is not None:
        nucleus = dataclasses.replace(nucleus, deployment_seconds=options.deployment_seconds)
    # On a board, only the owner may write into what the nucleus and its components make, and the agent demands it.
    os.umask(os.umask(0o077) | 0o022)
    # Signal handlers are set before anything is started, so that a signal during the start stops all parts.
    stop = child.stop_event()
    try:
        device = Nucleus(
            thing=options.thing,
            root=options.root,
            endpoint_url=options.endpoint_url,
            mqtt=_address(options.mqtt),
            access=Access.read(options.access),
            region=options.region,
            role_alias=options.role_alias,
            removes=options.remove and _temporary(options.remove),
            architecture=options.architecture,
            nucleus=nucleus,
        )
        arn = device.start()
    except Problem as problem:
        return child.fail(problem)
    try:
        child.announce(thing=options.thing, root=str(device.layout.root), thing_arn=arn)
        stop.wait()
    finally:
        device.stop()
    return 0


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise UsageProblem(f"{text!r} is not HOST:PORT", where="--mqtt")
    return host, int(port)


def _temporary(folder: Path) -> Path:
    """The folder, if it may be removed: emflow made it, directly in the system's folder for temporary files."""
    place = Path(tempfile.gettempdir()).resolve()
    whole = folder.absolute()
    if whole.parent.resolve() != place or not whole.name.startswith("emflow-") or not whole.is_dir():
        raise UsageProblem(f"{folder} is not a folder emflow-… in {place}", where="--remove")
    if whole.is_symlink():
        raise UsageProblem(f"{folder} is a link", where="--remove")
    return whole


if __name__ == "__main__":
    sys.exit(main())
