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

from emflow_agent.capture.settings import CaptureSettings
from emflow_agent.errors import BadOption
from emflow_agent.models.integrity import TrustedKeys, read_trusted_keys
from emflow_agent.models.trust_state import TrustState, default_folder
from emflow_agent.runtimes import check_options
from emflow_agent.runtimes.options import RuntimeOptions, read_providers
from emflow_agent.settings.names import COMPONENT_NAMES, FILE_NAMES, WITHOUT_MEANING, default_threads
from emflow_agent.settings.reading import BadSetting, GivenSettings
from emflow_schema.agent_config import Agent, Capture, Device, OpenAgent
from emflow_schema.agent_socket import default_socket, on_this_device


@dataclass(frozen=True)
class Settings:
    """The settings of one agent; what they mean and may be stands in `emflow_schema.agent_config`.

    socket, socket_mode, socket_group: path and permissions of the socket; the group by name or number, empty for
        that of the process.
    socket_users: who may own the folders of the socket, beside the own user and root; by name or number.
    clean_stale_socket: whether a socket that no process serves is removed at start.
    memory_limit: bytes that the process may use with all its models; 0 for no limit of its own.
    queue_size: how many calls of one model may wait.
    metrics_period: seconds between two metrics reports in the log; 0 for none.
    probe: whether a model is first run in a separate process (setting `Trial`).
    trust: keys that packages must be signed with, and where their floors are stored.
    runtime: options for running models.
    capture: configuration of captured data.
    region: AWS region of the bucket; empty for that of the environment.
    notes: warnings for the log about settings without effect.
    """

    socket: Path = field(default_factory=default_socket)
    socket_mode: int = 0o660
    socket_group: str = ""
    socket_users: tuple[str, ...] = ()
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

    source: str
    values: Mapping[str, Any]


def read(layers: Sequence[Layer]) -> Settings:
    """Merge layers, lowest precedence first.

    Raises:
        BadSetting: a value is invalid; the message gives key, source and what is allowed.
    """
    notes: list[str] = []
    given = GivenSettings()
    for layer in layers:
        notes.extend(_take(layer, given))
    device, agent, own = given.section(Device), given.section(Agent), given.section(OpenAgent)
    capture = _capture(device, given.section(Capture), own)
    if capture.missing and any(layer.values for layer in layers):
        notes.append(f"CaptureData will be refused: {capture.missing}")
    return Settings(
        socket=on_this_device(agent.socket) if given.has("UnixSocketName") else default_socket(),
        socket_users=agent.users,
        socket_mode=int(own.socket_mode, 8),
        socket_group=own.socket_group or "",
        clean_stale_socket=device.clean_stale_socket,
        memory_limit=own.memory_limit.bytes if own.memory_limit else 0,
        queue_size=own.queue_size,
        metrics_period=own.metrics_period.seconds,
        probe=own.trial,
        trust=_trust(own),
        runtime=_runtime(agent, own),
        capture=capture,
        region=device.region,
        verbose=agent.verbose,
        notes=tuple(notes),
    )


def _take(layer: Layer, given: GivenSettings) -> Iterator[str]:
    """Add the values of a layer under the component's names; yields warnings about keys without effect."""
    known = {**{name: name for name in COMPONENT_NAMES}, **FILE_NAMES}
    # A file may contain both names of a setting; the name of the component overrides the other.
    for key, value in sorted(layer.values.items(), key=lambda pair: pair[0] in COMPONENT_NAMES):
        if key in known:
            given.put(known[key], value, key, layer.source)
        elif key in WITHOUT_MEANING:
            if str(value).lower() not in ("", "false", "none"):
                yield f"{key} in {layer.source} has no effect in this agent"
        elif key != "accessControl":  # for the nucleus
            yield f"{key} in {layer.source} is not a setting of this agent"


def _capture(device: Device, capture: Capture, own: OpenAgent) -> CaptureSettings:
    return CaptureSettings(
        fleet=device.fleet,
        device=device.name or os.environ.get("AWS_IOT_THING_NAME") or platform.node(),
        to_cloud=capture.destination == "cloud",
        bucket=device.bucket,
        folder=Path(capture.disk_path) if capture.disk_path else None,
        prefix=capture.prefix.strip("/"),
        batch=capture.batch,
        # Not derived from the batch size: a larger batch needs an explicit buffer size.
        buffer=capture.buffer,
        push_period=capture.push_period.seconds,
        embed_limit=capture.embed_limit,
        upload=capture.periodic_upload,
        upload_period=capture.periodic_upload_period.seconds,
        disk_budget=own.capture_disk_budget.bytes or CaptureSettings.disk_budget,
    )


def _trust(own: OpenAgent) -> TrustedKeys:
    try:
        # Without keys nothing is stored, and no folder has to be found.
        folder = Path(own.trust_state) if own.trust_state else default_folder() if own.trust_keys else None
        return read_trusted_keys("TrustKeys", own.trust_keys, own.require_signature, TrustState(folder))
    except BadOption as problem:
        raise BadSetting(str(problem)) from None


def _runtime(agent: Agent, own: OpenAgent) -> RuntimeOptions:
    try:
        options = RuntimeOptions(
            threads=own.threads or default_threads(),
            runtime="" if own.runtime == "auto" else own.runtime,
            delegate=own.delegate or "",
            delegate_options=own.delegate_options,
            accelerator_required=own.accelerator_required,
            graph_cache=own.graph_cache or "",
            providers=read_providers("Providers", own.providers),
            dlr_options=agent.backend_options,
        )
        return check_options(options)
    except BadOption as problem:
        raise BadSetting(str(problem)) from None
