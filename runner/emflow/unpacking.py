"""Limits for archives: a small one must not fill the memory or the disk of whoever unpacks it."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO

MOST_FILES = 20_000
"""In one archive."""
LARGEST_ZIP = 10 * 1024**3
"""Bytes that a zip may unpack to: what all components on a device may have (`componentStoreMaxSizeBytes`)."""
MOST_TIMES, FREE = 100, 64 * 1024**2
"""So many times its own size a zip may unpack to. Text and sparse models come to 20 or so; zeros come to 1,000. Below
`FREE` bytes it does not matter."""

BROKEN = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)
"""What reading a .tar.gz that is none raises."""


class TooLarge(ValueError):
    """An archive that unpacks to too much; the text says to how much, and how much may be."""


def files_in_tar_gz(file: BinaryIO, most: int) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """The regular files of a .tar.gz, in order; each has to be read before the next one.

    Args:
        most: bytes that the whole archive may unpack to, with all that is in it beside the files.

    Raises:
        TooLarge: it unpacks to more, or has too many files. What is too much is not unpacked.
        tarfile.TarError, OSError, EOFError, zlib.error: it is no .tar.gz.
    """
    # As a stream: what is read is counted, because headers and names may be large beside the stated sizes of files.
    with tarfile.open(fileobj=_Limited(file, most), mode="r|") as archive:  # type: ignore[call-overload]
        stated = 0
        for number, member in enumerate(archive, 1):
            stated += member.size
            if number > MOST_FILES:
                raise TooLarge(f"has over {MOST_FILES} files")
            if stated > most:
                raise TooLarge(f"unpacks to more than {_mib(most)}")
            content = archive.extractfile(member) if member.isfile() else None
            if content:
                yield member, content


def check_zip(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse a zip of `size` bytes that unpacks to too much. Nothing is unpacked: a member never becomes larger than
    its entry says.

    Raises:
        TooLarge
    """
    members = archive.infolist()
    if len(members) > MOST_FILES:
        raise TooLarge(f"has {len(members)} files; {MOST_FILES} may be")
    unpacked = sum(member.file_size for member in members)
    most = min(LARGEST_ZIP, max(FREE, MOST_TIMES * size))
    if unpacked > most:
        raise TooLarge(f"unpacks from {_mib(size)} to {_mib(unpacked)}; {_mib(most)} may be")


class _Limited:
    """Reads what a gzip file unpacks to. Raises TooLarge after `most` bytes."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._unpacked = gzip.GzipFile(fileobj=file)
        self._most = self._left = most

    def read(self, size: int) -> bytes:
        data = self._unpacked.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(f"unpacks to more than {_mib(self._most)}")
        return data


def _mib(size: int) -> str:
    return f"{size / 2**20:.3g} MiB"
