"""What the device does, key by key: sections of a workflow's `edge`, and of the configuration of the edge component.

One class is both: the host reads it from a workflow, and writes it with `to_configuration`; the component reads it back
with `from_configuration`. What a key means, what it may be and how it is called is said at its field, by its `Key`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Optional

from emflow_schema import topics
from emflow_schema.agent_socket import CORE_SOCKET
from emflow_schema.configuration import Channels, Fault, from_configuration
from emflow_schema.errors import ConfigProblem
from emflow_schema.key import Key, fields
from emflow_schema.stream_url import GSTREAMER, HTTP, RTSP, Place, UnknownScheme, redacted, split, why_not
from emflow_schema.units import DeviceDuration, Interval

PRESETS = ("imx8mp", "imx8mp-h265", "decodebin")
"""Pipelines that the component knows by name; all of them read RTSP."""

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf"
FILE = r"/[^\u0000]{1,255}"
ANYTHING = r"[\s\S]+"

DURATION = Key(
    "Duration on the device",
    "A number with a unit: ms, s, m or h.",
    ("1s",),
    message="A number with a unit: 250ms, 1s, 15m, 1h.",
    definition="deviceDuration",
)
PACE = Key(
    "Pace",
    "A duration, or a number of frames.",
    ("1s", "5 frames"),
    message="A number with a unit, such as 1s or 250ms, or a number of frames, such as 5 frames.",
    definition="pace",
)
Time = Annotated[DeviceDuration, DURATION]
Pace = Annotated[Interval, PACE]


@dataclass(frozen=True)
class Secret:
    """A reference to a secret in AWS Secrets Manager. Only the device asks for what it refers to."""

    secret: Annotated[
        str,
        Key(
            "ARN of the secret",
            "As `aws secretsmanager describe-secret` shows it; never the secret itself.",
            (ARN,),
            pattern=r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]{1,512}",
            message="The ARN of a secret: arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME.",
            # The host grants access by the ARN; a device that has access may know it by its name.
            device_pattern=r"arn:[^\s]+|[\w/+=.@-]+",
            secret=True,
        ),
    ]

    @property
    def arn(self) -> str:
        """The secret's ARN, with or without the six characters that AWS puts at its end; on a device, or its name."""
        return self.secret


@dataclass(frozen=True)
class Stream:
    """One camera and how it is read."""

    name: Annotated[
        str,
        Key(
            "Stream name",
            "Stands in every result as `stream`.",
            ("front",),
            pattern=r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}",
            message="Letters, digits, dashes and underscores; at most 63.",
            device_pattern=ANYTHING,
        ),
    ]
    url: Annotated[
        str,
        Key(
            "Address",
            "rtsp://…, rtspt://… (RTSP over TCP, the workshop's), rtsps://… (with TLS), http://… or https://… (MJPEG), "
            "v4l2:///dev/video0, file:///path, or `gstreamer:` when `pipeline` is the whole source.",
            ("rtspt://192.168.1.20/stream1",),
            shortest=1,
            secret=True,
        ),
    ] = field(repr=False)
    every: Annotated[
        Pace,
        Key(
            "Time between inferences",
            "A duration, or every so many frames: `5 frames`. `0s` takes each newest frame as fast as inference goes.",
            ("250ms", "5 frames"),
            sent="always",
        ),
    ] = Interval("1s")
    credentials: Annotated[
        Optional[Secret],
        Key(
            "Credentials",
            "A secret in AWS Secrets Manager, as JSON with `username` and `password`. The device asks for it; its "
            "value is in no file, plan or deployment.",
            ({"secret": ARN},),
            closed=True,
        ),
    ] = None
    transport: Annotated[
        Literal["tcp", "udp"],
        Key("Transport", "How RTSP carries the video; rtspt:// and rtsps:// are always over TCP.", ("udp",)),
    ] = "tcp"
    backend: Annotated[
        Literal["auto", "ffmpeg", "opencv", "gstreamer"],
        Key(
            "Backend",
            "Who reads the stream: `auto` is emflow's own client with FFmpeg's decoder where PyAV is installed, else "
            "OpenCV; `gstreamer` runs `pipeline`.",
            ("gstreamer",),
        ),
    ] = "auto"
    pipeline: Annotated[
        Optional[str],
        Key(
            "GStreamer pipeline",
            "`imx8mp` (hardware decoding of H.264 on the i.MX 8M Plus), `imx8mp-h265`, `decodebin`, or a pipeline "
            "whose elements are joined by `!`, in which `{url}` stands for the address.",
            ("imx8mp",),
            shortest=1,
            secret=True,
        ),
    ] = field(default=None, repr=False)
    ca: Annotated[
        Optional[str],
        Key(
            "Certificates to trust",
            "A PEM file on the device, for rtsps:// and https://; without it the system's. Certificates are always "
            "verified.",
            ("/etc/emflow/cameras.pem",),
            pattern=FILE,
            message="An absolute path, such as /etc/emflow/cameras.pem.",
            device_pattern=ANYTHING,
        ),
    ] = None
    open_timeout: Annotated[
        Time,
        Key(
            "Time to open",
            "After this time without an answer, the camera is tried again; at least 100ms.",
            ("10s",),
            low=0.1,
        ),
    ] = DeviceDuration("5s")
    read_timeout: Annotated[
        Time,
        Key(
            "Time between frames",
            "After this time without a frame, the stream is opened again; at least 100ms.",
            ("10s",),
            low=0.1,
        ),
    ] = DeviceDuration("3s")
    frozen_after: Annotated[
        Time,
        Key("Frozen picture", "A picture that has not changed for this time is reported; `0s`: never.", ("5m",)),
    ] = DeviceDuration("30s")
    black_after: Annotated[
        Time,
        Key("Black picture", "A picture that has been black for this time is reported; `0s`: never.", ("0s",)),
    ] = DeviceDuration("30s")

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
        if self.every.frames:
            return f"every {self.every.frames} frames"
        return f"every {self.every.seconds:g} s" if self.every.seconds else "as fast as it goes"

    def faults(self) -> Iterator[Fault]:
        """What is wrong with the address, and what does not fit it."""
        wrong = why_not(self.url)
        if wrong:
            yield Fault("url", str(wrong), "" if isinstance(wrong, UnknownScheme) else _STREAM)
            return
        scheme = self.scheme
        if self.transport == "udp" and scheme != "rtsp":
            always = scheme in RTSP
            why = f"{scheme}:// is always over TCP" if always else "the transport is for rtsp://"
            yield Fault("transport", f"udp, and {why}", "leave it out, or write rtsp://", tolerated=not always)
        if self.ca and scheme not in ("rtsps", "https"):
            mend = "leave it out, or write rtsps://"
            yield Fault("ca", f"{scheme}: has no certificates to check", mend, tolerated=True)
        if self.credentials and scheme not in (*RTSP, *HTTP):
            yield Fault("credentials", f"{scheme}: asks for no credentials", "leave them out", tolerated=True)
        yield from self._pipeline_faults()

    def _pipeline_faults(self) -> Iterator[Fault]:
        pipeline, scheme = self.pipeline or "", self.scheme
        if pipeline and "!" not in pipeline and pipeline not in PRESETS:
            message = "neither a preset nor a pipeline, whose elements are joined by `!`"
            yield Fault("pipeline", message, f"presets: {', '.join(PRESETS)}")
        elif pipeline and self.backend not in ("auto", "gstreamer"):
            yield Fault("backend", f"{self.backend} runs no pipeline", "write gstreamer, or leave it out")
        elif pipeline in PRESETS and scheme not in RTSP:
            message = f"{pipeline} is for RTSP, the address begins with {scheme}:"
            yield Fault("pipeline", message, "write a pipeline of your own")
        elif not pipeline and self.url.lower() == GSTREAMER:
            mend = 'for example: pipeline: "videotestsrc ! videoconvert ! appsink"'
            yield Fault("url", "gstreamer: is the pipeline's word, and there is no pipeline", mend)
        elif not pipeline and self.backend == "gstreamer" and scheme not in RTSP:
            yield Fault("backend", f"gstreamer needs a pipeline for {scheme}:", "add pipeline: …")


_STREAM = "for example: rtspt://192.168.1.20/stream1"


@dataclass(frozen=True)
class Boxes:
    """How a detector's outputs are read."""

    outputs: Annotated[
        tuple[Literal["boxes", "classes", "scores", "count"], ...],
        Key(
            "Roles of the outputs",
            "What each of the model's outputs is, in its order: `boxes` and `scores`, perhaps `classes` and `count`. "
            "Empty: found out from the model's file, their names, types and shapes.",
            (["boxes", "classes", "scores", "count"],),
        ),
    ] = ()
    order: Annotated[
        Optional[Literal["yxyx", "xyxy", "cxcywh"]],
        Key(
            "Order of a box",
            "Its four numbers: two corners, from the top (`yxyx`) or from the left (`xyxy`), or centre and size "
            "(`cxcywh`). Without it `yxyx`; for a single output `cxcywh`, or `xyxy` where the model has already "
            "suppressed overlapping boxes.",
            ("cxcywh",),
        ),
    ] = None
    units: Annotated[
        Optional[Literal["fraction", "pixels"]],
        Key(
            "Units of a box",
            "Fractions of the model's picture, or its pixels. Without it pixels, as soon as a box is larger than any "
            "fraction.",
            ("pixels",),
        ),
    ] = None
    most: Annotated[int, Key("Most detections", "How many things a result has at most.", (20,), low=1, high=10_000)] = (
        100
    )
    iou: Annotated[
        Optional[float],
        Key(
            "Overlap",
            "Of two boxes of a class that overlap by more than this (intersection over union) the weaker one goes; 1 "
            "leaves all. Without it 0.5, or nothing where the model does that itself.",
            (0.45,),
            low=0,
            high=1,
        ),
    ] = None
    columns: Annotated[
        tuple[Literal["box", "objectness", "scores", "score", "class", "image"], ...],
        Key(
            "Columns of a single output",
            "Where one output holds boxes and scores, as YOLO's does: what a row has, in its order. `box` is four "
            "numbers, `scores` is one for each class; `image` is the number of the picture. Empty: found out from the "
            "output's shape and the number of labels.",
            (["box", "objectness", "scores"], ["box", "score", "class"]),
        ),
    ] = ()

    def faults(self) -> Iterator[Fault]:
        if len(set(self.outputs)) < len(self.outputs):
            mend = "name each once, in the order of the model's outputs"
            yield Fault("outputs", "an output's role is here twice", mend)
        elif self.outputs and not {"boxes", "scores"} <= set(self.outputs):
            mend = "name both, in the model's order"
            yield Fault("outputs", "a detector has boxes and scores at least", mend)
        if self.columns and self.outputs:
            message = "outputs is given too, which is for a model with several"
            yield Fault("columns", message, "keep one of them", tolerated=True)
        elif len(set(self.columns)) < len(self.columns):
            yield Fault("columns", "a column is here twice", "name each once, in the order of a row")
        elif self.columns and ("box" not in self.columns or not {"scores", "score"} & {*self.columns}):
            yield Fault("columns", "a row has a box, and scores or a score, at least", "name both, in their order")


@dataclass(frozen=True)
class ModelIO:
    """How pixels become the model's input, and its output becomes what people call it.

    `labels` is a path beside the workflow; in the configuration, one in the component's artifacts.
    """

    task: Annotated[
        Literal["classification", "detection"],
        Key("Task", "`classification` names the whole picture, `detection` finds things in it.", ("detection",)),
    ] = "classification"
    color: Annotated[
        Literal["rgb", "bgr"],
        Key("Channel order", "What the model was trained on.", ("rgb",), sent="always"),
    ] = "rgb"
    resize: Annotated[
        Literal["stretch", "letterbox", "crop"],
        Key(
            "Fitting the frame",
            "`stretch`: the whole frame, without regard to its shape; `letterbox`: the whole frame in its shape, with "
            "margins; `crop`: its middle part.",
            ("letterbox",),
            sent="always",
        ),
    ] = "stretch"
    margin: Annotated[
        int, Key("Margins", "Value of the margins' pixels, for `letterbox`.", (114,), low=0, high=255)
    ] = 0
    mean: Annotated[
        Optional[Channels],
        Key(
            "Mean",
            "What is subtracted from each pixel (0 to 255): one number, or one for each channel in the model's order. "
            "Without it, the usual value for the type of the model's input.",
            (127.5, [123.675, 116.28, 103.53]),
            low=-1_000_000,
            high=1_000_000,
        ),
    ] = None
    std: Annotated[
        Optional[Channels],
        Key(
            "Standard deviation",
            "By what that is divided: one number, or one for each channel.",
            (127.5, [58.395, 57.12, 57.375]),
            above=0,
            high=1_000_000,
        ),
    ] = None
    activation: Annotated[
        Literal["auto", "softmax", "sigmoid", "none"],
        Key(
            "Activation",
            "What is done to the output before it is a probability; `auto` goes by the model.",
            ("softmax",),
        ),
    ] = "auto"
    confidence: Annotated[
        Literal["probability", "workshop"],
        Key(
            "Confidence",
            "`probability`, or the `workshop`'s number: the output's raw byte / 255, for classification only.",
            ("workshop",),
        ),
    ] = "probability"
    byte_type: Annotated[
        Literal["", "uint8", "int8", "uint8,int8", "int8,uint8"],
        Key(
            "Type of the model's bytes",
            "For a model with 8-bit inputs or outputs whose type nothing else tells: an agent that has AWS's interface "
            "only, and no `.tflite` or `.onnx` file in the model's folder. `uint8,int8`: uint8 input, int8 outputs. "
            "Empty: as the workflow's file says; where that does not tell it either, such a model is refused.",
            ("int8",),
        ),
    ] = ""
    labels: Annotated[
        Optional[str],
        Key(
            "Labels",
            "A text file beside this file: one label a line, in the order of the model's outputs.",
            ("models/labels.txt",),
            shortest=1,
            host_file=True,
        ),
    ] = None
    class_offset: Annotated[
        int,
        Key(
            "Classes before the first",
            "How many outputs (a background class) come before index 0 of what is published.",
            (1,),
            low=0,
            high=1_000_000,
            sent="always",
        ),
    ] = 0
    top_k: Annotated[
        int,
        Key("Top k", "How many of the best classes each result lists.", (5,), low=1, high=1000, sent="always"),
    ] = 3
    threshold: Annotated[
        Optional[float],
        Key(
            "Threshold",
            "Classes and things with a lower confidence are left out of the result; without it 0 for classification, "
            "0.5 for detection.",
            (0.6,),
            low=0,
            high=1,
        ),
    ] = None
    boxes: Annotated[
        Boxes,
        Key(
            "Boxes",
            "How a detector's outputs are read; for `task: detection` only.",
            ({"order": "cxcywh", "units": "pixels"},),
        ),
    ] = Boxes()

    @property
    def least_confidence(self) -> float:
        """Confidence under which a class or a thing is left out: the threshold, or what it is for the task."""
        if self.threshold is not None:
            return self.threshold
        return 0.5 if self.task == "detection" else 0.0

    def faults(self) -> Iterator[Fault]:
        detection = self.task == "detection"
        # Written out, what several outputs have without a word says nothing either.
        plain = dataclasses.replace(Boxes(), order=self.boxes.order, units=self.boxes.units)
        said = (self.boxes.order or "yxyx", self.boxes.units or "fraction") != ("yxyx", "fraction")
        if not detection and (said or self.boxes != plain):
            mend = "write task: detection, or leave them out"
            yield Fault("boxes", "only a detector has boxes", mend, tolerated=True)
        if self.confidence == "workshop" and detection:
            mend = "write confidence: probability"
            yield Fault("confidence", "the workshop's number is a classification's", mend, tolerated=True)
        if self.margin and self.resize != "letterbox":
            mend = "write resize: letterbox, or leave it out"
            yield Fault("margin", f"{self.resize} leaves no margins", mend, tolerated=True)


@dataclass(frozen=True)
class Publish:
    """Where results go, which of them, and what else is published.

    In topics, `{thing}`, `{model}` and, for results, `{stream}` stand for names.
    """

    topic: Annotated[
        str,
        Key(
            "MQTT topic",
            "Of results. No wildcards; `{thing}`, `{stream}` and `{model}` stand for a result's own names. The "
            "component may publish to exactly the topics that this makes.",
            ("em/inference", "em/inference/{thing}/{stream}"),
            shortest=1,
            longest=topics.LONGEST,
            sent="always",
        ),
    ] = "em/inference"
    qos: Annotated[
        Literal[0, 1],
        Key(
            "MQTT quality of service",
            "0: at most once; 1: at least once, spooled by the nucleus while offline.",
            (1,),
            sent="always",
        ),
    ] = 1
    status_topic: Annotated[
        Optional[str],
        Key(
            "Topic of the status",
            "Where the component says how it and its cameras are, as a retained message; `{thing}` and `{model}` stand "
            "for names. The device's IoT policy has to allow iot:RetainPublish. Without it, no status.",
            ("em/status/{thing}",),
            shortest=1,
            longest=topics.LONGEST,
        ),
    ] = None
    metrics_topic: Annotated[
        Optional[str],
        Key(
            "Topic of the metrics",
            "Where the counters go, as often as `edge.metrics.every`; `{thing}` and `{model}` stand for names. Without "
            "it, they are in the log only.",
            ("em/metrics/{thing}",),
            shortest=1,
            longest=topics.LONGEST,
        ),
    ] = None
    on_change: Annotated[
        bool,
        Key(
            "Only changes",
            "Publish a stream's result only when its best class, or the set of things found, is another than in the "
            "one before.",
            (True,),
        ),
    ] = False
    every: Annotated[
        Time,
        Key(
            "Sign of life",
            "With `on_change`: after this time a result is published even if it has not changed; `0s`: never.",
            ("10m",),
        ),
    ] = DeviceDuration("1m")
    threshold: Annotated[
        float,
        Key("Threshold", "Results whose best confidence is lower are not published.", (0.5,), low=0, high=1),
    ] = 0.0
    mqtt: Annotated[
        Literal["3.1.1", "5"],
        Key(
            "MQTT version",
            "Where the component talks to a broker itself (`emflow-edge --publish`); in Greengrass the nucleus has its "
            "own.",
            ("5",),
        ),
    ] = "3.1.1"
    expiry: Annotated[
        Time,
        Key(
            "Expiry",
            "How long an MQTT 5 broker keeps a result for a subscriber that is offline, in whole seconds; `0s`: as "
            "long as the broker decides.",
            ("1h",),
            unit="seconds",
        ),
    ] = DeviceDuration("0s")

    def faults(self) -> Iterator[Fault]:
        try:
            expires = self.expiry.seconds > 0
        except ValueError:
            return  # reported elsewhere
        if expires and self.mqtt != "5":
            message = f"messages expire in MQTT 5 only, the component speaks {self.mqtt}"
            yield Fault("expiry", message, 'write mqtt: "5" beside it')

    def topic_faults(self, thing: str, model: str, streams: Sequence[str]) -> Iterator[tuple[str, topics.TopicFault]]:
        """What is wrong with the topics that these names make, each with the field of its template.

        Args:
            thing, model: the names of the device and of the model.
            streams: those of all streams.
        """
        shared = {"thing": [thing], "model": [model]}
        of_results = {"thing": [thing], "stream": streams, "model": [model]}
        given = (("topic", of_results), ("status_topic", shared), ("metrics_topic", shared))
        for key, names in given:
            template = getattr(self, key)
            wrong = topics.fault(template, names) if template is not None else None
            if wrong:
                yield key, wrong
        filled = {"thing": thing, "model": model}
        taken = {topics.fill(self.topic, {**filled, "stream": stream}) for stream in streams or ("",)}
        taken |= {topics.fill(self.metrics_topic or "", filled)}
        if self.status_topic is not None and topics.fill(self.status_topic, filled) in taken:
            message = "the status has the topic of something else; it is retained, for whoever comes later"
            yield "status_topic", topics.TopicFault(message, "give it a topic of its own")

    def filled(self, thing: str, model: str) -> "Publish":
        """With these names in the topics of the status and the metrics; that of results has one for each."""
        names = {"thing": thing, "model": model}
        return dataclasses.replace(
            self,
            status_topic=self.status_topic and topics.fill(self.status_topic, names),
            metrics_topic=self.metrics_topic and topics.fill(self.metrics_topic, names),
        )

    def same_connection(self, other: "Publish") -> bool:
        """Whether both can be published over one connection: its last will names the status topic."""
        mine = (self.mqtt, self.expiry.seconds, self.qos, self.status_topic)
        return mine == (other.mqtt, other.expiry.seconds, other.qos, other.status_topic)


@dataclass(frozen=True)
class Capture:
    """Whether the agent is given the tensors of results, and of which."""

    enabled: Annotated[
        bool,
        Key(
            "Capture on",
            "Hand input and output tensors of results to the agent, which stores them.",
            (False,),
            sent="always",
        ),
    ] = False
    every: Annotated[
        Pace,
        Key(
            "How often",
            "Time between two captures of a stream, or every so many of its results: `50 frames`. `0s` captures all.",
            ("10s", "50 frames"),
            sent="always",
        ),
    ] = Interval("10s")


@dataclass(frozen=True)
class Log:
    """The component's log."""

    format: Annotated[
        Literal["text", "json"], Key("Format", "`text` for people, `json` for one object a line.", ("json",))
    ] = "text"
    level: Annotated[Literal["info", "debug", "warning"], Key("Level", "The least that is logged.", ("debug",))] = (
        "info"
    )


@dataclass(frozen=True)
class Metrics:
    """Counters of frames, results and reconnects, and how long things took."""

    every: Annotated[
        Time,
        Key(
            "How often",
            "Between two reports in the log, and on `edge.publish.metrics_topic`; at least 1s.",
            ("5m",),
            low=1,
        ),
    ] = DeviceDuration("1m")
    port: Annotated[
        int,
        Key(
            "Port",
            "Port on 127.0.0.1 where a page shows the metrics, for Prometheus and for people, with the newest "
            "pictures; 0: no page.",
            (9464,),
            low=0,
            high=65_535,
        ),
    ] = 0


User = Annotated[
    str,
    Key(
        pattern=r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?",
        message="The name or the number of a user of the device.",
        device_pattern=ANYTHING,
    ),
]


@dataclass(frozen=True)
class EdgeConfiguration:
    """The whole configuration of the edge component, as a deployment merges it.

    The workshop's keys at its top level (`rtspStreamURL`, `captureData`, `quantization`) mean the same as ours, so that
    a deployment made by hand works too.
    """

    model_name: Annotated[
        str,
        Key(
            "Model name",
            "The name to load the model under.",
            ("mobilenetv2-224-10-quant",),
            pattern=r"[a-zA-Z0-9](-*[a-zA-Z0-9])*",
            message="Letters, digits, and single dashes inside.",
            flag="-m",
        ),
    ]
    model_component: Annotated[
        Optional[str],
        Key(
            "Model component",
            "Component whose work folder holds the model; with a slash in it, that folder itself. The recipe of "
            "`emflow render` gives it on the command line.",
            ("mobilenetv2_224_quantized_model_component",),
            wire="modelComponentName",
            flag="-c",
        ),
    ] = None
    agent_socket: Annotated[
        str,
        Key(
            "Socket",
            "Path of the agent's Unix socket; the default is in the work folder of the agent's component.",
            (CORE_SOCKET,),
            sent="always",
        ),
    ] = CORE_SOCKET
    agent_users: Annotated[
        tuple[User, ...],
        Key(
            "Users of the agent",
            "Users beside root and the component's own whom the agent's socket, its folders and its process may "
            "belong to.",
            (["sagemaker"],),
        ),
    ] = ()
    capture_data: Annotated[
        Optional[bool],
        Key("Capture on", "The workshop's word for `capture.enabled`.", ("True",), flag="-a"),
    ] = None
    quantization: Annotated[
        Optional[bool],
        Key("Quantised", "Whether the model is quantised; the model says so itself.", ("True",), flag="-q"),
    ] = None
    rtsp_stream_url: Annotated[
        Optional[str],
        Key(
            "Camera",
            "The workshop's word for one stream, whose name is `camera`.",
            ("rtspt://192.168.1.20/stream1",),
            wire="rtspStreamURL",
            secret=True,
            flag="-s",
        ),
    ] = field(default=None, repr=False)
    streams: Annotated[
        tuple[Stream, ...],
        Key(
            "Cameras", "At least one, unless `rtspStreamURL` is one.", ([{"name": "front", "url": "rtsp://10.0.0.7/"}],)
        ),
    ] = ()
    model_io: Annotated[
        ModelIO,
        Key(
            "Into and out of the model",
            "How pixels become the model's input, and its output becomes a label. `labels` is a path in the "
            "component's artifacts.",
            ({"color": "rgb", "labels": "labels.txt", "classOffset": "1"},),
            wire="modelIO",
            sent="always",
        ),
    ] = ModelIO()
    publish: Annotated[
        Publish,
        Key(
            "Results",
            "Where results go, which of them are published, and what else is published.",
            ({"topic": "em/inference"},),
            sent="always",
        ),
    ] = Publish()
    capture: Annotated[
        Capture,
        Key(
            "Data capture",
            "Which results' tensors the agent is given.",
            ({"enabled": "false"},),
            closed=True,
            sent="always",
        ),
    ] = Capture()
    log: Annotated[Log, Key("Log", "The component's log.", ({"format": "json"},))] = Log()
    metrics: Annotated[
        Metrics, Key("Metrics", "Counters, and how long things took.", ({"every": "1m", "port": "9464"},))
    ] = Metrics()
    version: Annotated[
        str,
        Key(
            "Component version",
            "Stands in every result as `version`. Without it the version of the program.",
            ("1.0.0",),
            sent="always",
        ),
    ] = ""

    def faults(self) -> Iterator[Fault]:
        if not self.model_component:
            yield Fault("model_component", "is missing (-c)")
        wrong = why_not(self.rtsp_stream_url) if self.rtsp_stream_url else None
        if wrong:
            yield Fault("rtsp_stream_url", str(wrong))
        names = [stream.name for stream in self.streams]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            yield Fault("streams", f"the name {twice!r} is given twice")


KNOWN = frozenset({"accessControl"}) | {field.wire for field in fields(EdgeConfiguration)}
"""What may stand in a configuration; `accessControl` is for the nucleus."""


def read_edge_configuration(config: Mapping[str, Any]) -> EdgeConfiguration:
    """Check a whole configuration. In what is returned the workshop's keys have become ours.

    Raises:
        ConfigProblem: a value is missing or wrong, or two contradict each other; the message names the key.
    """
    found = from_configuration(EdgeConfiguration, config, "")
    streams, capture = found.streams, found.capture
    if streams and found.rtsp_stream_url:
        raise ConfigProblem("streams and rtspStreamURL are both given: keep one of them")
    if not streams:
        if not found.rtsp_stream_url:
            raise ConfigProblem("streams: there is none; give at least one, or rtspStreamURL, or -s")
        streams = (Stream("camera", found.rtsp_stream_url),)
    if found.capture_data is not None:
        said = (config.get("capture") or {}).get("enabled")
        if said not in (None, "") and capture.enabled != found.capture_data:
            raise ConfigProblem("capture.enabled and captureData contradict each other: keep one of them")
        capture = dataclasses.replace(capture, enabled=found.capture_data)
    return dataclasses.replace(found, streams=streams, capture=capture)
