"""LiteRT's accelerators: which library is which, what it wants before it is loaded, and how much of a graph it took."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emflow_agent.errors import BadOption
from emflow_agent.runtimes.options import RuntimeOptions

# VX is the NPU of the i.MX 8M Plus and lies where NXP's images put it; Teflon is Mesa's for the same NPU on mainline
# kernels, Ethos-U that of the i.MX 93, Neutron that of the i.MX 95, wherever the loader finds them.
LIBRARIES = {
    "vx": "/usr/lib/libvx_delegate.so",
    "teflon": "libteflon.so",
    "ethosu": "libethosu_delegate.so",
    "neutron": "libneutron_delegate.so",
}
NAMES = {"vx": "VX", "teflon": "Teflon", "ethosu": "Ethos-U", "neutron": "Neutron"}

# Both are the runtime's own kernels: with its optimised ones, which it takes by itself, or without.
XNNPACK, NONE = "xnnpack", "none"


class DelegateUnavailable(Exception):
    """A delegate cannot be had, or took nothing; its text is why."""


def delegate_library(delegate: str) -> str | None:
    """What to load for a delegate's name or path; None for what is built in.

    Raises:
        BadOption: a name that is none.
    """
    if delegate in ("", XNNPACK, NONE):
        return None
    if delegate in LIBRARIES:
        return LIBRARIES[delegate]
    if "/" in delegate:
        return delegate
    known = ", ".join([*LIBRARIES, XNNPACK, NONE])
    raise BadOption(f"Delegate: there is none named {delegate!r}; known are {known}, and any library's path")


def display_name(delegate: str) -> str:
    """How a delegate is called in logs and metrics."""
    return NAMES.get(delegate) or Path(delegate).name


def prepare_environment(options: RuntimeOptions) -> None:
    """What has to be in the environment before the library is loaded: the VX driver reads it once.

    Raises:
        DelegateUnavailable: the folder for compiled graphs cannot be made.
    """
    if not options.graph_cache:
        return
    try:
        Path(options.graph_cache).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DelegateUnavailable(f"graph cache {options.graph_cache!r} cannot be made: {error.strerror}") from None
    os.environ["VIV_VX_ENABLE_CACHE_GRAPH_BINARY"] = "1"
    os.environ["VIV_VX_CACHE_BINARY_GRAPH_DIR"] = options.graph_cache


def count_delegated_nodes(delegated: Sequence[Mapping[str, Any]], graph: Sequence[Mapping[str, Any]]) -> int:
    """How many nodes of a graph run inside delegates.

    A runtime says which tensors go into a delegate's node and which come out of it. The nodes between are those that
    one meets on the way back from the latter to the former.

    Args:
        delegated: the delegates' nodes, each with `inputs` and `outputs` (numbers of tensors).
        graph: the model's own nodes, of the same form, with `index`.
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
