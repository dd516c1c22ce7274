"""Small archives that would unpack to much: what is too much is not unpacked, whatever it is in."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from emflow.unpacking import BROKEN, FREE, MOST_FILES, MOST_TIMES, TooLarge, check_zip, files_in_tar_gz

MIB = 2**20


def tar_gz(fill: Callable[[tarfile.TarFile], None], **how: Any) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz", **how) as archive:
        fill(archive)
    return data.getvalue()


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info


class Zeros(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        return bytes(size)


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """The most bytes that were in use since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def read(data: bytes, most: int = 64 * MIB) -> dict[str, bytes]:
    return {info.name: content.read() for info, content in files_in_tar_gz(io.BytesIO(data), most)}


def test_the_files_of_an_archive_are_read_in_order() -> None:
    def fill(archive: tarfile.TarFile) -> None:
        archive.addfile(member("folder", kind=tarfile.DIRTYPE))
        archive.addfile(member("folder/a", 3), io.BytesIO(b"one"))
        archive.addfile(member("a-link", kind=tarfile.SYMTYPE))
        archive.addfile(member("b" * 200, 3), io.BytesIO(b"two"))

    assert read(tar_gz(fill)) == {"folder/a": b"one", "b" * 200: b"two"}


def one_file(archive: tarfile.TarFile) -> None:
    archive.addfile(member("a", 200 * MIB), Zeros())


def many_files(archive: tarfile.TarFile) -> None:
    for number in range(100):
        archive.addfile(member(str(number), MIB), Zeros())


BOMBS: dict[str, Callable[[], bytes]] = {
    "one file": lambda: tar_gz(one_file),
    "many files": lambda: tar_gz(many_files),
    "a name": lambda: gzip.compress(member("a", 200 * MIB, tarfile.GNUTYPE_LONGNAME).tobuf() + bytes(200 * MIB)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_unpacks_to_too_much_is_not_unpacked(bomb: str, peak: Callable[[], int]) -> None:
    data = BOMBS[bomb]()
    assert len(data) < MIB
    tracemalloc.reset_peak()
    with pytest.raises(TooLarge, match="unpacks to more than 64 MiB"):
        read(data)
    assert peak() < 150 * MIB


def test_an_archive_has_so_many_files_and_no_more() -> None:
    def fill(archive: tarfile.TarFile) -> None:
        for _ in range(MOST_FILES + 1):
            archive.addfile(member("a"))

    data = tar_gz(fill)
    with pytest.raises(TooLarge, match="has over 20000 files"):
        read(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"\x1f\x8b", gzip.compress(b"text"), gzip.compress(b"a" * 600)[:-9]],
    ids=["nothing", "a letter", "half a head", "a text", "half a text"],  # gzip's bytes have the time in them
)
def test_what_is_no_archive_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises((*BROKEN, OSError)):
        read(data)


def zipped(size: int, count: int = 1) -> tuple[zipfile.ZipFile, int]:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            archive.writestr(str(number), bytes(size))
    return zipfile.ZipFile(data), len(data.getvalue())


def test_a_zip_of_zeros_that_fills_a_disk_is_refused() -> None:
    archive, size = zipped(FREE, 3)
    assert size * MOST_TIMES < 3 * FREE
    with pytest.raises(TooLarge, match=r"unpacks from 0\.\d+ MiB to 192 MiB; 64 MiB may be"):
        check_zip(archive, size)


def test_a_zip_of_small_files_is_taken_however_well_they_compress() -> None:
    check_zip(*zipped(FREE // 2, 2))
    check_zip(*zipped(0, 1000))


def test_a_zip_of_many_files_is_refused() -> None:
    archive, size = zipped(0, MOST_FILES + 1)
    with pytest.raises(TooLarge, match="has 20001 files; 20000 may be"):
        check_zip(archive, size)


def test_what_a_zip_says_of_its_files_is_what_they_become_at_most(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(MIB))
    lying = data.getvalue().replace(MIB.to_bytes(4, "little"), (10).to_bytes(4, "little"))
    with zipfile.ZipFile(io.BytesIO(lying)) as archive:
        check_zip(archive, len(lying))
        with pytest.raises(zipfile.BadZipFile):
            archive.extract("a", tmp_path)
    assert (tmp_path / "a").stat().st_size <= 10
