"""The settings of one run: from the deployment's configuration and the command line to one frozen value.

The configuration is JSON as a deployment merges it (`streams`, `modelIO`, `publish`, …); the workshop's keys at its top
level (`rtspStreamURL`, `modelComponentName`, `modelName`, `quantization`, `captureData`) mean the same, so that a
deployment made by hand works too. Numbers may come as text, because Greengrass turns numbers into floats.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emflow_edge import fields
from emflow_edge.problems import ConfigProblem
from emflow_edge.streams import Stream, why_not

GREENGRASS_WORK = Path("/greengrass/v2/work")
AGENT_SOCKET = "/tmp/sagemaker_edge_agent_example.sock"  # noqa: S108 the workshop's path
# What may stand in a configuration beside our keys: `accessControl` is for the nucleus.
KNOWN = frozenset({"accessControl", "agentSocket", "captureData", "modelComponentName", "modelIO", "modelName"}) | {
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
class ModelIO:
    """How pixels become the model's input and its output becomes a label.

    color: the order of channels that the model was trained on. mean, std: for float inputs only, (pixel - mean) / std.
    activation: `softmax` or `none` is done to the dequantised output; `auto` goes by the model.
    class_offset: classes before index 0 of what is published (the background).
    """

    color: str = "rgb"
    resize: str = "stretch"
    mean: fields.Channels = (127.5, 127.5, 127.5)
    std: fields.Channels = (127.5, 127.5, 127.5)
    activation: str = "auto"
    labels: Path | None = None
    class_offset: int = 0
    top_k: int = 3


@dataclass(frozen=True)
class Settings:
    """All that a run needs to know, checked."""

    model_name: str
    model_folder: Path
    streams: tuple[Stream, ...]
    model_io: ModelIO = ModelIO()
    agent_socket: str = AGENT_SOCKET
    quantized: bool | None = None
    capture: bool = False
    topic: str = "em/inference"
    qos: int = 1
    version: str = "0.0.0"


def unknown_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys that mean nothing here: worth a warning, no more, since a deployment may carry what others read."""
    return tuple(sorted(set(config) - KNOWN))


def settings(config: Mapping[str, Any], assets: Path | None = None) -> Settings:
    """Check a configuration. Paths of labels are relative to `assets`.

    Raises:
        ConfigProblem: a value is missing or wrong; the message names its key.
    """
    name = fields.text(config, "modelName", required="-m")
    if not _MODEL_NAME.fullmatch(name):
        raise ConfigProblem(f"modelName: {name!r} is no model name; letters, digits and single dashes inside are")
    publish = fields.section(config, "publish")
    topic = fields.text(publish, "topic", "em/inference", prefix="publish.")
    if not topic or any(sign in "#+" or _no_character(sign) for sign in topic) or len(topic.encode()) > 256:
        raise ConfigProblem(f"publish.topic: {topic!r} is no topic to publish to")
    return Settings(
        model_name=name,
        model_folder=model_folder(fields.text(config, "modelComponentName", required="-c")),
        streams=_streams(config),
        model_io=_model_io(fields.section(config, "modelIO"), assets),
        agent_socket=_agent_socket(config),
        quantized=fields.truth(config, "quantization") if config.get("quantization") not in (None, "") else None,
        capture=fields.truth(config, "captureData"),
        topic=topic,
        qos=fields.whole(publish, "qos", 1, low=0, high=1, prefix="publish."),
        version=fields.text(config, "version", "0.0.0"),
    )


def _no_character(sign: str) -> bool:
    """Whether a code point is one of those that MQTT lets a broker refuse: controls, and what is no character."""
    code = ord(sign)
    return unicodedata.category(sign) == "Cc" or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def _agent_socket(config: Mapping[str, Any]) -> str:
    path = fields.text(config, "agentSocket", AGENT_SOCKET)
    size = len(os.fsencode(Path(path).absolute()))
    if size > _LONGEST_SOCKET:
        raise ConfigProblem(f"agentSocket: the path has {size} bytes; a socket's can have {_LONGEST_SOCKET}")
    return path


def model_folder(component: str) -> Path:
    """The work folder of a model component; what has a slash in it is a folder already."""
    return Path(component) if "/" in component else GREENGRASS_WORK / component


def _streams(config: Mapping[str, Any]) -> tuple[Stream, ...]:
    listed, url = config.get("streams"), fields.text(config, "rtspStreamURL")
    if listed and url:
        raise ConfigProblem("streams and rtspStreamURL are both given: keep one of them")
    if url:
        listed = [{"name": "camera", "url": url}]
    if not listed:
        raise ConfigProblem("streams: there is none; give at least one, or rtspStreamURL, or -s")
    if not isinstance(listed, list):
        raise ConfigProblem("streams: has to be a list")
    streams = tuple(_stream(one, f"streams[{number}]" if not url else "") for number, one in enumerate(listed))
    names = [stream.name for stream in streams]
    for name in names:
        if names.count(name) > 1:
            raise ConfigProblem(f"streams: the name {name!r} is given twice")
    return streams


def _stream(one: Any, place: str) -> Stream:
    if not isinstance(one, Mapping):
        raise ConfigProblem(f"{place}: has to be an object with name, url and every")
    prefix = f"{place}." if place else ""
    url = fields.text(one, "url", required="-s", prefix=prefix)
    wrong = why_not(url)
    if wrong:
        # Without the value: it may hold a password.
        raise ConfigProblem(f"{f'{prefix}url' if place else 'rtspStreamURL'}: {wrong}")
    return Stream(
        name=fields.text(one, "name", required="name", prefix=prefix),
        url=url,
        every=fields.seconds(one, "every", "1s", prefix=prefix),
    )


def _model_io(one: Mapping[str, Any], assets: Path | None) -> ModelIO:
    prefix = "modelIO."
    labels = fields.text(one, "labels", prefix=prefix)
    default = ModelIO()
    return ModelIO(
        color=fields.choice(one, "color", ("rgb", "bgr"), prefix),
        resize=fields.choice(one, "resize", ("stretch",), prefix),
        mean=fields.channels(one, "mean", default.mean, prefix),
        std=fields.channels(one, "std", default.std, prefix, above=0.0),
        activation=fields.choice(one, "activation", ("auto", "softmax", "none"), prefix),
        labels=(assets or Path()) / labels if labels else None,
        class_offset=fields.whole(one, "classOffset", 0, low=0, high=1_000_000, prefix=prefix),
        top_k=fields.whole(one, "topK", 3, low=1, high=1000, prefix=prefix),
    )
