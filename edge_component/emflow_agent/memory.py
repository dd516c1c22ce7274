"""How much memory is left for another model.

Linux grants memory that it does not have and kills somebody later. So the agent asks before it loads, and a model that
does not fit is refused while all others go on.
"""

from __future__ import annotations

import resource
from pathlib import Path

from emflow_agent.problems import NotEnoughMemory

MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")

# A runtime keeps the weights as they are in the file and once more as its kernels like them, and needs room for the
# tensors in between, which nobody knows before the graph is prepared.
COPIES = 2
RESERVE = 16 << 20


def check_room(file_bytes: int) -> None:
    """Refuse a model whose file has this many bytes when it does not fit.

    Raises:
        NotEnoughMemory: with what it needs and what there is.
    """
    needed, left = COPIES * file_bytes + RESERVE, available()
    if needed > left:
        raise NotEnoughMemory(f"the model needs about {_mb(needed)} and {_mb(left)} are left")


def available() -> int:
    """Bytes that this process can still have: by the machine, and by its own limit on address space, if any."""
    left = _machine_available(MEMINFO.read_text())
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        left = min(left, limit - int(STATM.read_text().split()[0]) * resource.getpagesize())
    return max(left, 0)


def _machine_available(meminfo: str) -> int:
    """MemAvailable: what new work can have without swapping, page cache that can be dropped included."""
    line = next(line for line in meminfo.splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) << 10


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
