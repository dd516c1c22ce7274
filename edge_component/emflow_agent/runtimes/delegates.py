"""LiteRT delegates: their libraries, the environment that they need, and how much of a graph they took."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emflow_agent.errors import BadOption
from emflow_agent.runtimes.options import RuntimeOptions

# VX is for the NPU of the i.MX 8M Plus, at its path in NXP's images; Teflon is Mesa's delegate for the same NPU on
# mainline kernels; Ethos-U is for the i.MX 93, Neutron for the i.MX 95. Names without a path are found by the loader.
LIBRARIES = {
    "vx": "/usr/lib/libvx_delegate.so",
    "teflon": "libteflon.so",
    "ethosu": "libethosu_delegate.so",
    "neutron": "libneutron_delegate.so",
}
NAMES = {"vx": "VX", "teflon": "Teflon", "ethosu": "Ethos-U", "neutron": "Neutron"}

# Both are kernels of the runtime itself: the optimised ones, which are its default, or the plain ones.
XNNPACK, NONE = "xnnpack", "none"


class DelegateUnavailable(Exception):
    """A delegate cannot be used, or took no node; the message gives the reason."""


def delegate_library(delegate: str) -> str | None:
    """The library of a delegate, by name or path; None for the built-in kernels.

    Raises:
        BadOption: the name is unknown.
    """
    if delegate in ("", XNNPACK, NONE):
        return None
    if delegate in LIBRARIES:
        return LIBRARIES[delegate]
    if "/" in delegate:
        return delegate
    supported = ", ".join([*LIBRARIES, XNNPACK, NONE])
    raise BadOption(f"Delegate: {delegate!r} is unknown; supported are {supported}, or the path of a library")


def display_name(delegate: str) -> str:
    """The name of a delegate in logs and metrics."""
    return NAMES.get(delegate) or Path(delegate).name


def prepare_environment(options: RuntimeOptions) -> None:
    """Set environment variables before the library is loaded; the VX driver reads them once.

    Raises:
        DelegateUnavailable: the folder for compiled graphs cannot be created.
    """
    if not options.graph_cache:
        return
    try:
        Path(options.graph_cache).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DelegateUnavailable(f"graph cache {options.graph_cache!r} cannot be created: {error.strerror}") from None
    os.environ["VIV_VX_ENABLE_CACHE_GRAPH_BINARY"] = "1"
    os.environ["VIV_VX_CACHE_BINARY_GRAPH_DIR"] = options.graph_cache


def count_delegated_nodes(delegated: Sequence[Mapping[str, Any]], graph: Sequence[Mapping[str, Any]]) -> int:
    """How many nodes of the graph run inside delegates.

    A runtime reports the input and output tensors of a delegate's node. The nodes that it replaces are found by
    walking back from its outputs to its inputs.

    Args:
        delegated: the nodes of the delegates, each with `inputs` and `outputs` (tensor indices).
        graph: the nodes of the model in the same form, with `index`.
    """
    made_by = {int(tensor): node for node in graph for tensor in node["outputs"]}
    taken = set()
    for each in delegated:
        edge = {int(tensor) for tensor in each["inputs"]}
        waiting = [int(tensor) for tensor in each["outputs"]]
        while waiting:
            node = made_by.get(waiting.pop())
            if node is not None and node["index"] not in taken:
                taken.add(node["index"])
                waiting += [int(tensor) for tensor in node["inputs"] if int(tensor) not in edge]
    return len(taken)
