"""The agent's settings, checked: the original agent's by its component's names, and ours beside them.

They come as layers of key and value (`configuration` has where from); a later layer wins, an empty value counts as not
given. All values are text; numbers, true and false of JSON are taken too.
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
    """What an agent was told.

    socket, socket_mode, socket_group: where it listens, and who may open it; the group by name or number, empty for
        the process' own.
    clean_stale_socket: whether a socket that nobody serves is removed at start.
    memory_limit: bytes that the process may take with all its models; 0 for what the machine has.
    queue_size: calls of one model that may wait.
    metrics_period: seconds between metrics in the log; 0 for none.
    trial: whether a model is first run in a process of its own.
    trust: the keys that packages have to be signed with.
    runtime: threads, accelerators and their options.
    capture: where captured data goes.
    region: of the bucket; empty for what the environment says.
    notes: sentences for the log about what was said and is not done.
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
    """Settings from one place, which messages name: a file, the Greengrass configuration, the command line."""

    place: str
    values: Mapping[str, Any]


def read(layers: Sequence[Layer]) -> Settings:
    """Put layers together, the lowest first.

    Raises:
        BadSetting: a value is not what it has to be; with its key, where it stands and what would do.
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
    """Add a layer's values under the component's names; notes about those that are not ours or do nothing."""
    names = {**COMPONENT, **OURS}
    known = {**{name: name for name in names}, **{old: name for name, old in names.items() if old}}
    # The original's component turned its values into this file, so a file may have both; the component's names win.
    for key, value in sorted(layer.values.items(), key=lambda pair: pair[0] in names):
        if key in known:
            said.put(known[key], value, key, layer.place)
        elif key in WITHOUT_MEANING:
            if str(value).lower() not in ("", "false", "none"):
                yield f"{key} in {layer.place} has no meaning for this agent"
        elif key != "accessControl":  # the nucleus' own
            yield f"{key} in {layer.place} is not a setting of this agent"


def _capture(said: Said) -> CaptureSettings:
    fleet = said.text("DeviceFleetName")
    if "/" in fleet or fleet in (".", ".."):
        raise said.bad("DeviceFleetName", "is a folder of every key, so it cannot have a / or be . or ..")
    prefix = said.text("FolderPrefix", "sme-capture").strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")):
        raise said.bad("FolderPrefix", "is not a path of folders below the bucket, such as sme-capture")
    bucket = said.text("BucketName")
    if bucket and "sagemaker" not in bucket.lower():
        raise said.bad("BucketName", "does not contain 'sagemaker', as Edge Manager's buckets have to")
    batch = said.whole("CaptureDataBatchSize", 10, low=1, high=100_000)
    # Whoever enlarges the batch alone has not said how many may wait.
    buffer = said.whole("CaptureDataBufferSize", 30, low=2, high=1_000_000)
    if buffer <= batch:
        raise said.bad("CaptureDataBufferSize", f"has to be larger than CaptureDataBatchSize, which is {batch}", buffer)
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
    # Whoever connects to a Unix socket needs to write to it; without the owner's bits the agent locks itself out.
    if not 0o600 <= mode <= 0o777 or mode & 0o600 != 0o600:
        raise said.bad("SocketMode", "is not an access mode in octal digits that lets its owner in, such as 0660")
    return mode
