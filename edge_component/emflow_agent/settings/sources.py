"""Sources of the settings: the command line, a JSON file, and the Greengrass nucleus."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emflow_agent.settings.command_line import parser
from emflow_agent.settings.config import Layer, Settings, read
from emflow_agent.settings.reading import BadSetting

LARGEST_FILE = 1 << 20
SOCKET_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
NUCLEUS_TIMEOUT = 10.0


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Read the settings from the command line and the sources that it names.

    Raises:
        BadSetting: a setting is invalid, or a source cannot be read.
        SystemExit: the command line is wrong, or asks for help.
    """
    options = parser().parse_args(arguments)
    return _merged(options, _from_nucleus() if options.greengrass else None)


def fault_in(configuration: Mapping[str, Any], arguments: Sequence[str] | None = None) -> str:
    """What is wrong with a Greengrass configuration, together with the other sources; empty when nothing is."""
    try:
        _merged(parser().parse_args(arguments), configuration)
    except BadSetting as problem:
        return str(problem)
    return ""


def _merged(options: argparse.Namespace, configuration: Mapping[str, Any] | None) -> Settings:
    layers = []
    if options.config:
        layers.append(Layer(str(options.config), _file(options.config)))
    if configuration is not None:
        layers.append(Layer("the Greengrass configuration", configuration))
    layers.append(Layer("the command line", _flags(options)))
    return read(layers)


def _flags(options: argparse.Namespace) -> dict[str, str]:
    values = dict(options.settings)
    given = {
        "UnixSocketName": options.socket,
        "DeviceFleetName": options.fleet,
        "Threads": options.threads,
        "SagemakerEdgeLogVerbose": options.verbose,
        "CleanStaleSocket": "true" if options.clean_stale_socket else None,
        "Trial": None if options.probe else "false",
    }
    return {**values, **{key: value for key, value in given.items() if value is not None}}


def _file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST_FILE:
        raise BadSetting(f"{path} has more than {LARGEST_FILE} bytes, too many for a configuration")
    try:
        # Some editors write a byte order mark.
        document = json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise BadSetting(f"{path} is nested too deeply") from None
    except ValueError as error:
        raise BadSetting(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadSetting(f"{path} must hold a JSON object with settings")
    return document


def _from_nucleus() -> dict[str, Any]:
    """Read the configuration over IPC. The recipe must not insert it into a shell script, where it could inject
    commands."""
    where = os.environ.get(SOCKET_VARIABLE)
    if not where:
        raise BadSetting(f"--greengrass: not started by Greengrass ({SOCKET_VARIABLE} is not set)")
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
        # awscrt has no common base class of errors; errors of the SDK have their text in `message`.
        words = getattr(error, "message", None) or str(error) or type(error).__name__
        raise BadSetting(f"the Greengrass nucleus at {where} does not return the configuration: {words}") from None
    return dict(answer.value or {})
