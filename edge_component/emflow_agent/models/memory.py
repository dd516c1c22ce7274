"""How much memory is available for another model, and how to return the memory of an unloaded one.

Linux overcommits memory and kills a process later. So the agent checks before it loads, and refuses a model that does
not fit; the loaded models keep running.
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

# During the probe the files are in this process and in that of the probe, which measures how much more the model needs.
COPIES = 2
RESERVE = 16 << 20


class MemoryCheck:
    """Checks whether the model that is being loaded fits into memory.

    Args:
        limit: bytes that this process may use in total; 0 for no limit of its own.
    """

    def __init__(self, limit: int = 0) -> None:
        self._limit = limit
        self._file_bytes = 0

    def check_files(self, file_bytes: int) -> None:
        """Check before files of this size are read and probed.

        Raises:
            NotEnoughMemory: the message gives the needed and the available size.
        """
        self._file_bytes = file_bytes
        self._check(COPIES * file_bytes + RESERVE)

    def check_peak(self, peak_bytes: int) -> None:
        """Check after the probe used this much memory; the files are already in this process.

        Raises:
            NotEnoughMemory: the message gives the needed and the available size.
        """
        self._check(max(peak_bytes - self._file_bytes, 0) + RESERVE)

    def _check(self, needed: int) -> None:
        left = available_bytes(self._limit)
        if needed > left:
            raise NotEnoughMemory(f"the model needs about {_mb(needed)}; {_mb(left)} are available")


def available_bytes(limit: int = 0) -> int:
    """Bytes that this process can still allocate: the minimum of what the machine, its control groups, its address
    space limit, and `limit` (bytes in total; 0 for none) allow."""
    size, resident = (int(pages) * resource.getpagesize() for pages in STATM.read_text().split()[:2])
    left = [_machine_available(MEMINFO.read_text()), *_groups_available()]
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        left.append(address_space - size)
    if limit:
        left.append(limit - resident)
    return max(min(left), 0)


def resident_bytes() -> int:
    """Resident memory of this process in bytes."""
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


def freeze_garbage_collector() -> None:
    """Exclude all current objects from garbage collection: they live long, and scanning them would delay calls."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def release_unused_memory() -> None:
    """Return free heap memory to the system; the C library would keep it."""
    freeze_garbage_collector()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


def _machine_available(meminfo: str) -> int:
    """MemAvailable: memory for new processes without swapping, including page cache that can be dropped."""
    line = next(line for line in meminfo.splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) << 10


def _groups_available() -> Iterator[int]:
    """Available bytes in each control group of this process; Greengrass limits components with them.

    See cgroups(7): one line for each controller in version 1, one line in version 2. Paths are relative to the
    namespace of the process, so `/` may be the group of a container.
    """
    try:
        lines = CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            yield from _left_in_group(CGROUPS, group, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            yield from _left_in_group(CGROUPS / "memory", group, *names)


def _left_in_group(hierarchy: Path, group: str, limit: str, usage: str, cached: str) -> Iterator[int]:
    """Available bytes in the group and its parents. `cached`: file pages, which are dropped before an allocation
    fails."""
    inner = Path(group.lstrip("/"))
    for path in (inner, *inner.parents):
        try:
            limit_text = (hierarchy / path / limit).read_text().strip()
            used = int((hierarchy / path / usage).read_text())
            stat = (hierarchy / path / "memory.stat").read_text().splitlines()
        except OSError:
            continue  # the root has no limit, and a container may not see its parents
        if limit_text != "max":
            yield int(limit_text) - used + sum(int(line.split()[1]) for line in stat if line.split()[0] == cached)


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
