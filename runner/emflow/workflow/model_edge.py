"""The device's part of a typed workflow, its `edge`: component, agent, cameras, model in and out, results, capture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Component:
    """The application component. `version: auto` takes the next patch when, and only when, its content changed.

    `recipe` is a template beside the workflow that stands in for the built-in one.
    """

    name: str = "aws.sagemaker.edgeManagerClientCameraIntegration"
    version: str = "auto"
    publisher: str = "emflow"
    description: str = "Captures RTSP, infers through the Edge Manager agent, publishes results over MQTT"
    recipe: str | None = None


@dataclass(frozen=True, kw_only=True)
class OpenAgent:
    """What only emflow's own agent can be told; AWS's program passes over it.

    `delegate` is LiteRT's accelerator, `providers` are ONNX Runtime's, in their order; sizes have their unit.
    """

    runtime: Literal["auto", "litert", "onnx", "neo"] = "auto"
    threads: int | None = None
    delegate: str | None = None
    delegate_options: Mapping[str, str] = field(default_factory=dict)
    providers: tuple[str, ...] = ()
    accelerator_required: bool = False
    graph_cache: str | None = None
    memory_limit: str | None = None
    queue_size: int = 64
    trial: bool = True
    trust_keys: tuple[str, ...] = ()
    require_signature: bool = False
    socket_mode: str = "0660"
    socket_group: str | None = None
    capture_disk_budget: str = "512 MiB"
    metrics_period: str = "1m"


@dataclass(frozen=True, kw_only=True)
class Agent:
    """`backend_options`: flags of the runtime of Neo-compiled models; `database` and `model_deployments` are AWS's."""

    provider: Literal["edge-manager"] = "edge-manager"
    socket: str = "/tmp/sagemaker_edge_agent_example.sock"  # noqa: S108 the workshop's path
    verbose: bool = False
    backend_options: Mapping[str, str] = field(default_factory=dict)
    database: bool = False
    model_deployments: bool = False
    open: OpenAgent = OpenAgent()


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A reference to a secret in AWS Secrets Manager. Only the device asks for what it refers to."""

    secret: str

    @property
    def arn(self) -> str:
        """The secret's ARN, with or without the six characters that AWS puts at its end."""
        return self.secret


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One camera. `every` is the time between two inferences, or `5 frames`; `0s` takes each newest frame.

    `credentials`: a secret with `username` and `password`, so that they stand in no file and no deployment.
    `pipeline` is a preset's name or a GStreamer pipeline, `ca` a file on the device.
    """

    name: str
    url: str
    every: str = "1s"
    credentials: Secret | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    backend: Literal["auto", "ffmpeg", "opencv", "gstreamer"] = "auto"
    pipeline: str | None = None
    ca: str | None = None
    open_timeout: str = "5s"
    read_timeout: str = "3s"
    frozen_after: str = "30s"
    black_after: str = "30s"


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """How a detector's outputs are read; `outputs` are their roles in the model's order, told by themselves when empty.

    `iou`: of two boxes of a class that overlap by more, the weaker one goes; None is as the model needs it.
    """

    outputs: tuple[Literal["boxes", "classes", "scores", "count"], ...] = ()
    order: Literal["yxyx", "xyxy", "cxcywh"] = "yxyx"
    units: Literal["fraction", "pixels"] = "fraction"
    most: int = 100
    iou: float | None = None


@dataclass(frozen=True, kw_only=True)
class ModelIO:
    """How pixels become the model's input and its output becomes a label.

    `mean` and `std`, in pixels: one number, or one for each channel in the model's order; None is as the model's type
    has it. `class_offset` is how many classes (the background) come before index 0 of what is published.
    `labels` is a text file beside the workflow, one label a line, in the order of the model's outputs.
    `threshold`: None is 0.5 for detection and 0 for classification.
    """

    task: Literal["classification", "detection"] = "classification"
    color: Literal["rgb", "bgr"] = "rgb"
    resize: Literal["stretch", "letterbox", "crop"] = "stretch"
    margin: int = 0
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    activation: Literal["auto", "softmax", "sigmoid", "none"] = "auto"
    confidence: Literal["probability", "workshop"] = "probability"
    labels: str | None = None
    class_offset: int = 0
    top_k: int = 3
    threshold: float | None = None
    boxes: Boxes = Boxes()


@dataclass(frozen=True, kw_only=True)
class Publish:
    """Topics may have places for names: `{thing}`, `{model}` and, for results, `{stream}`.

    `every` is after how long a result goes out although nothing changed.
    """

    topic: str = "em/inference"
    qos: Literal[0, 1] = 1
    status_topic: str | None = None
    metrics_topic: str | None = None
    on_change: bool = False
    every: str = "1m"
    threshold: float = 0.0
    mqtt: Literal["3.1.1", "5"] = "3.1.1"
    expiry: str = "0s"


@dataclass(frozen=True, kw_only=True)
class Capture:
    """What is captured, and Edge Manager's settings for it; sizes in bytes, periods with their unit.

    `every` is a duration, or a number of results as in `50 frames`.
    """

    enabled: bool = False
    every: str = "10s"
    destination: Literal["cloud", "disk"] = "cloud"
    disk_path: str | None = None
    prefix: str = "sme-capture"
    batch: int = 10
    buffer: int = 30
    push_period: str = "4s"
    embed_limit: int = 3072
    periodic_upload: bool = False
    periodic_upload_period: str = "8s"


@dataclass(frozen=True, kw_only=True)
class Log:
    format: Literal["text", "json"] = "text"
    level: Literal["info", "debug", "warning"] = "info"


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """`every`: between two reports of the counters; `port`: of Prometheus' text on 127.0.0.1, 0 for none."""

    every: str = "1m"
    port: int = 0


@dataclass(frozen=True, kw_only=True)
class Edge:
    component: Component = Component()
    agent: Agent = Agent()
    streams: tuple[Stream, ...]
    model_io: ModelIO = ModelIO()
    publish: Publish = Publish()
    capture: Capture = Capture()
    log: Log = Log()
    metrics: Metrics = Metrics()
