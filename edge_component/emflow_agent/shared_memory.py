"""Tensors that a client left in System V shared memory instead of putting them into the message.

The segment has to be read-only for everybody (mode 0400): one that can still be written could change while the model
reads it. What the segment is, /proc/sysvipc/shm tells in the same words on every architecture, unlike the C structure
of shmctl(2).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emflow_agent.problems import BadRequest
from emflow_proto import messages as m

SEGMENTS = Path("/proc/sysvipc/shm")
SHM_RDONLY = 0o10000  # linux/shm.h

_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_libc.shmat.restype = ctypes.c_void_p
_libc.shmdt.argtypes = (ctypes.c_void_p,)


@contextmanager
def attached(handle: m.SharedMemoryHandle) -> Iterator[memoryview]:
    """The bytes that a handle names; they are gone after the `with`, so whoever needs them longer copies them.

    Raises:
        BadRequest: no such segment, one that can be written, one that we may not read, or a range outside of it.
    """
    segment = handle.segment_id
    mode, size = _mode_and_size(segment)
    if mode & 0o222:
        raise BadRequest(
            f"shared memory segment {segment} can be written (mode {mode:04o}); make it read-only (0400) with "
            "shmctl(IPC_SET) before handing it over"
        )
    if handle.offset + handle.size > size:
        raise BadRequest(
            f"shared memory segment {segment} has {size} bytes; {handle.size} from offset {handle.offset} on is outside"
        )
    address = _libc.shmat(segment, None, SHM_RDONLY)
    if address in (None, ctypes.c_void_p(-1).value):
        raise BadRequest(f"shared memory segment {segment} cannot be read: {os.strerror(ctypes.get_errno())}")
    try:
        yield memoryview((ctypes.c_char * handle.size).from_address(address + handle.offset)).cast("B").toreadonly()
    finally:
        _libc.shmdt(address)


def _mode_and_size(segment: int) -> tuple[int, int]:
    """Access bits and bytes of a segment."""
    try:
        lines = SEGMENTS.read_text().splitlines()[1:]
    except FileNotFoundError:
        raise BadRequest("this device's kernel has no System V shared memory; send byte_data") from None
    for line in lines:
        _key, shmid, perms, size = line.split()[:4]
        if int(shmid) == segment:
            return int(perms, 8) & 0o777, int(size)
    raise BadRequest(f"there is no shared memory segment {segment}")
