"""Model archives: reads and writes .tar.gz in memory, reproducible byte for byte."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping

from emflow.unpacking import BROKEN, TooLarge, files_in_tar_gz

_MOST_BYTES = 1024**3
"""That an archive may unpack to; it is unpacked in memory."""


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of a .tar.gz, by their path in it.

    Raises:
        ValueError: the data is not such an archive, or unpacks to too much.
    """
    try:
        return {
            member.name.removeprefix("./"): content.read()
            for member, content in files_in_tar_gz(io.BytesIO(data), _MOST_BYTES)
        }
    except TooLarge as error:
        raise ValueError(f"an archive that {error}") from error
    except (*BROKEN, OSError) as error:
        raise ValueError(f"not a .tar.gz archive: {error}") from error


def pack(files: Mapping[str, bytes]) -> bytes:
    """A .tar.gz of these files. The same files give the same bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            info.mode = 0o644
            archive.addfile(info, io.BytesIO(files[name]))
    return gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)
