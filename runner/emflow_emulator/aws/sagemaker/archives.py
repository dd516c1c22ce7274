"""Model archives: reads and writes .tar.gz in memory, reproducible byte for byte."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of a .tar.gz, by their path in it.

    Raises:
        ValueError: the data is not such an archive.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            files = {}
            for member in archive.getmembers():
                reader = archive.extractfile(member) if member.isfile() else None
                if reader:
                    files[member.name.removeprefix("./")] = reader.read()
            return files
    except (tarfile.TarError, OSError, EOFError) as error:
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
