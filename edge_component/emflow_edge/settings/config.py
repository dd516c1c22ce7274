"""The settings of one run: from the deployment's configuration and the command line to one frozen value.

The configuration is JSON as a deployment merges it (`streams`, `modelIO`, `publish`, …); the workshop's keys at its top
level (`rtspStreamURL`, `modelComponentName`, `modelName`, `quantization`, `captureData`) mean the same, so that a
deployment made by hand works too. Numbers may come as text, because Greengrass turns numbers into floats.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emflow_schema import fields
from emflow_schema.edge_config import (
    CaptureSettings,
    ModelIO,
    Observing,
    Publishing,
    Stream,
    read_capture,
    read_model_io,
    read_observing,
    read_publishing,
    read_streams,
)
from emflow_schema.errors import ConfigProblem

GREENGRASS_WORK = Path("/greengrass/v2/work")
AGENT_SOCKET = "/tmp/sagemaker_edge_agent_example.sock"  # noqa: S108 the workshop's path
# What may stand in a configuration beside our keys: `accessControl` is for the nucleus.
KNOWN = frozenset({"accessControl", "agentSocket", "captureData", "modelComponentName", "modelIO", "modelName"}) | {
    "capture",
    "log",
    "metrics",
    "publish",
    "quantization",
    "rtspStreamURL",
    "streams",
    "version",
}
# sockaddr_un.sun_path has 108 bytes, one of them for the closing NUL.
_LONGEST_SOCKET = 107
_MODEL_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")


@dataclass(frozen=True)
class Settings:
    """All that a run needs to know, checked."""

    model_name: str
    model_folder: Path
    streams: tuple[Stream, ...]
    model_io: ModelIO = field(default_factory=ModelIO)
    publish: Publishing = field(default_factory=Publishing)
    observing: Observing = field(default_factory=Observing)
    agent_socket: str = AGENT_SOCKET
    quantized: bool | None = None
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    version: str = "0.0.0"


def unknown_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys that mean nothing here: worth a warning, no more, since a deployment may carry what others read."""
    return tuple(sorted(set(config) - KNOWN))


def settings(config: Mapping[str, Any], assets: Path | None = None, thing: str = "") -> Settings:
    """Check a configuration. Paths of labels are relative to `assets`; topics are filled with the name of the thing.

    Raises:
        ConfigProblem: a value is missing or wrong; the message names its key.
    """
    name = fields.text(config, "modelName", required="-m")
    if not _MODEL_NAME.fullmatch(name):
        raise ConfigProblem(f"modelName: {name!r} is no model name; letters, digits and single dashes inside are")
    folder = model_folder(fields.text(config, "modelComponentName", required="-c"))
    streams = read_streams(config)
    return Settings(
        model_name=name,
        model_folder=folder,
        streams=streams,
        model_io=read_model_io(fields.section(config, "modelIO"), assets),
        publish=read_publishing(
            fields.section(config, "publish"), thing, name, tuple(stream.name for stream in streams)
        ),
        observing=read_observing(fields.section(config, "log"), fields.section(config, "metrics")),
        agent_socket=_agent_socket(config),
        quantized=fields.truth(config, "quantization") if config.get("quantization") not in (None, "") else None,
        capture=read_capture(config),
        version=fields.text(config, "version", "0.0.0"),
    )


def _agent_socket(config: Mapping[str, Any]) -> str:
    path = fields.text(config, "agentSocket", AGENT_SOCKET)
    size = len(os.fsencode(Path(path).absolute()))
    if size > _LONGEST_SOCKET:
        raise ConfigProblem(f"agentSocket: the path has {size} bytes; a socket's can have {_LONGEST_SOCKET}")
    return path


def model_folder(component: str) -> Path:
    """The work folder of a model component; what has a slash in it is a folder already."""
    return Path(component) if "/" in component else GREENGRASS_WORK / component
