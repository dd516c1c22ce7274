"""Tensors that a client passes in System V shared memory instead of the message.

The segment must be read-only for everybody (mode 0400): a writable one could change while the model reads it. It is
attached for the duration of one call.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emflow_agent.errors import BadRequest
from emflow_proto import messages as m

SEGMENTS = Path("/proc/sysvipc/shm")
SHM_RDONLY = 0o10000  # linux/shm.h
IPC_PRIVATE, IPC_RMID, IPC_STAT = 0, 0, 2  # linux/ipc.h
MADV_POPULATE_READ = 22  # linux/mman.h, since Linux 5.14
LARGEST_ID = 2**31 - 1
PAGE = mmap.PAGESIZE

# struct shmid_ds: `mode` follows five 4-byte members; the size follows struct ipc_perm, which has 48 bytes on 64-bit
# and 36 bytes on 32-bit x86, Arm and RISC-V. Other layouts are detected at the first use.
_SHMID_DS = 256
_MODE_AT = 20
_SIZE_AT = 48 if ctypes.sizeof(ctypes.c_size_t) == 8 else 36

_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmget.argtypes = (ctypes.c_int, ctypes.c_size_t, ctypes.c_int)
_libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_libc.shmat.restype = ctypes.c_void_p
_libc.shmdt.argtypes = (ctypes.c_void_p,)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.shmctl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


@contextmanager
def attached_segment(handle: m.SharedMemoryHandle, nbytes: int | None = None) -> Iterator[memoryview]:
    """The bytes that a handle refers to. They are valid inside the `with` only; copy what is needed longer.

    Args:
        nbytes: how many, from the handle's offset on; by default its size, which many clients never set.

    Raises:
        BadRequest: the segment does not exist, is writable or not readable, or the range lies outside of it.
    """
    segment = handle.segment_id
    nbytes = handle.size if nbytes is None else nbytes
    # A larger number would be truncated to a C int, which may be the id of another segment.
    address = _libc.shmat(segment, None, SHM_RDONLY) if segment <= LARGEST_ID else None
    if address in (None, ctypes.c_void_p(-1).value):
        raise _not_there(segment, ctypes.get_errno() if segment <= LARGEST_ID else errno.EINVAL)
    try:
        # Checked after attaching: from now on the id cannot be reused for another segment.
        mode, size = _mode_and_size(segment)
        if mode & 0o222:
            raise BadRequest(
                f"shared memory segment {segment} is writable (mode {mode:04o}); make it read-only (0400) with "
                "shmctl(IPC_SET) before the call"
            )
        if handle.offset + nbytes > size:
            raise BadRequest(
                f"shared memory segment {segment} has {size} bytes; {nbytes} from offset {handle.offset} on is "
                "outside of it"
            )
        _populate(address + handle.offset, nbytes)
        yield memoryview((ctypes.c_char * nbytes).from_address(address + handle.offset)).cast("B").toreadonly()
    finally:
        _libc.shmdt(address)


def bytes_from(handle: m.SharedMemoryHandle) -> int:
    """How many bytes the segment has from the handle's offset on.

    Raises:
        BadRequest: the segment does not exist, or ends before the offset.
    """
    segment = handle.segment_id
    if segment > LARGEST_ID:
        raise _not_there(segment, errno.EINVAL)
    _, size = _mode_and_size(segment)
    if handle.offset > size:
        raise BadRequest(f"shared memory segment {segment} has {size} bytes; offset {handle.offset} is outside of it")
    return size - handle.offset


def _populate(address: int, size: int) -> None:
    """Map all pages at once: a page fault takes 1.3 us, 50 us for an image. Older kernels ignore it."""
    page_start = address - address % PAGE
    _libc.madvise(page_start, address + size - page_start, MADV_POPULATE_READ)


def _not_there(segment: int, number: int) -> BadRequest:
    if number in (errno.EINVAL, errno.EIDRM):
        return BadRequest(f"no such shared memory segment: {segment}")
    if number == errno.ENOSYS:
        return BadRequest("this device's kernel has no System V shared memory; send byte_data")
    return BadRequest(f"shared memory segment {segment} cannot be read: {os.strerror(number)}")


def _mode_and_size(segment: int) -> tuple[int, int]:
    """Access bits and bytes of a segment."""
    found = _by_shmctl(segment) if _layout_is_known() else _by_proc(segment)
    if found is None:
        raise BadRequest(f"no such shared memory segment: {segment}")
    return found


@functools.cache
def _layout_is_known() -> bool:
    """Whether shmctl reports the correct mode and size for a segment that we created."""
    size = 4097
    segment = _libc.shmget(IPC_PRIVATE, size, 0o460)
    if segment == -1:
        return False
    try:
        return _by_shmctl(segment) == (0o460, size)
    finally:
        _libc.shmctl(segment, IPC_RMID, None)


def _by_shmctl(segment: int) -> tuple[int, int] | None:
    buffer = ctypes.create_string_buffer(_SHMID_DS)
    if _libc.shmctl(segment, IPC_STAT, buffer):
        return None
    (mode,) = struct.unpack_from("=H", buffer, _MODE_AT)
    (size,) = struct.unpack_from("@N", buffer, _SIZE_AT)
    return mode & 0o777, size


def _by_proc(segment: int) -> tuple[int, int] | None:
    """The same from /proc, whose text format is independent of the architecture; slower."""
    for line in SEGMENTS.read_text().splitlines()[1:]:
        _key, shmid, perms, size = line.split()[:4]
        if int(shmid) == segment:
            return int(perms, 8) & 0o777, int(size)
    return None
