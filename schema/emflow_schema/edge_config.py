"""Cameras as the configuration names them: the section `streams`, or the workshop's `rtspStreamURL`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emflow_schema import fields, topics
from emflow_schema.errors import ConfigProblem
from emflow_schema.stream_url import RTSP, SCHEMES, Place, redacted, split

__all__ = ["BACKENDS", "PRESETS", "SCHEMES", "TRANSPORTS", "Stream", "read_streams", "redacted", "why_not"]

TRANSPORTS = ("tcp", "udp")
BACKENDS = ("auto", "ffmpeg", "opencv", "gstreamer")
PRESETS = ("imx8mp", "imx8mp-h265", "decodebin")
GSTREAMER = "gstreamer:"
_SECRET = re.compile(r"arn:[^\s]+|[\w/+=.@-]+")


@dataclass(frozen=True)
class Stream:
    """One camera and how it is read.

    every: seconds between two inferences, 0 is as fast as it goes; every_frames: with n above 0, every n-th frame
    instead. backend: `auto` is ours with PyAV where that is installed, else OpenCV's FFmpeg. pipeline: a preset's name,
    or a GStreamer pipeline that may hold `{url}`. secret: name or ARN of one in Secrets Manager with `username` and
    `password`. ca: file of certificates to trust for rtsps and https; the system's when empty. Timeouts in seconds;
    frozen_after, black_after: seconds after which such a picture is reported, 0 never.
    """

    name: str
    url: str = field(repr=False)
    every: float = 1.0
    every_frames: int = 0
    transport: str = "tcp"
    backend: str = "auto"
    pipeline: str = field(default="", repr=False)
    secret: str = ""
    ca: str = ""
    open_timeout: float = 5.0
    read_timeout: float = 3.0
    frozen_after: float = 30.0
    black_after: float = 30.0

    @property
    def place(self) -> Place:
        """The parts of the URL."""
        return split(self.url)

    @property
    def scheme(self) -> str:
        """The URL's scheme; `gstreamer` where a pipeline stands for the URL."""
        return self.url.partition(":")[0].lower()

    @property
    def shown(self) -> str:
        """The URL as it may appear in a log."""
        return redacted(self.url)

    @property
    def pace(self) -> str:
        """How often, in words."""
        if self.every_frames:
            return f"every {self.every_frames} frames"
        return f"every {self.every:g} s" if self.every else "as fast as it goes"


def why_not(url: str) -> str | None:
    """What is wrong with a stream URL, in words without the URL; None when nothing is."""
    if url.lower() == GSTREAMER:
        return None
    try:
        split(url)
    except ValueError as error:
        return str(error)
    return None


def read_streams(config: Mapping[str, Any]) -> tuple[Stream, ...]:
    """Check `streams`, or the workshop's `rtspStreamURL`.

    Raises:
        ConfigProblem: there is none, or a value is wrong.
    """
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
    every, every_frames = fields.every(one, "every", "1s", prefix)
    stream = Stream(
        name=fields.text(one, "name", required="name", prefix=prefix),
        url=url,
        every=every,
        every_frames=every_frames,
        transport=fields.choice(one, "transport", TRANSPORTS, prefix),
        backend=fields.choice(one, "backend", BACKENDS, prefix),
        pipeline=fields.text(one, "pipeline", prefix=prefix),
        secret=_secret(one, f"{prefix}credentials"),
        ca=fields.text(one, "ca", prefix=prefix),
        open_timeout=_timeout(one, "openTimeout", "5s", prefix),
        read_timeout=_timeout(one, "readTimeout", "3s", prefix),
        frozen_after=fields.seconds(one, "frozenAfter", "30s", prefix),
        black_after=fields.seconds(one, "blackAfter", "30s", prefix),
    )
    _check(stream, prefix)
    return stream


def _check(stream: Stream, prefix: str) -> None:
    """Raise ConfigProblem where two values do not fit each other."""
    pipeline, scheme = stream.pipeline, stream.scheme
    if pipeline and "!" not in pipeline and pipeline not in PRESETS:
        # Without the value: it may hold a URL with a password.
        raise ConfigProblem(
            f"{prefix}pipeline: is neither {' nor '.join(PRESETS)} nor a pipeline (elements joined by !)"
        )
    if scheme == "gstreamer" and "!" not in pipeline:
        raise ConfigProblem(f"{prefix}pipeline: is missing; gstreamer: needs one, as in videotestsrc ! appsink")
    if pipeline and stream.backend not in ("auto", "gstreamer"):
        raise ConfigProblem(f"{prefix}backend: {stream.backend} runs no pipeline; leave it out, or say gstreamer")
    if pipeline and scheme not in ("gstreamer", *RTSP) and pipeline in PRESETS:
        raise ConfigProblem(f"{prefix}pipeline: {pipeline} is for RTSP; this stream's URL begins with {scheme}://")
    if stream.backend == "gstreamer" and not pipeline and scheme not in RTSP:
        raise ConfigProblem(f"{prefix}pipeline: is missing; backend gstreamer needs one for {scheme}://")
    if scheme in ("rtspt", "rtsps") and stream.transport == "udp":
        raise ConfigProblem(f"{prefix}transport: {scheme}:// is always over TCP; leave it out, or say rtsp://")
    try:
        if stream.ca and not Path(stream.ca).is_file():
            raise ConfigProblem(f"{prefix}ca: there is no file {stream.ca}")
    except OSError as error:
        raise ConfigProblem(f"{prefix}ca: {stream.ca} cannot be read: {error.strerror}") from error


def _secret(one: Mapping[str, Any], key: str) -> str:
    given = one.get("credentials")
    if given is None or given == {}:
        return ""
    if not isinstance(given, Mapping):
        raise ConfigProblem(f"{key}: has to be an object with secret")
    secret = fields.text(given, "secret", prefix=f"{key}.")
    if set(given) - {"secret"} or not _SECRET.fullmatch(secret):
        # Without the values: one of them may be a password.
        raise ConfigProblem(f"{key}: has to hold secret, the name or ARN of one in Secrets Manager, and nothing else")
    return secret


def _timeout(one: Mapping[str, Any], key: str, default: str, prefix: str) -> float:
    value = fields.seconds(one, key, default, prefix)
    if value < 0.1:
        raise ConfigProblem(f"{prefix}{key}: has to be 100ms or longer")
    return value


# How pixels become the model's input and its output becomes what people call it: the section `modelIO`.


ROLES = ("boxes", "classes", "scores", "count")


@dataclass(frozen=True)
class Boxes:
    """How a detector's outputs are read.

    outputs: the role of each output in the model's order; empty: told from their shapes and names. order: of a box's
    four numbers: two corners from the top (`yxyx`) or from the left (`xyxy`), or centre and size (`cxcywh`). units:
    `fraction` of the model's picture, or its `pixels`. most: how many detections a result has at most.
    iou: of two boxes of a class that overlap by more than this (intersection over union) the weaker one goes; None: as
    the model needs it, which is 0.5 where it does not do that itself. 1 leaves all.
    """

    outputs: tuple[str, ...] = ()
    order: str = "yxyx"
    units: str = "fraction"
    most: int = 100
    iou: float | None = None


@dataclass(frozen=True)
class ModelIO:
    """How pixels become the model's input and its output becomes what people call it.

    task: `classification` names the whole picture, `detection` finds things in it.
    color: the order of channels that the model was trained on. resize: see `vision.placement`; margin: the pixel value
    of a letterbox' margins. mean, std: (pixel - mean) / std, in pixels; None: as the model's type has it.
    activation: `softmax`, `sigmoid` or `none` is done to the dequantised output; `auto` goes by the model.
    confidence: a `probability`, or the `workshop`'s number: the output's raw byte / 255.
    class_offset: classes before index 0 of what is published (the background).
    top_k: how many of the best classes are told. threshold: confidence under which a class or thing is not told.
    """

    task: str = "classification"
    color: str = "rgb"
    resize: str = "stretch"
    margin: int = 0
    mean: fields.Channels | None = None
    std: fields.Channels | None = None
    activation: str = "auto"
    confidence: str = "probability"
    labels: Path | None = None
    class_offset: int = 0
    top_k: int = 3
    threshold: float = 0.0
    boxes: Boxes = field(default_factory=Boxes)


def read_model_io(one: Mapping[str, Any], assets: Path | None) -> ModelIO:
    """Check the section `modelIO`. Paths of labels are relative to `assets`.

    Raises:
        ConfigProblem: a value is wrong.
    """
    prefix = "modelIO."
    labels = fields.text(one, "labels", prefix=prefix)
    task = fields.choice(one, "task", ("classification", "detection"), prefix)
    return ModelIO(
        task=task,
        color=fields.choice(one, "color", ("rgb", "bgr"), prefix),
        resize=fields.choice(one, "resize", ("stretch", "letterbox", "crop"), prefix),
        margin=fields.whole(one, "margin", 0, low=0, high=255, prefix=prefix),
        mean=fields.channels(one, "mean", prefix),
        std=fields.channels(one, "std", prefix, above=0.0),
        activation=fields.choice(one, "activation", ("auto", "softmax", "sigmoid", "none"), prefix),
        confidence=fields.choice(one, "confidence", ("probability", "workshop"), prefix),
        labels=(assets or Path()) / labels if labels else None,
        class_offset=fields.whole(one, "classOffset", 0, low=0, high=1_000_000, prefix=prefix),
        top_k=fields.whole(one, "topK", 3, low=1, high=1000, prefix=prefix),
        threshold=fields.number(one, "threshold", 0.5 if task == "detection" else 0.0, low=0, high=1, prefix=prefix),
        boxes=_boxes(fields.section(one, "boxes")),
    )


def _boxes(one: Mapping[str, Any]) -> Boxes:
    prefix = "modelIO.boxes."
    outputs = tuple(part.strip() for part in fields.text(one, "outputs", prefix=prefix).split(",") if part.strip())
    wrong = [role for role in outputs if role not in ROLES]
    if wrong or len(set(outputs)) != len(outputs) or (outputs and not {"boxes", "scores"} <= set(outputs)):
        raise ConfigProblem(f"{prefix}outputs: has to name boxes and scores, and may name classes and count, each once")
    return Boxes(
        outputs=outputs,
        order=fields.choice(one, "order", ("yxyx", "xyxy", "cxcywh"), prefix),
        units=fields.choice(one, "units", ("fraction", "pixels"), prefix),
        most=fields.whole(one, "most", 100, low=1, high=10_000, prefix=prefix),
        iou=fields.number(one, "iou", 0.5, low=0, high=1, prefix=prefix) if one.get("iou") not in (None, "") else None,
    )


# Where results go, how, and which: the section `publish`.


MQTT = ("3.1.1", "5")


@dataclass(frozen=True)
class Publishing:
    """How results, the status and metrics are published.

    topic: of results, in which `{thing}`, `{stream}` and `{model}` stand for a result's. status_topic, metrics_topic:
    filled in already, empty for none. qos: of all messages.
    on_change: publish a stream's result only when its best class, or the set of classes that were detected, is another
    than in the one published before; every: seconds after which one goes out all the same, 0 for never.
    threshold: results whose best confidence is lower are not published.
    mqtt: version of the protocol, where it is spoken directly. expiry: whole seconds for which a broker of MQTT 5 keeps
    a result for who is away, 0 for as long as it likes.
    """

    topic: str = "em/inference"
    qos: int = 1
    status_topic: str = ""
    metrics_topic: str = ""
    on_change: bool = False
    every: float = 60.0
    threshold: float = 0.0
    mqtt: str = MQTT[0]
    expiry: int = 0

    def same_connection(self, other: Publishing) -> bool:
        """Whether both can be published over one connection: its last will names the status topic."""
        mine = (self.mqtt, self.expiry, self.qos, self.status_topic)
        return mine == (other.mqtt, other.expiry, other.qos, other.status_topic)


def read_publishing(
    one: Mapping[str, Any], thing: str = "", model: str = "", streams: Sequence[str] = ()
) -> Publishing:
    """Check the section `publish`.

    Args:
        one: the section.
        thing, model, streams: the names that topics may be filled with.

    Raises:
        ConfigProblem: a value is wrong.
    """
    shared = {"thing": thing, "model": model}
    names = {place: [name] for place, name in shared.items()}
    results = fields.text(one, "topic", "em/inference", prefix="publish.")
    topics.check(results, "publish.topic", {**names, "stream": streams})
    others = {}
    for key in ("statusTopic", "metricsTopic"):
        template = fields.text(one, key, prefix="publish.")
        topics.check(template, f"publish.{key}", names)
        others[key] = topics.fill(template, shared)
    taken = {topics.fill(results, {**shared, "stream": stream}) for stream in streams or ("",)}
    if others["statusTopic"] and others["statusTopic"] in {*taken, others["metricsTopic"]}:
        raise ConfigProblem("publish.statusTopic: results or metrics go there, too; give it a topic of its own")
    mqtt = fields.choice(one, "mqtt", MQTT, "publish.")
    expiry = fields.seconds(one, "expiry", "0s", prefix="publish.")
    if expiry != int(expiry):
        raise ConfigProblem("publish.expiry: has to be whole seconds")
    if expiry and mqtt != "5":
        raise ConfigProblem("publish.expiry: is for MQTT 5; say so in publish.mqtt")
    return Publishing(
        topic=results,
        qos=fields.whole(one, "qos", 1, low=0, high=1, prefix="publish."),
        status_topic=others["statusTopic"],
        metrics_topic=others["metricsTopic"],
        on_change=fields.truth({"publish.onChange": one.get("onChange") or "False"}, "publish.onChange"),
        every=fields.seconds(one, "every", "1m", prefix="publish."),
        threshold=fields.number(one, "threshold", 0.0, low=0.0, high=1.0, prefix="publish."),
        mqtt=mqtt,
        expiry=int(expiry),
    )


# What is to be seen of a run: the sections `log` and `metrics`.


_LEAST = 1.0


@dataclass(frozen=True)
class Observing:
    """How a run can be watched.

    log_format: `text`, or `json` for one object a line; log_level: `info`, `debug` or `warning`; every: seconds between
    two reports of the counters; port: of the metrics and pictures on 127.0.0.1, 0 for none.
    """

    log_format: str = "text"
    log_level: str = "info"
    every: float = 60.0
    port: int = 0


def read_observing(log: Mapping[str, Any], metrics: Mapping[str, Any]) -> Observing:
    """Check the sections `log` and `metrics`.

    Raises:
        ConfigProblem: a value is wrong.
    """
    every = fields.seconds(metrics, "every", "1m", prefix="metrics.")
    if every < _LEAST:
        raise ConfigProblem("metrics.every: is shorter than a second")
    return Observing(
        log_format=fields.choice(log, "format", ("text", "json"), "log."),
        log_level=fields.choice(log, "level", ("info", "debug", "warning"), "log."),
        every=every,
        port=fields.whole(metrics, "port", 0, low=0, high=65535, prefix="metrics."),
    )


# Which results are captured, tensors and all: the section `capture`, or the workshop's `captureData`.


KEYS = frozenset(("enabled", "every"))


@dataclass(frozen=True)
class CaptureSettings:
    """Whether the agent is given the tensors of results, and of which.

    every: seconds between two captures of one stream, 0 for every result; every_frames: with n above 0, every n-th
    result instead.
    """

    enabled: bool = False
    every: float = 10.0
    every_frames: int = 0


def read_capture(config: Mapping[str, Any]) -> CaptureSettings:
    """Check `capture` and `captureData`, which means `capture.enabled`.

    Raises:
        ConfigProblem: a value is wrong, or the two contradict each other.
    """
    one = fields.section(config, "capture")
    unknown = sorted(set(one) - KEYS)
    if unknown:
        raise ConfigProblem(f"capture.{unknown[0]}: means nothing; there are {' and '.join(sorted(KEYS))}")
    enabled = _truth(one.get("enabled"), "capture.enabled")
    workshop = _truth(config.get("captureData"), "captureData")
    if enabled is not None and workshop is not None and enabled != workshop:
        raise ConfigProblem("capture.enabled and captureData contradict each other: keep one of them")
    every, every_frames = fields.every(one, "every", "10s", "capture.")
    return CaptureSettings(bool(workshop if enabled is None else enabled), every, every_frames)


def _truth(value: Any, key: str) -> bool | None:
    return None if value in (None, "") else fields.truth({key: value}, key)
