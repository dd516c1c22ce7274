"""The device's part of a workflow, `edge`: the application component, the agent, and what they do.

What the component itself reads (streams, model in and out, results, log, metrics) is in `emflow_schema.edge_config`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from emflow.workflow.model.shared import DAY, THREE_NUMBERS, ByteSize, ComponentName, Time
from emflow_schema import edge_config
from emflow_schema.edge_config import AGENT_SOCKET, FILE, Log, Metrics, ModelIO, Publish, Stream
from emflow_schema.key import Key
from emflow_schema.units import Duration


@dataclass(frozen=True, kw_only=True)
class Component:
    """The application component. `version: auto` takes the next patch when, and only when, its content changed.

    `recipe` is a template beside the workflow that stands in for the built-in one.
    """

    name: Annotated[
        ComponentName,
        Key(
            "Component name",
            "As it stands in Greengrass and in the name of its log.",
            ("aws.sagemaker.edgeManagerClientCameraIntegration",),
        ),
    ] = "aws.sagemaker.edgeManagerClientCameraIntegration"
    version: Annotated[
        str,
        Key(
            "Component version",
            "`auto` takes the next patch when, and only when, the component's content changed.",
            ("1.0.0",),
            pattern=f"(auto|{THREE_NUMBERS})",
            message="auto, or three numbers such as 1.0.0.",
        ),
    ] = "auto"
    publisher: Annotated[str, Key("Publisher", "Shown in the console.", ("Example Corp",))] = "emflow"
    description: Annotated[
        str, Key("Description", "For people; shown in the console.", ("Counts bottles on line 2",))
    ] = "Captures RTSP, infers through the Edge Manager agent, publishes results over MQTT"
    recipe: Annotated[
        str | None,
        Key(
            "Recipe template",
            "A Jinja template beside this file that stands in for the built-in one; `emflow render` shows what "
            "comes out.",
            ("recipes/application.recipe.yaml.j2",),
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class OpenAgent:
    """Settings that only emflow's own agent has; AWS's program ignores them.

    `delegate` is LiteRT's accelerator, `providers` are ONNX Runtime's, in their order; sizes have their unit.
    """

    runtime: Annotated[
        Literal["auto", "litert", "onnx", "neo"],
        Key(
            "Runtime",
            "For model folders that hold several kinds (Runtime); `auto` takes the first that fits.",
            ("litert",),
            agent="Runtime",
        ),
    ] = "auto"
    threads: Annotated[
        int | None,
        Key(
            "Threads",
            "CPU threads for one inference (Threads); without it, as many as the agent may use processors, at most 4.",
            (2,),
            low=1,
            high=64,
            agent="Threads",
        ),
    ] = None
    delegate: Annotated[
        str | None,
        Key(
            "Delegate",
            "LiteRT's accelerator (Delegate): `vx` for the NPU of the i.MX 8M Plus, `teflon` for the same with "
            "Mesa, `ethosu` for the i.MX 93, `neutron` for the i.MX 95, `xnnpack`, `none`, or the path of a "
            "delegate's library; without it XNNPACK, on the CPU.",
            ("vx",),
            pattern=r"vx|teflon|ethosu|neutron|xnnpack|none|/[^\u0000]{1,255}",
            message="One of vx, teflon, ethosu, neutron, xnnpack, none, or an absolute path.",
            agent="Delegate",
        ),
    ] = None
    delegate_options: Annotated[
        Mapping[
            Annotated[str, Key(pattern=r"[^;=\s]+", message="Names without blanks, semicolons and equals signs.")],
            Annotated[str, Key(pattern=r"[^;\u0000]*", message="A text without a semicolon.")],
        ],
        Key(
            "Options of the delegate",
            "Handed to the delegate as they are (DelegateOptions).",
            ({"device": "0"},),
            agent="DelegateOptions",
        ),
    ] = field(default_factory=dict)
    providers: Annotated[
        tuple[
            Annotated[
                str,
                Key(
                    pattern=r"[A-Za-z][^;=\s]*( +[^;=\s]+=[^;\s]*)*",
                    message="A name, and perhaps options as key=value, with blanks between them.",
                ),
            ],
            ...,
        ],
        Key(
            "Execution providers",
            "ONNX Runtime's accelerators in the order in which they are tried, each a name and perhaps its options "
            "as `key=value` (Providers); the CPU comes last anyway.",
            (["VSINPUExecutionProvider"],),
            agent="Providers",
        ),
    ] = ()
    accelerator_required: Annotated[
        bool,
        Key(
            "Accelerator required",
            "Refuse a model that the delegate or execution provider does not take, in place of running it on the "
            "CPU (AcceleratorRequired).",
            (True,),
            agent="AcceleratorRequired",
        ),
    ] = False
    graph_cache: Annotated[
        str | None,
        Key(
            "Cache of graphs",
            "Folder on the device where the VX delegate keeps compiled graphs across restarts (GraphCache).",
            ("/var/cache/emflow",),
            pattern=FILE,
            message="An absolute path, such as /var/cache/emflow.",
            agent="GraphCache",
        ),
    ] = None
    memory_limit: Annotated[
        str | None,
        Key(
            "Memory limit",
            "For the agent with all its models (MemoryLimit); without it, what the machine has. A model that would "
            "not fit is refused.",
            ("512 MiB",),
            pattern=r"[0-9]+(\.[0-9]+)? ?([kKMGT]i?)?B",
            message="A number with a unit, such as 512 MiB or 1.5 GB.",
            agent="MemoryLimit",
        ),
    ] = None
    queue_size: Annotated[
        int,
        Key(
            "Queue",
            "Calls of one model that may wait (QueueSize); one more is refused.",
            (16,),
            low=1,
            high=4096,
            agent="QueueSize",
        ),
    ] = 64
    trial: Annotated[
        bool,
        Key(
            "Trial run",
            "Run a model in a process of its own before it is loaded, so that a file that crashes the runtime does "
            "not end the agent (Trial).",
            (False,),
            agent="Trial",
        ),
    ] = True
    trust_keys: Annotated[
        tuple[
            Annotated[
                str,
                Key(
                    pattern=r"/[^,\u0000]{1,255}",
                    message="An absolute path without a comma, such as /etc/emflow/models.pem.",
                ),
            ],
            ...,
        ],
        Key(
            "Trusted keys",
            "PEM files on the device: packages of models have to be signed with one of these keys (TrustKeys).",
            (["/etc/emflow/models.pem"],),
            agent="TrustKeys",
        ),
    ] = ()
    require_signature: Annotated[
        bool,
        Key(
            "Signature required",
            "The agent does not start without `trust_keys` (RequireSignature), so that they cannot be forgotten.",
            (True,),
            agent="RequireSignature",
        ),
    ] = False
    socket_mode: Annotated[
        str,
        Key(
            "Mode of the socket",
            "Who may open the socket (SocketMode), as octal digits that let its owner in.",
            ("0600",),
            pattern="0?[67][0-7]{2}",
            message='Octal digits in quotes that let the owner read and write, such as "0660".',
            agent="SocketMode",
        ),
    ] = "0660"
    socket_group: Annotated[
        str | None,
        Key(
            "Group of the socket",
            "Group of the socket, by name or number (SocketGroup); without it the agent's own.",
            ("video",),
            shortest=1,
            agent="SocketGroup",
        ),
    ] = None
    capture_disk_budget: Annotated[
        ByteSize,
        Key(
            "Disk for captures",
            "What captured data may take of the disk (CaptureDataDiskBudget); the oldest goes first.",
            ("2 GiB",),
            agent="CaptureDataDiskBudget",
        ),
    ] = "512 MiB"
    metrics_period: Annotated[
        Time,
        Key(
            "Metrics in the agent's log",
            "Time between two lines of metrics for each model (MetricsPeriodSeconds); whole seconds, `0s`: none.",
            ("10m",),
            unit="seconds",
            high=DAY,
            agent="MetricsPeriodSeconds",
        ),
    ] = Duration("1m")


@dataclass(frozen=True, kw_only=True)
class Agent:
    """`backend_options`: flags of the runtime of Neo-compiled models; `database` and `model_deployments` are AWS's."""

    provider: Annotated[
        Literal["edge-manager"],
        Key("Provider", "`edge-manager`: the component aws.greengrass.SageMakerEdgeManager.", ("edge-manager",)),
    ] = "edge-manager"
    socket: Annotated[
        str,
        Key(
            "Socket",
            "Path of the agent's Unix socket (UnixSocketName).",
            (AGENT_SOCKET,),
            pattern="/.*",
            message="An absolute path.",
            agent="UnixSocketName",
        ),
    ] = AGENT_SOCKET
    verbose: Annotated[
        bool,
        Key(
            "Verbose log", "The agent's debug log (SagemakerEdgeLogVerbose).", (True,), agent="SagemakerEdgeLogVerbose"
        ),
    ] = False
    backend_options: Annotated[
        Mapping[
            Annotated[
                str, Key(pattern="(?!LD_)[A-Z][A-Z0-9_]*", message="Names in capitals, such as TVM_TENSORRT_CACHE_DIR.")
            ],
            Annotated[str, Key(pattern=r"[^;\u0000]*", message="A text without a semicolon.")],
        ],
        Key(
            "Options of compiled models",
            "Flags for the runtime of Neo-compiled models (DLRBackendOptions), such as TensorRT's cache.",
            ({"TVM_TENSORRT_CACHE_DIR": "/var/cache/trt"},),
            agent="DLRBackendOptions",
        ),
    ] = field(default_factory=dict)
    database: Annotated[
        bool,
        Key(
            "Local database",
            "AWS's agent keeps its state in a database on the device (DbEnable); emflow's agent has none, and ignores "
            "this.",
            (True,),
            agent="DbEnable",
        ),
    ] = False
    model_deployments: Annotated[
        bool,
        Key(
            "Models without a deployment",
            "AWS's agent fetches models that are deployed through SageMaker (DeploymentEnable), which needs "
            "`database`. emflow's agent ignores this: its models come as components.",
            (True,),
            agent="DeploymentEnable",
        ),
    ] = False
    open: Annotated[
        OpenAgent,
        Key(
            "Settings of the open agent",
            "Settings that only emflow's agent has, under the names in docs/agent.md. They are sent to AWS's "
            "component too, which ignores them.",
            ({"delegate": "vx", "graph_cache": "/var/cache/emflow"},),
        ),
    ] = OpenAgent()


@dataclass(frozen=True, kw_only=True)
class Capture(edge_config.Capture):
    """What is captured, and Edge Manager's settings for it."""

    destination: Annotated[
        Literal["cloud", "disk"],
        Key(
            "Destination",
            "CaptureDataDestination: the bucket for captured data, or a folder on the device.",
            ("cloud",),
            agent="CaptureDataDestination",
        ),
    ] = "cloud"
    disk_path: Annotated[
        str | None,
        Key(
            "Folder on the device",
            "CaptureDataDiskPath: where captures go with `destination: disk`, and where they wait without a network "
            "with `cloud`; without it, captures are refused while there is none.",
            ("/var/lib/captures",),
            pattern=FILE,
            message="An absolute path, such as /var/lib/captures.",
            agent="CaptureDataDiskPath",
        ),
    ] = None
    prefix: Annotated[
        str,
        Key(
            "Folder prefix",
            "The first part of every object key (FolderPrefix).",
            ("sme-capture",),
            pattern=r"(?=/*[^/])(?!/*\.{1,2}(/|$))(?!.*[^/]/+\.{1,2}(/|$))(?!.*[^/]/{2,}[^/])[a-zA-Z0-9!_.*'()/-]{1,256}",
            message="Names of folders joined by single slashes, such as line-1/captures; `.` and `..` are not allowed.",
            agent="FolderPrefix",
        ),
    ] = "sme-capture"
    batch: Annotated[
        int,
        Key(
            "Batch size",
            "Captures in one upload (CaptureDataBatchSize).",
            (10,),
            low=1,
            high=100_000,
            agent="CaptureDataBatchSize",
        ),
    ] = 10
    buffer: Annotated[
        int,
        Key(
            "Buffer size",
            "Captures kept until they are uploaded (CaptureDataBufferSize); more than a batch.",
            (30,),
            low=2,
            high=1_000_000,
            agent="CaptureDataBufferSize",
        ),
    ] = 30
    push_period: Annotated[
        Time,
        Key(
            "Push period",
            "An upload goes out at least this often (CaptureDataPushPeriodSeconds); whole seconds.",
            ("4s",),
            unit="seconds",
            low=1,
            high=DAY,
            agent="CaptureDataPushPeriodSeconds",
        ),
    ] = Duration("4s")
    embed_limit: Annotated[
        int,
        Key(
            "Embed limit",
            "Bytes of a tensor that may stand in the line itself (CaptureDataBase64EmbedLimit).",
            (3072,),
            low=0,
            high=3072,
            agent="CaptureDataBase64EmbedLimit",
            unit="bytes",
        ),
    ] = 3072
    periodic_upload: Annotated[
        bool,
        Key(
            "Periodic upload",
            "Upload from disk now and then (CaptureDataPeriodicUpload).",
            (False,),
            agent="CaptureDataPeriodicUpload",
        ),
    ] = False
    periodic_upload_period: Annotated[
        Time,
        Key(
            "Periodic upload period",
            "CaptureDataPeriodicUploadPeriodSeconds; whole seconds.",
            ("8s",),
            unit="seconds",
            low=1,
            high=30 * DAY,
            agent="CaptureDataPeriodicUploadPeriodSeconds",
        ),
    ] = Duration("8s")


@dataclass(frozen=True, kw_only=True)
class Edge:
    component: Annotated[
        Component,
        Key(
            "Application component",
            "The component that captures, infers and publishes.",
            ({"name": "aws.sagemaker.edgeManagerClientCameraIntegration", "version": "auto"},),
        ),
    ] = Component()
    agent: Annotated[
        Agent,
        Key(
            "The agent on the device",
            "Who answers LoadModel and Predict, and where.",
            ({"provider": "edge-manager", "socket": AGENT_SOCKET},),
        ),
    ] = Agent()
    streams: Annotated[
        tuple[
            Annotated[
                Stream,
                Key(
                    "One camera",
                    "A video stream and how often to infer on it.",
                    ({"name": "front", "url": "rtspt://192.168.1.20/stream1", "every": "1s"},),
                ),
            ],
            ...,
        ],
        Key(
            "Cameras",
            "At least one.",
            ([{"name": "front", "url": "rtspt://192.168.1.20/stream1", "every": "1s"}],),
            shortest=1,
        ),
    ]
    model_io: Annotated[
        ModelIO,
        Key(
            "Into and out of the model",
            "How pixels become the model's input, and its output becomes a label.",
            ({"color": "rgb", "labels": "models/labels.txt", "class_offset": 1},),
        ),
    ] = ModelIO()
    publish: Annotated[
        Publish,
        Key(
            "Results",
            "Where results go, which of them are published, and what else is published.",
            ({"topic": "em/inference", "qos": 1},),
        ),
    ] = Publish()
    capture: Annotated[
        Capture,
        Key(
            "Data capture",
            "The agent's capture settings, with the workshop's values.",
            ({"enabled": False, "prefix": "sme-capture"},),
        ),
    ] = Capture()
    log: Annotated[
        Log, Key("Log", "The component's log, which Greengrass keeps under its name.", ({"format": "json"},))
    ] = Log()
    metrics: Annotated[
        Metrics,
        Key(
            "Metrics",
            "Counters of frames, results and reconnects, and how long things took.",
            ({"every": "1m", "port": 9464},),
        ),
    ] = Metrics()
