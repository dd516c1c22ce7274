"""The typed workflow: what one YAML file says, frozen, with the workshop's values as defaults.

The JSON Schema in `emflow_schema` is the public contract for the same shape; a test holds the two against each other.
Text becomes these classes in `emflow.workflow.load`; nothing here reads a file or knows about AWS calls. What the
device does, the workflow's `edge`, is `model_edge` beside this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# The device's part of a typed workflow, its `edge`: component, agent, cameras, model in and out, results, capture.


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


DEVICE_NAME = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"
"""Edge Manager's rule for device names; the thing name has to fit it too, so no underscores."""

AGENT_COMPONENT = "aws.greengrass.SageMakerEdgeManager"
"""AWS's public component that runs the agent."""


TensorType = Literal["float32", "float16", "uint8", "int8", "int16", "int32", "int64"]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    name: str
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Aws:
    """Where to. Credentials are boto3's business (environment, profile, SSO) and never in the workflow.

    `tags` go onto everything that is made and takes tags, beside our own.
    """

    region: str = "us-east-1"
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """`kms_key`: the ARN of a KMS key, or `alias/…`; without it, S3's own keys."""

    kms_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """`versioning`: on, off (suspended), or, when nothing is said, as it is."""

    name: str
    encryption: Encryption = Encryption()
    versioning: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ResultsBucket(Bucket):
    """`expire_captures`: how long S3 keeps captured data, in whole days; for ever when nothing is said."""

    expire_captures: str | None = None


@dataclass(frozen=True, kw_only=True)
class Buckets:
    inference_results: ResultsBucket
    components: Bucket


@dataclass(frozen=True, kw_only=True)
class Role:
    """The IAM role that devices (through the role alias) and SageMaker jobs assume.

    `from_alias` names a role alias that the core device already has: its role is taken, whatever its name, and what
    is missing is added; `name`, `alias` and `credential_duration` say nothing then.

    `policies`: `least-privilege` writes one inline policy for exactly this workflow's buckets and components;
    `workshop` attaches the AWS managed policies that the workshop names.
    """

    name: str = "SageMaker-IoTRole"
    alias: str = "SageMakerEdge-greengrassv2fleet"
    from_alias: str | None = None
    credential_duration: str = "1h"
    policies: Literal["least-privilege", "workshop"] = "least-privilege"


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Devices come from the list, from a file beside the workflow, from a thing group: all of the three together."""

    name: str = "greengrassv2fleet"
    description: str = ""
    devices: tuple[str, ...] = ()
    devices_file: str | None = None
    thing_group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """`artifact` is a path beside the workflow: a .tar.gz that holds exactly one .tflite, or the .tflite itself.

    `inputs` is what Neo is told; `input_types` only checks the file, an input that it leaves out may have any type.
    """

    name: str
    version: str = "1.0"
    artifact: str
    framework: Literal["TFLITE"] = "TFLITE"
    inputs: Mapping[str, tuple[int, ...]]
    input_types: Mapping[str, TensorType] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Compile:
    job: str
    target_device: str = "imx8mplus"
    timeout: str = "15m"


@dataclass(frozen=True, kw_only=True)
class ModelComponent:
    name: str
    version: str = "1.0.0"
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Package:
    job: str
    component: ModelComponent


@dataclass(frozen=True, kw_only=True)
class Target:
    """Exactly one of the two."""

    thing: str | None = None
    thing_group: str | None = None

    @property
    def arn_suffix(self) -> str:
        """`thing/NAME` or `thinggroup/NAME`, as in the target's ARN."""
        return f"thing/{self.thing}" if self.thing else f"thinggroup/{self.thing_group}"


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A rate that grows: by `factor` whenever so many devices were told, or (better) took it well. One of the two."""

    start_per_minute: int = 10
    factor: float = 2.0
    after_notified: int | None = None
    after_succeeded: int | None = None


@dataclass(frozen=True, kw_only=True)
class Abort:
    """Stop the whole rollout when so many percent failed, once `after` devices were tried."""

    when: Literal["all", "failed", "rejected", "timed_out"] = "all"
    percent: float
    after: int = 1


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How a deployment spreads over a thing group: AWS's own engine, so nothing loops over devices here."""

    max_per_minute: int = 1000
    growth: Growth | None = None
    abort: tuple[Abort, ...] = ()
    timeout: str | None = None


@dataclass(frozen=True, kw_only=True)
class Update:
    """Whether components are asked before they are replaced, and how long they may put it off."""

    notify: bool = True
    timeout: str = "1m"


@dataclass(frozen=True, kw_only=True)
class RunWith:
    """As whom a component runs, `user` or `user:group`, and the limits of its processes: processors, kilobytes."""

    user: str | None = None
    cpus: float | None = None
    memory_kb: int | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one of AWS's public components is configured by the deployment.

    `configuration` is merged into what the component has; `reset`: JSON pointers to what goes back to its default
    before that.
    """

    component: str
    configuration: Mapping[str, Any] = field(default_factory=dict)
    reset: tuple[str, ...] = ()
    run_with: RunWith | None = None


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """`components`: AWS's public components beside ours; `latest` takes the newest at first and keeps it afterwards.

    `settings` configures those of them that it names; the others keep the configuration that they have.
    """

    name: str = "Deployment for ML using EM"
    target: Target
    components: Mapping[str, str] = field(
        default_factory=lambda: {
            "aws.greengrass.Nucleus": "latest",
            "aws.greengrass.TokenExchangeService": "latest",
            AGENT_COMPONENT: "latest",
        }
    )
    settings: tuple[Settings, ...] = ()
    rollout: Rollout | None = None
    on_failure: Literal["rollback", "nothing"] = "rollback"
    update: Update = Update()
    validation_timeout: str = "30s"


@dataclass(frozen=True, kw_only=True)
class Cloud:
    buckets: Buckets
    role: Role = Role()
    fleet: Fleet
    model: Model
    compile: Compile
    package: Package
    deployment: Deployment


@dataclass(frozen=True, kw_only=True)
class OwnComponent:
    """A component of the user's own beside the application, made and deployed with it.

    `recipe` is a template, `artifacts` a folder, both beside the workflow; the folder goes to the device as one zip.
    `dependencies` maps component names to version requirements; `configuration` is what the deployment sets.
    """

    name: str
    version: str = "auto"
    publisher: str = ""
    description: str = ""
    recipe: str
    artifacts: str | None = None
    dependencies: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """One rollout, from the model file to the results. `folder` is where relative paths start."""

    apiVersion: Literal["emflow/v1"]  # noqa: N815 Kubernetes' spelling, known to everyone who reads such files
    kind: Literal["Workflow"]
    metadata: Metadata
    imports: tuple[str, ...] = ()
    vars: Mapping[str, Any] = field(default_factory=dict)
    aws: Aws = Aws()
    cloud: Cloud
    edge: Edge
    components: tuple[OwnComponent, ...] = ()
    folder: str = "."
