"""The cloud's part of a workflow, `cloud`: buckets, role, fleet, model, jobs, deployment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from emflow.workflow.model.shared import DAY, THREE_NUMBERS, BucketName, ComponentName, EdgeName, Version
from emflow_schema.key import Key
from emflow_schema.shared_types import Time
from emflow_schema.units import Duration

AGENT_COMPONENT = "aws.greengrass.SageMakerEdgeManager"
"""AWS's public component that runs the agent."""

TensorType = Literal["float32", "float16", "uint8", "int8", "int16", "int32", "int64"]


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """How a bucket's objects are encrypted."""

    kms_key: Annotated[
        str | None,
        Key(
            "KMS key",
            "The ARN of a key, or alias/NAME; devices and jobs are allowed to use it. Without it, S3's own keys.",
            ("arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab", "alias/vision"),
            pattern="arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[a-zA-Z0-9:/_-]+|alias/[a-zA-Z0-9:/_-]+",
            message="The ARN of a KMS key, or alias/NAME.",
        ),
    ] = None


OneEncryption = Annotated[
    Encryption,
    Key(
        "Encryption",
        "How a bucket's objects are encrypted.",
        ({"kms_key": "alias/vision"},),
        definition="encryption",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """An S3 bucket, private and encrypted."""

    name: Annotated[
        BucketName,
        Key(
            "Bucket name",
            "Unique in all of AWS, so begin it with a prefix of your own.",
            ("my-unique-prefix-gg-components",),
        ),
    ]
    encryption: Annotated[
        OneEncryption,
        Key(
            "Encryption",
            "Objects are always encrypted; with a KMS key of yours, or with S3's own keys.",
            ({"kms_key": "alias/vision"},),
        ),
    ] = Encryption()
    versioning: Annotated[
        bool | None,
        Key(
            "Versioning", "true: S3 keeps what is overwritten or deleted; false: suspended; nothing: as it is.", (True,)
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ResultsBucket(Bucket):
    """The bucket for captured data."""

    name: Annotated[
        BucketName,
        Key(
            "Bucket name",
            "Unique in all of AWS; must contain `sagemaker`.",
            ("my-unique-prefix-sagemaker-inference-results",),
        ),
    ]

    expire_captures: Annotated[
        Duration | None,
        Key(
            "Expiry of captures",
            "How long S3 keeps what is captured under the capture prefix, in whole days; without it, for ever.",
            ("30d",),
            message="A number of days: 30d.",
            unit="days",
            low=1,
            high=36_500,
        ),
    ] = None


OneBucket = Annotated[
    Bucket,
    Key(
        "One bucket",
        "An S3 bucket, private and encrypted.",
        ({"name": "my-unique-prefix-gg-components"},),
        definition="bucket",
    ),
]
OneResultsBucket = Annotated[
    ResultsBucket,
    Key(
        "The bucket for captured data",
        "An S3 bucket, private and encrypted, whose captures may expire.",
        ({"name": "my-unique-prefix-sagemaker-inference-results", "expire_captures": "30d"},),
        definition="resultsBucket",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Buckets:
    inference_results: Annotated[
        OneResultsBucket,
        Key(
            "Bucket for captured data",
            "Where the agent uploads captured tensors; its name must contain `sagemaker`.",
            ({"name": "my-unique-prefix-sagemaker-inference-results"},),
        ),
    ]
    components: Annotated[
        OneBucket,
        Key(
            "Bucket for models and components",
            "Where the model and the component bundles are kept.",
            ({"name": "my-unique-prefix-gg-components"},),
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Role:
    """The IAM role that devices (through the role alias) and SageMaker jobs assume.

    `from_alias` names a role alias that the core device already has: its role is taken, whatever its name, and what
    is missing is added; `name`, `alias` and `credential_duration` say nothing then.

    `policies`: `least-privilege` writes one inline policy for exactly this workflow's buckets and components;
    `workshop` attaches the AWS managed policies that the workshop names.
    """

    name: Annotated[
        str,
        Key(
            "Role name",
            "An existing role keeps what others put in its trust policy and policies.",
            ("SageMaker-IoTRole",),
            pattern="[a-zA-Z0-9+=,.@_-]{1,64}",
        ),
    ] = "SageMaker-IoTRole"
    alias: Annotated[
        str,
        Key(
            "Role alias",
            "The alias that the core device's configuration names.",
            ("SageMakerEdge-greengrassv2fleet",),
            pattern="[a-zA-Z0-9=,@_-]{1,128}",
        ),
    ] = "SageMakerEdge-greengrassv2fleet"
    from_alias: Annotated[
        str | None,
        Key(
            "Existing role alias",
            "The role alias that the core device already has: its role is taken, and what is missing is added to "
            "it. `name`, `alias` and `credential_duration` say nothing then.",
            ("GreengrassCoreTokenExchangeRoleAlias",),
            pattern="[a-zA-Z0-9=,@_-]{1,128}",
        ),
    ] = None
    credential_duration: Annotated[
        Time,
        Key(
            "Lifetime of a device's credentials",
            "15 minutes to 12 hours.",
            ("1h",),
            unit="seconds",
            low=900,
            high=43_200,
        ),
    ] = Duration("1h")
    policies: Annotated[
        Literal["least-privilege", "workshop"],
        Key(
            "Which policies",
            "`least-privilege`: one inline policy for exactly these buckets and components. `workshop`: the AWS "
            "managed policies that the workshop attaches, AmazonS3FullAccess among them.",
            ("workshop",),
        ),
    ] = "least-privilege"


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Devices come from the list, from a file beside the workflow, from a thing group: all of the three together."""

    name: Annotated[EdgeName, Key("Fleet name", "Also a folder name in captured data.", ("greengrassv2fleet",))] = (
        "greengrassv2fleet"
    )
    description: Annotated[
        str, Key("Description", "For people; shown in the console.", ("Boards of hall 3",), longest=800)
    ] = ""
    devices: Annotated[
        tuple[EdgeName, ...],
        Key(
            "Devices",
            "IoT thing names of the core devices; each is registered in the fleet under the same name.",
            (["iMX8MPEVK-Core-001"],),
        ),
    ] = ()
    devices_file: Annotated[
        str | None,
        Key(
            "File of devices",
            "A text file beside this file with more device names: one a line, `#` begins a comment.",
            ("devices.txt",),
            shortest=1,
            host_file=True,
        ),
    ] = None
    thing_group: Annotated[
        str | None,
        Key(
            "Thing group of devices",
            "Every member of this IoT thing group is registered too, as it is when the workflow is applied.",
            ("hall-3",),
            pattern="[a-zA-Z0-9:_-]{1,128}",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """`artifact` is a path beside the workflow: a .tar.gz that holds exactly one .tflite, or the .tflite itself.

    `inputs` goes to Neo; `input_types` only checks the file, an input that it leaves out may have any type.
    """

    name: Annotated[
        EdgeName,
        Key(
            "Model name",
            "The name that clients load it by, and a folder name in captured data.",
            ("mobilenetv2-224-10-quant",),
        ),
    ]
    version: Annotated[
        str,
        Key(
            "Model version",
            "At most 30 letters, digits, spaces, dots and underscores. In quotes: 1.0 without them is a number.",
            ("1.0",),
            pattern="[a-zA-Z0-9 _.]{1,30}",
        ),
    ] = "1.0"
    artifact: Annotated[
        str,
        Key(
            "Model file",
            "A path beside this file: a .tflite, or a .tar.gz/.tgz that holds exactly one.",
            ("models/mobilenet_v2_1.0_224_quant.tgz",),
            shortest=1,
            host_file=True,
        ),
    ]
    framework: Annotated[
        Literal["TFLITE"], Key("Framework", "The framework that the model comes from.", ("TFLITE",))
    ] = "TFLITE"
    inputs: Annotated[
        Mapping[str, Annotated[tuple[Annotated[int, Key(low=1, high=2147483647)], ...], Key(shortest=1)]],
        Key(
            "Inputs",
            "Each input tensor's name and shape: Neo's data input configuration.",
            ({"input": [1, 224, 224, 3]},),
            shortest=1,
        ),
    ]
    input_types: Annotated[
        Mapping[str, TensorType],
        Key(
            "Types of the inputs",
            "What type each input tensor has: `emflow validate` holds it, as names and shapes, against the model "
            "file. An input that is left out may have any.",
            ({"input": "uint8"},),
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Compile:
    job: Annotated[
        EdgeName,
        Key(
            "Job name",
            "A job name can be used only once: changed inputs make a new job, whose name ends in a digest of them.",
            ("mobilenetv2-Quantized-model",),
        ),
    ]
    target_device: Annotated[
        str, Key("Target device", "One of SageMaker Neo's target devices.", ("imx8mplus",), pattern="[a-z0-9_]+")
    ] = "imx8mplus"
    timeout: Annotated[
        Time, Key("Longest time", "Neo stops the job after this time.", ("15m",), unit="seconds", low=60, high=10 * DAY)
    ] = Duration("15m")


@dataclass(frozen=True, kw_only=True)
class ModelComponent:
    name: Annotated[
        ComponentName,
        Key(
            "Component name",
            "Also the name of its work folder on the device, where the model is loaded from.",
            ("mobilenetv2_224_quantized_model_component",),
        ),
    ]
    version: Annotated[Version, Key("Component version", "Raise it when the model changes.", ("1.0.0",))] = "1.0.0"
    description: Annotated[
        str, Key("Description", "For people; shown in the console.", ("Packaged Mobilenetv2 uint8 quantized model",))
    ] = ""


@dataclass(frozen=True, kw_only=True)
class Package:
    job: Annotated[
        EdgeName,
        Key(
            "Job name",
            "Can be used only once, like the name of the compilation job.",
            ("imx8mplus-mobilenetv2-packaging-001",),
        ),
    ]
    component: Annotated[
        ModelComponent,
        Key(
            "Model component",
            "The Greengrass component that brings the model to the device.",
            ({"name": "mobilenetv2_224_quantized_model_component", "version": "1.0.0"},),
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Target:
    """Exactly one of the two."""

    thing: Annotated[
        str | None,
        Key(
            "Core device",
            "IoT thing name of one core device; it has to be among the fleet's devices.",
            ("iMX8MPEVK-Core-001",),
        ),
    ] = None
    thing_group: Annotated[
        str | None,
        Key(
            "Thing group",
            "IoT thing group whose members get the deployment.",
            ("hall-3",),
            pattern="[a-zA-Z0-9:_-]{1,128}",
        ),
    ] = None

    @property
    def arn_suffix(self) -> str:
        """`thing/NAME` or `thinggroup/NAME`, as in the target's ARN."""
        return f"thing/{self.thing}" if self.thing else f"thinggroup/{self.thing_group}"


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A rate that grows: by `factor` whenever so many devices were notified, or (better) succeeded. One of the two."""

    start_per_minute: Annotated[
        int, Key("Devices a minute at first", "The rate that the rollout begins with.", (10,), low=1, high=1000)
    ] = 10
    factor: Annotated[float, Key("Factor", "By what the rate is multiplied each time.", (1.5,), low=1.1, high=5)] = 2.0
    after_notified: Annotated[
        int | None,
        Key(
            "After so many notified",
            "The rate grows each time this number of devices were notified. Give this or `after_succeeded`.",
            (100,),
            low=1,
        ),
    ] = None
    after_succeeded: Annotated[
        int | None,
        Key(
            "After so many successes",
            "The rate grows each time this number of devices have succeeded. Give this or `after_notified`.",
            (100,),
            low=1,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Abort:
    """Stop the whole rollout when so many percent failed, once `after` devices were tried."""

    when: Annotated[
        Literal["all", "failed", "rejected", "timed_out"],
        Key(
            "Which failures count",
            "The result of the deployment on a device; `all` is any of the other three.",
            ("failed",),
        ),
    ] = "all"
    percent: Annotated[float, Key("Percentage", "Of the devices tried so far.", (20,), low=0.01, high=100)]
    after: Annotated[
        int,
        Key(
            "Devices tried at least",
            "The rollout is not aborted before it has reached this number of devices.",
            (10,),
            low=1,
        ),
    ] = 1


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How a deployment spreads over a thing group: AWS's own engine, so nothing loops over devices here."""

    max_per_minute: Annotated[
        int,
        Key(
            "Most devices a minute",
            "How many devices at most are notified of the deployment in one minute.",
            (50,),
            low=1,
            high=1000,
        ),
    ] = 1000
    growth: Annotated[
        Growth | None,
        Key(
            "Growing rate",
            "The rollout begins slowly. Its rate is multiplied by a factor each time a number of devices were "
            "notified, or have succeeded.",
            ({"start_per_minute": 10, "factor": 2, "after_succeeded": 50},),
        ),
    ] = None
    abort: Annotated[
        tuple[
            Annotated[
                Abort,
                Key(
                    "One reason to abort",
                    "So many percent of the devices failed, after so many were tried.",
                    ({"when": "failed", "percent": 20, "after": 10},),
                ),
            ],
            ...,
        ],
        Key(
            "When to abort",
            "The rollout is cancelled as soon as one of these is true.",
            ([{"when": "failed", "percent": 20, "after": 10}],),
        ),
    ] = ()
    timeout: Annotated[
        Duration | None,
        Key(
            "Time for a device",
            "How long one device may work on the deployment before it counts as timed out; whole minutes. Without it, "
            "no limit.",
            ("30m",),
            message="A number with a unit: 30m, 2h, 1d.",
            unit="minutes",
            low=1,
            high=10_080,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Update:
    """Whether components are asked before they are replaced, and how long they may put it off."""

    notify: Annotated[
        bool,
        Key(
            "Ask first",
            "true: components are notified, and may postpone the update. false: they are replaced at once.",
            (False,),
        ),
    ] = True
    timeout: Annotated[
        Time,
        Key(
            "How long to wait",
            "How long a component may postpone the update before it is replaced anyway; whole seconds.",
            ("2m",),
            unit="seconds",
            high=DAY,
        ),
    ] = Duration("1m")


@dataclass(frozen=True, kw_only=True)
class RunWith:
    """As whom a component runs, `user` or `user:group`, and the limits of its processes: processors, kilobytes."""

    user: Annotated[
        str | None,
        Key(
            "User",
            "A user of the device, or a user and a group.",
            ("ggc_user:ggc_group",),
            pattern=r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?(:[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?)?",
            message="A user, or user:group; letters, digits and _ . - @ in each.",
            shortest=1,
        ),
    ] = None
    cpus: Annotated[
        float | None, Key("Processors", "How many processors its processes may use together.", (0.5,), above=0)
    ] = None
    memory_kb: Annotated[
        int | None, Key("Memory", "How many kilobytes its processes may use together.", (262144,), low=1)
    ] = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one of AWS's public components is configured by the deployment.

    `configuration` is merged into what the component has; `reset`: JSON pointers to what goes back to its default
    before that.
    """

    component: Annotated[
        str,
        Key(
            "Component",
            "Its name, as under `components`; the agent's settings are `edge.agent` and `edge.capture`.",
            ("aws.greengrass.Nucleus",),
            shortest=1,
        ),
    ]
    configuration: Annotated[
        Mapping[str, Any],
        Key(
            "Configuration",
            "Merged into the component's configuration. Greengrass turns numbers into floats.",
            ({"mqtt": {"port": 443}},),
        ),
    ] = field(default_factory=dict)
    reset: Annotated[
        tuple[Annotated[str, Key(pattern="(/.*)?", message="A JSON pointer, such as /mqtt/port.")], ...],
        Key(
            "Reset",
            "JSON pointers to what goes back to the component's default before the merge; an empty one is everything.",
            (["/logging"],),
        ),
    ] = ()
    run_with: Annotated[
        RunWith | None,
        Key(
            "Run with",
            "The user that the component runs as, and its limits; without it, as the nucleus is configured.",
            ({"user": "ggc_user:ggc_group", "memory_kb": 262144},),
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """`components`: AWS's public components beside ours; `latest` takes the newest at first and keeps it afterwards.

    `settings` configures those of them that it names; the others keep the configuration that they have.
    """

    name: Annotated[
        str, Key("Deployment name", "Shown in the console.", ("Deployment for ML using EM",), shortest=1, longest=256)
    ] = "Deployment for ML using EM"
    target: Annotated[
        Target,
        Key(
            "Target",
            "One core device, or all of a thing group: exactly one of the two.",
            ({"thing": "iMX8MPEVK-Core-001"},),
        ),
    ]
    components: Annotated[
        Mapping[
            str,
            Annotated[
                str,
                Key(
                    pattern=f"(latest|{THREE_NUMBERS})",
                    message="latest, or three numbers such as 2.12.6.",
                ),
            ],
        ],
        Key(
            "Public components",
            "AWS's components beside ours, each with a version or `latest` (the newest at first, kept afterwards). "
            "aws.greengrass.Cli is a helpful fourth while developing.",
            (
                {
                    "aws.greengrass.Nucleus": "2.12.6",
                    "aws.greengrass.TokenExchangeService": "latest",
                    "aws.greengrass.SageMakerEdgeManager": "latest",
                    "aws.greengrass.Cli": "2.12.6",
                },
            ),
        ),
    ] = field(
        default_factory=lambda: {
            "aws.greengrass.Nucleus": "latest",
            "aws.greengrass.TokenExchangeService": "latest",
            AGENT_COMPONENT: "latest",
        }
    )
    settings: Annotated[
        tuple[
            Annotated[
                Settings,
                Key(
                    "Settings of one component",
                    "One of `components`, and how it is configured.",
                    ({"component": "aws.greengrass.Nucleus", "configuration": {"mqtt": {"port": 443}}},),
                ),
            ],
            ...,
        ],
        Key(
            "Settings of public components",
            "How AWS's components are configured. What is given for one is all that the deployment sets: a key that "
            "leaves the workflow is reset on the devices. Those not named here keep what they have.",
            ([{"component": "aws.greengrass.Nucleus", "configuration": {"mqtt": {"port": 443}}}],),
        ),
    ] = ()
    rollout: Annotated[
        Rollout | None,
        Key(
            "Rollout",
            "How the deployment spreads over a thing group; without it, 1000 devices a minute.",
            ({"max_per_minute": 50, "abort": [{"percent": 20, "after": 10}], "timeout": "30m"},),
        ),
    ] = None
    on_failure: Annotated[
        Literal["rollback", "nothing"],
        Key(
            "When a device fails",
            "`rollback`: it goes back to what it ran before. `nothing`: it stays as it is then.",
            ("nothing",),
        ),
    ] = "rollback"
    update: Annotated[
        Update,
        Key(
            "Replacing components",
            "Whether running components are asked before they are replaced.",
            ({"notify": True, "timeout": "2m"},),
        ),
    ] = Update()
    validation_timeout: Annotated[
        Time,
        Key(
            "Time to check a configuration",
            "How long each component may take to accept its new configuration; whole seconds.",
            ("1m",),
            unit="seconds",
            low=1,
            high=DAY,
        ),
    ] = Duration("30s")


@dataclass(frozen=True, kw_only=True)
class Cloud:
    buckets: Annotated[
        Buckets,
        Key(
            "S3 buckets",
            "The workshop's two buckets: one for what devices send, one for what they are sent.",
            (
                {
                    "inference_results": {"name": "my-unique-prefix-sagemaker-inference-results"},
                    "components": {"name": "my-unique-prefix-gg-components"},
                },
            ),
        ),
    ]
    role: Annotated[
        Role,
        Key(
            "IAM role and IoT role alias",
            "The role that devices take through the role alias, and that SageMaker's jobs take.",
            ({"name": "SageMaker-IoTRole", "alias": "SageMakerEdge-greengrassv2fleet"},),
        ),
    ] = Role()
    fleet: Annotated[
        Fleet,
        Key(
            "Edge Manager fleet",
            "The fleet, and the devices registered in it.",
            ({"name": "greengrassv2fleet", "devices": ["iMX8MPEVK-Core-001"]},),
        ),
    ]
    model: Annotated[
        Model,
        Key(
            "The model",
            "What is compiled, packaged and loaded on the device.",
            (
                {
                    "name": "mobilenetv2-224-10-quant",
                    "artifact": "models/mobilenet_v2_1.0_224_quant.tgz",
                    "inputs": {"input": [1, 224, 224, 3]},
                },
            ),
        ),
    ]
    compile: Annotated[
        Compile,
        Key(
            "Neo compilation",
            "The job that compiles the model for the board.",
            ({"job": "mobilenetv2-Quantized-model", "target_device": "imx8mplus"},),
        ),
    ]
    package: Annotated[
        Package,
        Key(
            "Edge packaging",
            "The job that signs the compiled model and makes the model component.",
            (
                {
                    "job": "imx8mplus-mobilenetv2-packaging-001",
                    "component": {"name": "mobilenetv2_224_quantized_model_component", "version": "1.0.0"},
                },
            ),
        ),
    ]
    deployment: Annotated[
        Deployment,
        Key(
            "Greengrass deployment",
            "What is deployed, and to whom. It replaces the target's whole set of components.",
            ({"name": "Deployment for ML using EM", "target": {"thing": "iMX8MPEVK-Core-001"}},),
        ),
    ]
