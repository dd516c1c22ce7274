"""Where settings come from: the command line, a JSON file, and the Greengrass nucleus that runs the agent."""

from __future__ import annotations

import argparse
import difflib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emflow_agent.settings.config import (
    COMPONENT,
    DEFAULT_SOCKET,
    OURS,
    WITHOUT_MEANING,
    Layer,
    Settings,
    processors,
    read,
)
from emflow_agent.settings.reading import BadSetting

LARGEST_FILE = 1 << 20
SOCKET_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
NUCLEUS_TIMEOUT = 10.0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="emflow-agent",
        description="Loads models and runs them for the applications of this device, over gRPC on a Unix socket. "
        "Clients made for the SageMaker Edge Manager agent work unchanged.",
        epilog="What is said here wins over the Greengrass configuration, and that over the file. Ends on SIGTERM and "
        "SIGINT after the calls under way. Exit codes: 0 ended when told to, 1 could not serve, 2 the command line or "
        "a setting is wrong.",
    )
    # The original agent's program knew -a and -c.
    made.add_argument("-a", "--socket", metavar="PATH", help=f"default: {DEFAULT_SOCKET}")
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
        f"{processors()})",
    )
    made.add_argument(
        "--clean-stale-socket",
        action="store_true",
        help="remove a socket that is left from before; one that is served is never touched",
    )
    made.add_argument(
        "--no-trial",
        dest="trial",
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


def settings(arguments: Sequence[str] | None = None) -> Settings:
    """The settings that a command line, and what it points at, come to.

    Raises:
        BadSetting: one of them is wrong, or its place cannot be read.
        SystemExit: the command line is no command line, or asks for help.
    """
    options = parser().parse_args(arguments)
    layers = []
    if options.config:
        layers.append(Layer(str(options.config), _file(options.config)))
    if options.greengrass:
        layers.append(Layer("the Greengrass configuration", _from_nucleus()))
    layers.append(Layer("the command line", _flags(options)))
    return read(layers)


def _flags(options: argparse.Namespace) -> dict[str, str]:
    said = dict(options.settings)
    given = {
        "UnixSocketName": options.socket,
        "DeviceFleetName": options.fleet,
        "Threads": options.threads,
        "SagemakerEdgeLogVerbose": options.verbose,
        "CleanStaleSocket": "true" if options.clean_stale_socket else None,
        "Trial": None if options.trial else "false",
    }
    return {**said, **{key: value for key, value in given.items() if value is not None}}


def _file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST_FILE:
        raise BadSetting(f"{path} has more than {LARGEST_FILE} bytes, which no configuration has")
    try:
        # A byte order mark is what some editors leave at the front.
        document = json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise BadSetting(f"{path} is nested too deeply for a configuration") from None
    except ValueError as error:
        raise BadSetting(f"{path} is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadSetting(f"{path} has to hold a JSON object, settings by their names")
    return document


def _from_nucleus() -> dict[str, Any]:
    """Over IPC, not through the recipe's script: text that is put into a shell script is a script."""
    where = os.environ.get(SOCKET_VARIABLE)
    if not where:
        raise BadSetting(f"--greengrass: no nucleus runs this; it would have set {SOCKET_VARIABLE}")
    try:
        from awsiot.greengrasscoreipc import clientv2
    except ImportError as error:
        raise BadSetting(f"--greengrass: {error}; install it with: pip install awsiotsdk") from None
    try:
        client = clientv2.GreengrassCoreIPCClientV2()
        try:
            answer = client.get_configuration_async().result(NUCLEUS_TIMEOUT)
        finally:
            client.close(executor_wait=False)
    except Exception as error:
        # awscrt has no common class of errors; the SDK's own keep their sentence in `message`.
        words = getattr(error, "message", None) or str(error) or type(error).__name__
        raise BadSetting(f"the Greengrass nucleus at {where} gives no configuration: {words}") from None
    return dict(answer.value or {})


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    if key not in (*COMPONENT, *OURS, *WITHOUT_MEANING):
        near = difflib.get_close_matches(key, (*COMPONENT, *OURS), 1)
        raise argparse.ArgumentTypeError(f"{key!r} is not a setting{f'; is it {near[0]}?' if near else ''}")
    return key, value
