"""The settings of one run: from the deployment's configuration and the command line to one frozen value.

What a configuration may hold is `EdgeConfiguration`; this is what it comes to on this device.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emflow_schema.agent_socket import LONGEST_PATH, allowed_users, default_socket, on_this_device
from emflow_schema.edge_config import (
    KNOWN,
    Capture,
    EdgeConfiguration,
    Log,
    Metrics,
    ModelIO,
    Publish,
    Stream,
    read_edge_configuration,
)
from emflow_schema.errors import ConfigProblem
from emflow_schema.key import field_of
from emflow_schema.version import __version__

GREENGRASS_WORK = Path("/greengrass/v2/work")


@dataclass(frozen=True)
class Settings:
    """All that a run needs to know, checked.

    model_io.labels is a path on this device, and the topics of the status and the metrics are filled in.
    """

    model_name: str
    model_folder: Path
    streams: tuple[Stream, ...]
    model_io: ModelIO = field(default_factory=ModelIO)
    publish: Publish = field(default_factory=Publish)
    log: Log = field(default_factory=Log)
    metrics: Metrics = field(default_factory=Metrics)
    agent_socket: str = field(default_factory=lambda: str(default_socket()))
    agent_users: tuple[str, ...] = ()
    quantized: bool | None = None
    capture: Capture = field(default_factory=Capture)
    version: str = __version__


def unknown_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys that mean nothing here: worth a warning, no more, since a deployment may carry what others read."""
    return tuple(sorted(set(config) - KNOWN))


def settings(config: Mapping[str, Any], assets: Path | None = None, thing: str = "") -> Settings:
    """Check a configuration. Paths of labels are relative to `assets`; topics are filled with the name of the thing.

    Raises:
        ConfigProblem: a value is missing or wrong; the message names its key.
    """
    found = read_edge_configuration(config)
    streams, publish = found.streams, found.publish
    for key, wrong in publish.topic_faults(thing, found.model_name, [stream.name for stream in streams]):
        if not wrong.granted:
            raise ConfigProblem(f"publish.{field_of(Publish, key).wire}: {getattr(publish, key)!r}: {wrong.message}")
    for number, stream in enumerate(streams):
        _check_certificates(stream, f"streams[{number}].ca")
    model_io = found.model_io
    if model_io.labels is not None:
        model_io = dataclasses.replace(model_io, labels=str((assets or Path()) / model_io.labels))
    return Settings(
        model_name=found.model_name,
        model_folder=model_folder(found.model_component or ""),
        streams=streams,
        model_io=model_io,
        publish=publish.filled(thing, found.model_name),
        log=found.log,
        metrics=found.metrics,
        agent_socket=_agent_socket(config, found),
        agent_users=found.agent_users,
        quantized=found.quantization,
        capture=found.capture,
        # By hand, nobody gives the version of a component: then it is that of this program.
        version=found.version or __version__,
    )


def _check_certificates(stream: Stream, key: str) -> None:
    try:
        if stream.ca and not Path(stream.ca).is_file():
            raise ConfigProblem(f"{key}: there is no file {stream.ca}")
    except OSError as error:
        raise ConfigProblem(f"{key}: {stream.ca} cannot be read: {error.strerror}") from error


def _agent_socket(config: Mapping[str, Any], found: EdgeConfiguration) -> str:
    """The path on this device. Raises: ConfigProblem: it is too long, or a user that is named does not exist."""
    path = on_this_device(found.agent_socket) if config.get("agentSocket") else default_socket()
    size = len(os.fsencode(path.absolute()))
    if size > LONGEST_PATH:
        raise ConfigProblem(f"agentSocket: the path has {size} bytes; a socket's can have {LONGEST_PATH}")
    try:
        allowed_users(found.agent_users)
    except ValueError as problem:
        raise ConfigProblem(f"agentUsers: {problem}") from None
    return str(path)


def model_folder(component: str) -> Path:
    """The work folder of a model component; what has a slash in it is a folder already.

    The path is absolute: the agent opens it, and may have been started in another folder.
    """
    return Path(component).absolute() if "/" in component else GREENGRASS_WORK / component
