"""The device's part of a typed workflow, its `edge`: component, agent, cameras, model in and out, topic, capture."""

from __future__ import annotations

from dataclasses import dataclass
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
class Agent:
    provider: Literal["edge-manager"] = "edge-manager"
    socket: str = "/tmp/sagemaker_edge_agent_example.sock"  # noqa: S108 the workshop's path
    verbose: bool = False


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
    """One camera. `every` is the time between two inferences; `0s` takes each newest frame as fast as it goes.

    `credentials`: a secret with `username` and `password`, so that they stand in no file and no deployment.
    """

    name: str
    url: str
    every: str = "1s"
    credentials: Secret | None = None


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
class Edge:
    component: Component = Component()
    agent: Agent = Agent()
    streams: tuple[Stream, ...]
    model_io: ModelIO = ModelIO()
    publish: Publish = Publish()
    capture: Capture = Capture()
