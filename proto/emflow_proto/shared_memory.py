"""A tensor in System V shared memory, from the side of the client that hands it to the agent.

A message is copied several times between client and agent, shared memory once. The agent wants the segment read-only
for everybody, so it is made writable, attached, and then has its mode taken away: an attachment keeps the access it
began with. It is also marked for removal at once; Linux keeps it, under its id, until the last process lets go of it,
so not even a killed client leaves one behind.
"""

from __future__ import annotations

import ctypes
import os
import struct

from emflow_proto import messages as m

_IPC_PRIVATE = 0
_IPC_RMID = 0
_IPC_SET = 1
_IPC_STAT = 2
_READ_ONLY = 0o400

# struct shmid_ds begins with struct ipc_perm, in which five 4-byte members come before `mode`: on x86, Arm and RISC-V,
# with 32 bits as with 64. What follows differs, fits into this many bytes, and is handed back as it was.
_SHMID_DS = 256
_MODE_AT = 20

_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmget.argtypes = (ctypes.c_int, ctypes.c_size_t, ctypes.c_int)
_libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_libc.shmat.restype = ctypes.c_void_p
_libc.shmdt.argtypes = (ctypes.c_void_p,)
_libc.shmctl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


class SharedBuffer:
    """Room for one tensor, to be filled again and again; only while no Predict with its handle is under way.

    Args:
        size: in bytes.

    Raises:
        OSError: the system has no shared memory, or no more of it.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._segment = _checked(_libc.shmget(_IPC_PRIVATE, size, 0o600))
        try:
            self._address = _libc.shmat(self._segment, None, 0)
            _checked(-1 if self._address in (None, ctypes.c_void_p(-1).value) else 0)
            _take_away_writing(self._segment)
        finally:
            _libc.shmctl(self._segment, _IPC_RMID, None)

    @property
    def view(self) -> memoryview:
        """The bytes, to be written. Not to be used after `close`."""
        return memoryview((ctypes.c_char * self.size).from_address(self._address)).cast("B")

    @property
    def handle(self) -> m.SharedMemoryHandle:
        """What goes into the tensor in the place of its bytes."""
        return m.SharedMemoryHandle(size=self.size, offset=0, segment_id=self._segment)

    def close(self) -> None:
        """Let go of it; it is gone as soon as the agent does so too."""
        if self._address:
            _libc.shmdt(self._address)
            self._address = 0


def _take_away_writing(segment: int) -> None:
    about = ctypes.create_string_buffer(_SHMID_DS)
    _checked(_libc.shmctl(segment, _IPC_STAT, about))
    struct.pack_into("=H", about, _MODE_AT, _READ_ONLY)
    _checked(_libc.shmctl(segment, _IPC_SET, about))


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"System V shared memory: {os.strerror(number)}")
    return result
