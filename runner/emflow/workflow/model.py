"""The typed workflow: what one YAML file says, frozen, with the workshop's values as defaults.

The JSON Schema in `emflow_schema` is the public contract for the same shape; a test holds the two against each other.
Text becomes these classes in `emflow.workflow.load`; nothing here reads a file or knows about AWS calls. What the
device does, the workflow's `edge`, is `model_edge` beside this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from emflow.workflow.model_edge import Edge

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
