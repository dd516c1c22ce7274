"""The validated settings of the agent: those of the original agent, with the names of its component, and our own.

They come as layers of keys and values (see `sources`); a later layer overrides an earlier one, and an empty value
counts as not set. All values are text; JSON numbers and booleans are accepted too.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emflow_agent.capture.settings import MAX_EMBEDDED_BYTES, CaptureSettings
from emflow_agent.errors import BadOption
from emflow_agent.models.integrity import TrustedKeys, read_trusted_keys
from emflow_agent.runtimes import check_options
from emflow_agent.runtimes.options import RuntimeOptions, read_environment, read_pairs, read_providers
from emflow_agent.settings.names import COMPONENT, DEFAULT_SOCKET, OURS, WITHOUT_MEANING, processors
from emflow_agent.settings.reading import BadSetting, Said

DESTINATIONS = ("Cloud", "Disk")
MOST_THREADS = 64


@dataclass(frozen=True)
class Settings:
    """The settings of one agent.

    socket, socket_mode, socket_group: path and permissions of the socket; the group by name or number, empty for
        that of the process.
    clean_stale_socket: whether a socket that no process serves is removed at start.
    memory_limit: bytes that the process may use with all its models; 0 for no limit of its own.
    queue_size: how many calls of one model may wait.
    metrics_period: seconds between two metrics reports in the log; 0 for none.
    probe: whether a model is first run in a separate process (setting `Trial`).
    trust: keys that packages must be signed with.
    runtime: options for running models.
    capture: configuration of captured data.
    region: AWS region of the bucket; empty for that of the environment.
    notes: warnings for the log about settings without effect.
    """

    socket: Path = Path(DEFAULT_SOCKET)
    socket_mode: int = 0o660
    socket_group: str = ""
    clean_stale_socket: bool = False
    memory_limit: int = 0
    queue_size: int = 64
    metrics_period: float = 60.0
    probe: bool = True
    trust: TrustedKeys = field(default_factory=TrustedKeys)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    region: str = ""
    verbose: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layer:
    """Settings from one source, which messages name: a file, the Greengrass configuration, the command line."""

    place: str
    values: Mapping[str, Any]


def read(layers: Sequence[Layer]) -> Settings:
    """Merge layers, lowest precedence first.

    Raises:
        BadSetting: a value is invalid; the message gives key, source and what is allowed.
    """
    notes: list[str] = []
    said = Said()
    for layer in layers:
        notes.extend(_take(layer, said))
    capture = _capture(said)
    if capture.missing and any(layer.values for layer in layers):
        notes.append(f"CaptureData will be refused: {capture.missing}")
    return Settings(
        socket=Path(said.text("UnixSocketName", DEFAULT_SOCKET)),
        socket_mode=_mode(said),
        socket_group=said.text("SocketGroup"),
        clean_stale_socket=said.truth("CleanStaleSocket", False),
        memory_limit=said.size("MemoryLimit", 0),
        queue_size=said.whole("QueueSize", 64, low=1, high=4096),
        metrics_period=said.seconds("MetricsPeriodSeconds", 60.0, or_none=True),
        probe=said.truth("Trial", True),
        trust=_trust(said),
        runtime=_runtime(said),
        capture=capture,
        region=said.text("Region"),
        verbose=said.truth("SagemakerEdgeLogVerbose", False),
        notes=tuple(notes),
    )


def _take(layer: Layer, said: Said) -> Iterator[str]:
    """Add the values of a layer under the component's names; yields warnings about keys without effect."""
    names = {**COMPONENT, **OURS}
    known = {**{name: name for name in names}, **{old: name for name, old in names.items() if old}}
    # A file may contain both names of a setting; the name of the component overrides the other.
    for key, value in sorted(layer.values.items(), key=lambda pair: pair[0] in names):
        if key in known:
            said.put(known[key], value, key, layer.place)
        elif key in WITHOUT_MEANING:
            if str(value).lower() not in ("", "false", "none"):
                yield f"{key} in {layer.place} has no effect in this agent"
        elif key != "accessControl":  # for the nucleus
            yield f"{key} in {layer.place} is not a setting of this agent"


def _capture(said: Said) -> CaptureSettings:
    fleet = said.text("DeviceFleetName")
    if "/" in fleet or fleet in (".", ".."):
        raise said.bad("DeviceFleetName", "is a folder in every key, so it must not contain / or be . or ..")
    prefix = said.text("FolderPrefix", "sme-capture").strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")):
        raise said.bad("FolderPrefix", "is not a path of folders below the bucket, such as sme-capture")
    bucket = said.text("BucketName")
    if bucket and "sagemaker" not in bucket.lower():
        raise said.bad("BucketName", "must contain 'sagemaker', as bucket names of Edge Manager do")
    batch = said.whole("CaptureDataBatchSize", 10, low=1, high=100_000)
    # Not derived from the batch size: a larger batch needs an explicit buffer size.
    buffer = said.whole("CaptureDataBufferSize", 30, low=2, high=1_000_000)
    if buffer <= batch:
        raise said.bad("CaptureDataBufferSize", f"must be larger than CaptureDataBatchSize, which is {batch}", buffer)
    folder = said.text("CaptureDataDiskPath")
    if folder and not Path(folder).is_absolute():
        raise said.bad("CaptureDataDiskPath", "is not an absolute path")
    return CaptureSettings(
        fleet=fleet,
        device=said.text("DeviceName", os.environ.get("AWS_IOT_THING_NAME") or platform.node()),
        to_cloud=said.choice("CaptureDataDestination", DESTINATIONS) == "Cloud",
        bucket=bucket,
        folder=Path(folder) if folder else None,
        prefix=prefix,
        batch=batch,
        buffer=buffer,
        push_period=said.seconds("CaptureDataPushPeriodSeconds", 4.0),
        embed_limit=said.whole("CaptureDataBase64EmbedLimit", MAX_EMBEDDED_BYTES, low=0, high=MAX_EMBEDDED_BYTES),
        upload=said.truth("CaptureDataPeriodicUpload", False),
        upload_period=said.seconds("CaptureDataPeriodicUploadPeriodSeconds", 8.0),
        disk_budget=said.size("CaptureDataDiskBudget", CaptureSettings.disk_budget) or CaptureSettings.disk_budget,
    )


def _trust(said: Said) -> TrustedKeys:
    files = [Path(part) for part in said.parts("TrustKeys")]
    try:
        return read_trusted_keys("TrustKeys", files, said.truth("RequireSignature", False))
    except BadOption as problem:
        raise BadSetting(str(problem)) from None


def _runtime(said: Said) -> RuntimeOptions:
    try:
        options = RuntimeOptions(
            threads=said.whole("Threads", processors(), low=1, high=MOST_THREADS),
            runtime=said.text("Runtime"),
            delegate=said.text("Delegate"),
            delegate_options=read_pairs("DelegateOptions", said.text("DelegateOptions")),
            accelerator_required=said.truth("AcceleratorRequired", False),
            graph_cache=said.text("GraphCache"),
            providers=read_providers("Providers", said.text("Providers")),
            dlr_options=read_environment("DLRBackendOptions", said.text("DLRBackendOptions")),
        )
        return check_options(options)
    except BadOption as problem:
        raise BadSetting(str(problem)) from None


def _mode(said: Said) -> int:
    written = said.text("SocketMode", "0660")
    try:
        mode = int(written, 8)
    except ValueError:
        mode = -1
    # Connecting to a Unix socket needs write permission; the owner must keep it.
    if not 0o600 <= mode <= 0o777 or mode & 0o600 != 0o600:
        raise said.bad(
            "SocketMode", "is not an octal file mode with read and write permission for the owner, such as 0660"
        )
    return mode
