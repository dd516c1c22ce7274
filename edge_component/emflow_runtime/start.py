"""Starts a component with the installed packages: waits for them, then runs a module with them on its search path.

    PYTHONPATH=<the component's files> python3 -m emflow_runtime.start <work folder>/<digest> emflow_edge …

Nothing orders the start of components that depend on each other softly, so this one may start first.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from emflow_runtime.folder import COMPLETE, hold, read_complete
from emflow_runtime.image_packages import installed_version
from emflow_runtime.search_path import search_path

PATIENCE = 1800.0
"""Seconds to wait: as long as the installation of 400 MB takes on a slow eMMC."""
_POLL = 0.25
_SAY_EVERY = 30.0


class Refused(Exception):
    """The module cannot be started: one sentence that says why."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the module that the command line names; returns when it does."""
    parser = argparse.ArgumentParser(prog="emflow_runtime.start", description=__doc__.partition("\n")[0])
    parser.add_argument("--wait", type=float, default=PATIENCE, metavar="SECONDS", help="default: %(default)g")
    parser.add_argument("folder", type=Path, help="the packages' folder: <work folder>/<lock digest>")
    parser.add_argument("module", help="what to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="those of the module")
    given = parser.parse_args(arguments)
    try:
        facts = wait_for(given.folder, given.wait)
        use(given.folder, facts)
    except Refused as refused:
        _exit(str(refused))
    sys.argv = [given.module, *given.arguments]
    runpy.run_module(given.module, run_name="__main__", alter_sys=True)


def wait_for(folder: Path, seconds: float) -> dict[str, Any]:
    """Wait until the packages are complete, and keep them from being removed until this process ends.

    Returns:
        What their file `complete` says.

    Raises:
        Refused: they were not complete in time.
    """
    started = time.monotonic()
    said = started - _SAY_EVERY
    while True:
        held = hold(folder)
        facts = read_complete(folder) if held is not None else None
        if facts is not None:
            return facts
        if held is not None:
            os.close(held)
        now = time.monotonic()
        if now - started >= seconds:
            raise Refused(
                f"the packages are not there after {seconds:g} s: {folder / COMPLETE} does not exist; the log of the "
                f"component {folder.parent.name} says why"
            )
        if now - said >= _SAY_EVERY:
            sys.stdout.write(f"emflow: waiting for the packages of {folder.parent.name}, in {folder}\n")
            sys.stdout.flush()
            said = now
        time.sleep(_POLL)


def use(folder: Path, facts: Mapping[str, Any]) -> None:
    """Put the packages on the search path of this process.

    Raises:
        Refused: the board's Python, or a package of its image, is not the one that they were installed for.
    """
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if facts["python"] != python:
        raise Refused(
            f'this board has Python {python}, and the packages are for {facts["python"]}; write python: "{python}" '
            "under edge.board of the workflow, run `emflow lock`, and apply again"
        )
    for name, version in sorted(facts["image"].items()):
        found = installed_version(name)
        if found and version and found != version:
            raise Refused(
                f"the image has {name} {found}, and the packages were installed beside {name} {version}; write the new "
                "version under edge.board.provides of the workflow, run `emflow lock`, and apply again"
            )
    sys.path[:] = search_path(sys.path, str(folder), facts["packages"])
    installed = {path.name.partition(".")[0] for path in folder.iterdir()} if facts["packages"] != "image" else set()
    for module in list(sys.modules):
        if module.partition(".")[0] in installed:  # a .pth file of the image may have imported its own
            del sys.modules[module]
    if folder.stat().st_uid != os.geteuid():
        sys.dont_write_bytecode = True  # files of another user could not be removed with the folder


def _exit(message: str) -> NoReturn:
    sys.stderr.write(f"emflow: {message}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
