"""The settings of one run: from the deployment's configuration and the command line to one frozen value.

What a configuration may hold is `EdgeConfiguration`; this is what it comes to on this device.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emflow_edge.settings.contents import Contents, contents, label_lines, model_content
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
from emflow_schema.units import Interval
from emflow_schema.version import __version__

GREENGRASS_WORK = Path("/greengrass/v2/work")


@dataclass(frozen=True)
class Settings:
    """All that a run needs to know, checked.

    model_io.labels is a path on this device, and the topics of the status and the metrics are filled in.

    label_lines: what was in that file when the configuration arrived; None where it could not be read, or was not yet.
    camera_files, connection_files: the files that cameras and the connection to a broker need, with their content;
    model_content: what changes with the files of the model; source: the configuration that this was made of.
    accepted_with: the files of the model that these settings were accepted with, as `AgentClient.files_of` has them:
    they run with no other. Empty for those that are new, which are tried with the model that is in the folder.
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
    label_lines: tuple[str, ...] | None = None
    camera_files: Contents = ()
    connection_files: Contents = ()
    model_content: str = ""
    source: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    accepted_with: str = field(default="", compare=False)

    def camera(self, stream: Stream) -> tuple[object, ...]:
        """What makes another camera of a stream: all of its settings but the rate, and the content of its files."""
        files = [content for path, content in self.camera_files if path == stream.ca]
        return dataclasses.replace(stream, every=Interval("0s")), *files

    @property
    def agent(self) -> tuple[object, ...]:
        """What makes another agent."""
        return self.agent_socket, self.agent_users

    @property
    def model(self) -> tuple[object, ...]:
        """What makes another model, or another agent to load it. Its files are compared with what is loaded."""
        return *self.agent, self.model_name, self.model_folder


def unknown_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys that mean nothing here: worth a warning, no more, since a deployment may carry what others read."""
    return tuple(sorted(set(config) - KNOWN))


def settings(
    config: Mapping[str, Any], assets: Path | None = None, thing: str = "", connection_files: Iterable[Path] = ()
) -> Settings:
    """Check a configuration, and read the files that it names.

    Args:
        assets: paths of labels are relative to it.
        thing: the name that topics are filled with.
        connection_files: those that the connection to a broker needs.

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
    folder = model_folder(found.model_component or "")
    return Settings(
        model_name=found.model_name,
        model_folder=folder,
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
        label_lines=label_lines(Path(model_io.labels)) if model_io.labels else None,
        camera_files=contents(Path(stream.ca) for stream in streams if stream.ca),
        connection_files=contents(connection_files),
        model_content=model_content(folder),
        source=config,
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
