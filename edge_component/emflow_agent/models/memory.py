"""How much memory is left for another model, and giving back what an unloaded one had.

Linux grants memory that it does not have and kills somebody later. So the agent asks before it loads, and a model that
does not fit is refused while all others go on.
"""

from __future__ import annotations

import ctypes
import gc
import resource
from collections.abc import Iterator
from pathlib import Path

from emflow_agent.errors import NotEnoughMemory

MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")

# To be tried, a model's files are in this process and in the one that tries them; what more it takes is measured there.
COPIES = 2
RESERVE = 16 << 20


class MemoryCheck:
    """The room for one model that is being loaded.

    Args:
        limit: bytes that this process may take in all; 0 for what the machine has.
    """

    def __init__(self, limit: int = 0) -> None:
        self._limit = limit
        self._file_bytes = 0

    def check_files(self, file_bytes: int) -> None:
        """Ask before files of so many bytes are read and tried.

        Raises:
            NotEnoughMemory: with what it needs and what there is.
        """
        self._file_bytes = file_bytes
        self._check(COPIES * file_bytes + RESERVE)

    def check_peak(self, peak_bytes: int) -> None:
        """Ask after a trial took so many bytes, when the files themselves are here already.

        Raises:
            NotEnoughMemory: with what it needs and what there is.
        """
        self._check(max(peak_bytes - self._file_bytes, 0) + RESERVE)

    def _check(self, needed: int) -> None:
        left = available_bytes(self._limit)
        if needed > left:
            raise NotEnoughMemory(f"the model needs about {_mb(needed)} and {_mb(left)} are left")


def available_bytes(limit: int = 0) -> int:
    """Bytes that this process can still have: by the machine, by its control groups, by its limit on address space, and
    by `limit` on what it takes in all, where there is one."""
    size, resident = (int(pages) * resource.getpagesize() for pages in STATM.read_text().split()[:2])
    left = [_machine_available(MEMINFO.read_text()), *_groups_available()]
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        left.append(address_space - size)
    if limit:
        left.append(limit - resident)
    return max(min(left), 0)


def resident_bytes() -> int:
    """Bytes of memory that this process has."""
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


def freeze_garbage_collector() -> None:
    """Let the garbage collector pass over what is there now, which stays for long: its search would hold up calls."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def release_unused_memory() -> None:
    """Hand what is free in this process' heap back to the machine; C libraries keep it for themselves otherwise."""
    freeze_garbage_collector()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


def _machine_available(meminfo: str) -> int:
    """MemAvailable: what new work can have without swapping, page cache that can be dropped included."""
    line = next(line for line in meminfo.splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) << 10


def _groups_available() -> Iterator[int]:
    """What each control group around this process still allows: Greengrass limits components by them.

    Their names and files are those of cgroups(7): one line a controller in version 1, one for all in version 2. A path
    is seen from the process' own namespace, so `/` may be a container's group.
    """
    try:
        lines = CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            yield from _left(CGROUPS, group, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            yield from _left(CGROUPS / "memory", group, *names)


def _left(hierarchy: Path, group: str, limit: str, usage: str, cached: str) -> Iterator[int]:
    """Of the group and of those above it. `cached`: files' pages that go before anybody is refused memory."""
    inner = Path(group.lstrip("/"))
    for path in (inner, *inner.parents):
        try:
            most = (hierarchy / path / limit).read_text().strip()
            used = int((hierarchy / path / usage).read_text())
            stat = (hierarchy / path / "memory.stat").read_text().splitlines()
        except OSError:
            continue  # the root has no limit, and a container may not see what is above it
        if most != "max":
            yield int(most) - used + sum(int(line.split()[1]) for line in stat if line.split()[0] == cached)


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
