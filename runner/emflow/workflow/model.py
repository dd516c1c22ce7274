"""The typed workflow: what one YAML file says, frozen, with the workshop's values as defaults.

The JSON Schema in `emflow_schema` is the public contract for the same shape; a test holds the two against each other.
Text becomes these classes in `emflow.workflow.load`; nothing here reads a file or knows about AWS calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

DEVICE_NAME = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"
"""Edge Manager's rule for device names; the thing name has to fit it too, so no underscores."""

AGENT_COMPONENT = "aws.greengrass.SageMakerEdgeManager"
"""AWS's public component that runs the agent."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    name: str
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Aws:
    """Where to. Credentials are boto3's business (environment, profile, SSO) and never in the workflow."""

    region: str = "us-east-1"
    profile: str | None = None


@dataclass(frozen=True, kw_only=True)
class Bucket:
    name: str


@dataclass(frozen=True, kw_only=True)
class Buckets:
    inference_results: Bucket
    components: Bucket


@dataclass(frozen=True, kw_only=True)
class Role:
    """The IAM role that devices (through the role alias) and SageMaker jobs assume.

    `policies`: `least-privilege` writes one inline policy for exactly this workflow's buckets and components;
    `workshop` attaches the AWS managed policies that the workshop names.
    """

    name: str = "SageMaker-IoTRole"
    alias: str = "SageMakerEdge-greengrassv2fleet"
    credential_duration: str = "1h"
    policies: Literal["least-privilege", "workshop"] = "least-privilege"


@dataclass(frozen=True, kw_only=True)
class Fleet:
    name: str = "greengrassv2fleet"
    description: str = ""
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Model:
    """`artifact` is a path beside the workflow: a .tar.gz that holds exactly one .tflite, or the .tflite itself."""

    name: str
    version: str = "1.0"
    artifact: str
    framework: Literal["TFLITE"] = "TFLITE"
    inputs: Mapping[str, tuple[int, ...]]


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
class Deployment:
    """`components`: AWS's public components beside ours; `latest` takes the newest at first and keeps it afterwards."""

    name: str = "Deployment for ML using EM"
    target: Target
    components: Mapping[str, str] = field(
        default_factory=lambda: {
            "aws.greengrass.Nucleus": "latest",
            "aws.greengrass.TokenExchangeService": "latest",
            AGENT_COMPONENT: "latest",
        }
    )


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
class Component:
    """The application component. `version: auto` takes the next patch when, and only when, its content changed."""

    name: str = "aws.sagemaker.edgeManagerClientCameraIntegration"
    version: str = "auto"
    publisher: str = "emflow"
    description: str = "Captures RTSP, infers through the Edge Manager agent, publishes results over MQTT"


@dataclass(frozen=True, kw_only=True)
class Agent:
    provider: Literal["edge-manager"] = "edge-manager"
    socket: str = "/tmp/sagemaker_edge_agent_example.sock"  # noqa: S108 the workshop's path
    verbose: bool = False


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One camera. `every` is the time between two inferences; `0s` takes each newest frame as fast as it goes."""

    name: str
    url: str
    every: str = "1s"


@dataclass(frozen=True, kw_only=True)
class ModelIO:
    """How pixels become the model's input and its output becomes a label.

    `class_offset` is how many classes (the background) come before index 0 of what is published.
    `labels` is a text file beside the workflow, one label a line, in the order of the model's outputs.
    """

    color: Literal["rgb", "bgr"] = "rgb"
    resize: Literal["stretch"] = "stretch"
    labels: str | None = None
    class_offset: int = 0
    top_k: int = 3


@dataclass(frozen=True, kw_only=True)
class Publish:
    topic: str = "em/inference"
    qos: Literal[0, 1] = 1


@dataclass(frozen=True, kw_only=True)
class Capture:
    """Edge Manager's capture settings; sizes in bytes, periods with their unit."""

    enabled: bool = False
    destination: Literal["cloud", "disk"] = "cloud"
    prefix: str = "sme-capture"
    batch: int = 10
    buffer: int = 30
    push_period: str = "4s"
    embed_limit: int = 3072
    periodic_upload: bool = False
    periodic_upload_period: str = "8s"


@dataclass(frozen=True, kw_only=True)
class Edge:
    component: Component = Component()
    agent: Agent = Agent()
    streams: tuple[Stream, ...]
    model_io: ModelIO = ModelIO()
    publish: Publish = Publish()
    capture: Capture = Capture()


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """One rollout, from the model file to the results. `folder` is where relative paths start."""

    apiVersion: Literal["emflow/v1"]  # noqa: N815 Kubernetes' spelling, known to everyone who reads such files
    kind: Literal["Workflow"]
    metadata: Metadata
    vars: Mapping[str, Any] = field(default_factory=dict)
    aws: Aws = Aws()
    cloud: Cloud
    edge: Edge
    folder: str = "."
