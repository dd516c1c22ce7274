"""What the agent is configured with: sections of a workflow's `edge`, and the agent's own settings, key by key.

One class is both: the host reads it from a workflow and writes each key as text under its name in the agent's
configuration (`write_settings`); the agent reads it back (`read_section`). In that configuration all keys are in one
object, with the names of the Greengrass component aws.greengrass.SageMakerEdgeManager; the configuration file of the
original agent's program has names of its own:
https://github.com/awsdocs/amazon-sagemaker-developer-guide/blob/main/doc_source/edge-device-fleet-manual.md
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Optional, TypeVar

from emflow_schema import edge_config, values
from emflow_schema.agent_socket import CORE_SOCKET
from emflow_schema.configuration import Fault, check_text, written
from emflow_schema.edge_config import ANYTHING, FILE, User
from emflow_schema.key import Field, Key, Shape, fields
from emflow_schema.shared_types import Size, Time
from emflow_schema.units import YEAR, ByteSize, Duration

_FOLDERS = r"(?=/*[^/])(?!/*\.{1,2}(/|$))(?!.*[^/]/+\.{1,2}(/|$))(?!.*[^/]/{2,}[^/])"


@dataclass(frozen=True)
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
        Optional[int],
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
        Optional[str],
        Key(
            "Delegate",
            "LiteRT's accelerator (Delegate): `vx` for the NPU of the i.MX 8M Plus, `teflon` for the same with "
            "Mesa, `ethosu` for the i.MX 93, `neutron` for the i.MX 95, `xnnpack`, `none`, or the path of a "
            "delegate's library; without it XNNPACK, on the CPU.",
            ("vx",),
            pattern=r"vx|teflon|ethosu|neutron|xnnpack|none|/[^\u0000]{1,255}",
            message="One of vx, teflon, ethosu, neutron, xnnpack, none, or an absolute path.",
            # The agent itself says what accelerators it knows.
            device_pattern=ANYTHING,
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
                    device_pattern=ANYTHING,
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
            agent_separator=";",
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
        Optional[str],
        Key(
            "Cache of graphs",
            "Folder on the device where the VX delegate keeps compiled graphs across restarts (GraphCache).",
            ("/var/cache/emflow",),
            pattern=FILE,
            message="An absolute path, such as /var/cache/emflow.",
            device_pattern=ANYTHING,
            agent="GraphCache",
        ),
    ] = None
    memory_limit: Annotated[
        Optional[Size],
        Key(
            "Memory limit",
            "For the agent with all its models (MemoryLimit); without it, what the machine has. A model that would "
            "not fit is refused.",
            ("512 MiB",),
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
                    pattern=r"/[^,\u0000]{1,255}|[^,\u0000]*-----BEGIN [^,\u0000]+",
                    message="An absolute path without a comma, such as /etc/emflow/models.pem, or a key in PEM format, "
                    "with comments without one.",
                    device_pattern=ANYTHING,
                ),
            ],
            ...,
        ],
        Key(
            "Trusted keys",
            "Packages of models have to be signed with one of these keys (TrustKeys): each a PEM file on the device, "
            "or the text of one; `valid-from:`, `valid-until:` and `revoked:` above a key limit it in time.",
            (["/etc/emflow/models.pem"],),
            agent="TrustKeys",
        ),
    ] = ()
    trust_state: Annotated[
        Optional[str],
        Key(
            "State of trust",
            "Folder on the device where the agent keeps the floors of models and the newest time that it has seen "
            "(TrustState); without it, the work folder of its component.",
            ("/var/lib/emflow",),
            pattern=FILE,
            message="An absolute path, such as /var/lib/emflow.",
            device_pattern="/.*",
            agent="TrustState",
        ),
    ] = None
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
        Optional[str],
        Key(
            "Group of the socket",
            "Group of the socket, by name or number (SocketGroup); without it the agent's own.",
            ("video",),
            shortest=1,
            agent="SocketGroup",
        ),
    ] = None
    capture_disk_budget: Annotated[
        Size,
        Key(
            "Disk for captures",
            "What captured data may take of the disk (CaptureDataDiskBudget); the oldest goes first.",
            ("2 GiB",),
            agent="CaptureDataDiskBudget",
        ),
    ] = ByteSize("512 MiB")
    metrics_period: Annotated[
        Time,
        Key(
            "Metrics in the agent's log",
            "Time between two lines of metrics for each model (MetricsPeriodSeconds); whole seconds, `0s`: none.",
            ("10m",),
            unit="seconds",
            agent="MetricsPeriodSeconds",
        ),
    ] = Duration("1m")


@dataclass(frozen=True)
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
            "Path of the agent's Unix socket (UnixSocketName). The default is in the work folder of the agent's "
            "component, where no other user can put a socket of their own. Clients that run as others, and look for "
            "the workshop's path, need a path that they can reach.",
            (CORE_SOCKET, "/tmp/sagemaker_edge_agent_example.sock"),  # noqa: S108 the workshop's path
            pattern="/.*",
            message="An absolute path.",
            device_pattern=ANYTHING,
            agent="UnixSocketName",
        ),
    ] = CORE_SOCKET
    users: Annotated[
        tuple[User, ...],
        Key(
            "Users",
            "Users of the device, by name or number, beside root and the component's own, to whom the socket, its "
            "folders and the process that serves it may belong (SocketUsers). Any other is refused, by the component "
            "and by emflow's agent.",
            (["sagemaker"],),
            agent="SocketUsers",
        ),
    ] = ()
    verbose: Annotated[
        bool,
        Key(
            "Verbose log",
            "The agent's debug log (SagemakerEdgeLogVerbose).",
            (True,),
            agent="SagemakerEdgeLogVerbose",
            agent_file="sagemaker_edge_log_verbose",
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


@dataclass(frozen=True)
class Capture(edge_config.Capture):
    """What is captured, and the agent's settings for it."""

    destination: Annotated[
        Literal["cloud", "disk"],
        Key(
            "Destination",
            "CaptureDataDestination: the bucket for captured data, or a folder on the device.",
            ("cloud",),
            agent="CaptureDataDestination",
            agent_file="sagemaker_edge_core_capture_data_destination",
        ),
    ] = "cloud"
    disk_path: Annotated[
        Optional[str],
        Key(
            "Folder on the device",
            "CaptureDataDiskPath: where captures go with `destination: disk`, and where they wait without a network "
            "with `cloud`; without it, captures are refused while there is none.",
            ("/var/lib/captures",),
            pattern=FILE,
            message="An absolute path, such as /var/lib/captures.",
            device_pattern="/.*",
            agent="CaptureDataDiskPath",
            agent_file="sagemaker_edge_core_capture_data_disk_path",
        ),
    ] = None
    prefix: Annotated[
        str,
        Key(
            "Folder prefix",
            "The first part of every object key (FolderPrefix).",
            ("sme-capture",),
            pattern=_FOLDERS + "[a-zA-Z0-9!_.*'()/-]{1,256}",
            message="Names of folders joined by single slashes, such as line-1/captures; `.` and `..` are not allowed.",
            device_pattern=_FOLDERS + ".+",
            agent="FolderPrefix",
            agent_file="sagemaker_edge_core_folder_prefix",
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
            agent_file="sagemaker_edge_core_capture_data_batch_size",
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
            agent_file="sagemaker_edge_core_capture_data_buffer_size",
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
            agent="CaptureDataPushPeriodSeconds",
            agent_file="sagemaker_edge_core_capture_data_push_period_seconds",
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
            agent_file="sagemaker_edge_core_capture_data_base64_embed_limit",
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
            agent_file="sagemaker_edge_core_capture_data_periodic_upload",
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
            agent="CaptureDataPeriodicUploadPeriodSeconds",
            agent_file="sagemaker_edge_core_capture_data_periodic_upload_period_seconds",
        ),
    ] = Duration("8s")

    def faults(self) -> Iterator[Fault]:
        if self.batch >= self.buffer:
            message = f"a batch of {self.batch} does not fit into a buffer of {self.buffer}, which has to be larger"
            yield Fault("batch", message, "make the buffer larger than the batch")


@dataclass(frozen=True)
class Device:
    """Settings that a workflow does not have under `edge`: who the device is, and where its captures belong."""

    fleet: Annotated[
        str,
        Key(
            "Device fleet",
            "Fleet that the device belongs to; the second part of every object key.",
            ("imx8mplus-fleet",),
            pattern=r"(?!\.{1,2}$)[^/\u0000]+",
            message="A name that can be a folder: without /, and not . or ..",
            agent="DeviceFleetName",
            agent_file="sagemaker_edge_core_device_fleet_name",
        ),
    ] = ""
    bucket: Annotated[
        str,
        Key(
            "Bucket",
            "S3 bucket for captured data.",
            ("my-sagemaker-inference-results",),
            pattern="(?i).*sagemaker.*",
            message="A name that contains 'sagemaker', as bucket names of Edge Manager do.",
            agent="BucketName",
            agent_file="sagemaker_edge_provider_s3_bucket_name",
        ),
    ] = ""
    name: Annotated[
        str,
        Key(
            "Device name",
            "Stands in captured data; without it, the name of the thing, or of the machine.",
            ("imx8mp-001",),
            agent="DeviceName",
            agent_file="sagemaker_edge_core_device_name",
        ),
    ] = ""
    region: Annotated[
        str,
        Key(
            "AWS region",
            "Region of the bucket; without it, that of the environment.",
            ("us-west-2",),
            agent="Region",
            agent_file="sagemaker_edge_core_region",
        ),
    ] = ""
    clean_stale_socket: Annotated[
        bool,
        Key(
            "Stale socket",
            "Whether a socket that no process serves is removed at start.",
            (True,),
            agent="CleanStaleSocket",
        ),
    ] = False


SECTIONS = (Device, Capture, Agent, OpenAgent)
SETTINGS: Mapping[str, Field] = {
    each.shape.key.agent: each for section in SECTIONS for each in fields(section) if each.shape.key.agent
}
"""Every setting of the agent, by its name in the agent's configuration."""

_ORIGINAL_WORDS = {"cloud": "Cloud", "disk": "Disk"}
Section = TypeVar("Section")


def write_settings(section: Any) -> dict[str, str]:
    """The agent's settings that a section has, each as text under its name in the agent's configuration."""
    return {
        each.shape.key.agent: _write(each.shape, getattr(section, each.name))
        for each in fields(type(section))
        if each.shape.key.agent
    }


def read_section(section: type[Section], texts: Mapping[str, str]) -> Section:
    """A section of the agent's configuration, checked and typed. What is not in `texts` has its default.

    Args:
        section: its class.
        texts: the given settings, by their names in the agent's configuration; none is empty.

    Raises:
        InvalidSetting: a value is wrong.
    """
    taken = {}
    for each in fields(section):
        name = each.shape.key.agent
        if name in texts:
            try:
                taken[each.name] = _read(each.shape, texts[name])
            except values.Unfit as error:
                raise InvalidSetting(name, str(error)) from None
    return section(**taken)


class InvalidSetting(Exception):
    """A value of the agent's configuration is wrong.

    name: the setting. problem: what is wrong with its value, as the end of a sentence that begins with the value.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name, self.problem = name, problem


def _write(shape: Shape, value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, Duration):
        return str(round(value.seconds))
    if isinstance(value, tuple) and shape.key.agent_separator:
        return f"{shape.key.agent_separator} ".join(value)
    text = str(written(value))
    return _ORIGINAL_WORDS.get(text, text) if shape.choices else text


def _read(shape: Shape, text: str) -> Any:
    key = shape.key
    if shape.choices:
        words = {_ORIGINAL_WORDS.get(word, word): word for word in shape.choices}
        return words[values.choice(text, tuple(words))]
    if shape.kind is bool:
        return values.truth(text)
    if shape.kind is int:
        return values.whole(text, int(key.low or 0), int(key.high or 0))
    if shape.is_a(Duration):
        return _seconds(text, or_none=not key.low)
    if shape.is_a(ByteSize):
        values.size(text)
        return ByteSize(text)
    if shape.pairs:
        return _pairs(shape.pairs, text)
    if shape.items:
        parts = [part for part in map(str.strip, text.split(key.agent_separator or ",")) if part]
        for part in parts:
            _check_part(shape.items, part)
        return tuple(parts)
    check_text(shape, text)
    return text


def _seconds(text: str, *, or_none: bool) -> Duration:
    """`or_none`: 0 is a value too."""
    number = values.number(text)
    if not (0.001 <= number <= YEAR or (or_none and number == 0)):
        raise values.Unfit("is not a number of seconds above 0, and up to a year")
    return Duration(f"{number:f}s")


def _pairs(shapes: tuple[Shape, Shape], text: str) -> dict[str, str]:
    """`key=value; key=value`, the format of DLRBackendOptions in the original agent."""
    pairs: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key:
            raise values.Unfit(f"holds {part!r}, which is not key=value; separate several with ;")
        if key in pairs:
            raise values.Unfit(f"gives {key} twice")
        pairs[key] = value
    for shape, pieces in zip(shapes, (list(pairs), list(pairs.values()))):
        for piece in pieces:
            _check_part(shape, piece)
    return pairs


def _check_part(shape: Shape, piece: str) -> None:
    try:
        check_text(shape, piece)
    except values.Unfit as error:
        raise values.Unfit(f"holds {piece!r}, which {error}") from None
