"""The command line of `emflow-agent`. Needs no package, so that `--help` tells even where the extra is missing."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from emflow_agent.settings.names import COMPONENT_NAMES, WITHOUT_MEANING, default_threads
from emflow_schema.agent_socket import default_socket


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="emflow-agent",
        description="Loads models and runs them for the applications of this device, over gRPC on a Unix socket. "
        "Clients made for the SageMaker Edge Manager agent work unchanged.",
        epilog="Options override the Greengrass configuration, which overrides the file. Ends on SIGTERM and "
        "SIGINT after the calls under way. Exit codes: 0 ended by a signal, 1 could not serve, 2 the command line or "
        "a setting is wrong.",
    )
    # The original agent's program knew -a and -c.
    made.add_argument("-a", "--socket", metavar="PATH", help=f"the agent's Unix socket; default: {default_socket()}")
    made.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help="JSON object with settings, by the names of the Greengrass component or of the original agent's file",
    )
    made.add_argument(
        "--greengrass", action="store_true", help="take the configuration of the component that this runs as"
    )
    made.add_argument("--fleet", metavar="NAME", help="device fleet that this device belongs to")
    made.add_argument(
        "--threads",
        metavar="N",
        help="CPU threads for one inference (default: as many as it may use processors, at most 4; here "
        f"{default_threads()})",
    )
    made.add_argument(
        "--clean-stale-socket",
        action="store_true",
        help="remove a socket that is left from before; one that is served is never touched",
    )
    made.add_argument(
        "--no-trial",
        dest="probe",
        action="store_false",
        help="do not run a model in a process of its own before it is loaded: loads sooner, and a file that crashes "
        "the runtime ends the agent",
    )
    made.add_argument(
        "--verbose", nargs="?", const="true", metavar="true|false", help="log every refused call and more"
    )
    made.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        type=_setting,
        metavar="KEY=VALUE",
        help="any other setting, by its name in docs/agent.md, such as SocketGroup=camera; may be repeated",
    )
    return made


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    if key not in (*COMPONENT_NAMES, *WITHOUT_MEANING):
        near = difflib.get_close_matches(key, COMPONENT_NAMES, 1)
        raise argparse.ArgumentTypeError(f"{key!r} is not a setting{f'; is it {near[0]}?' if near else ''}")
    return key, value
