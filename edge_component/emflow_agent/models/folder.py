"""Reads files of a model folder safely: no symbolic links, only regular files, never more bytes than expected."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emflow_agent.errors import CannotLoad, ModelNotFound

# Error numbers of a path that does not exist.
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)

_MOST_ENTRIES = 10_000
_MOST_LEVELS = 32

MAX_FILE_BYTES = (1 << 31) - 1
"""Neither a FlatBuffer (TensorFlow Lite) nor a protobuf message (ONNX) can be larger:
https://flatbuffers.dev/internals, https://protobuf.dev/programming-guides/proto-limits."""

CHUNK = 64 << 20
"""Bytes that are read or hashed at once, a fraction of a second's work."""

CheckWanted = Callable[[], None]
"""Called between the steps of a load; raises CallerGone when nobody waits for it any more."""


def still_wanted() -> None:
    """For loads that are never given up."""


class ModelFolder:
    """An open folder. Replacing its path later, by a rename or a link, has no effect.

    Args:
        check_wanted: called while files are read and hashed; what it raises ends that.
    """

    def __init__(self, descriptor: int, check_wanted: CheckWanted = still_wanted) -> None:
        self._descriptor, self.check_wanted = descriptor, check_wanted

    def names(self) -> list[str]:
        """Its files and links, sorted, without those in subfolders.

        Raises:
            CannotLoad: it cannot be read, or has too many entries.
        """
        names: list[str] = []
        try:
            with os.scandir(self._descriptor) as entries:
                for count, entry in enumerate(entries):
                    if count >= _MOST_ENTRIES:
                        raise CannotLoad(f"it has more than {_MOST_ENTRIES} entries")
                    if entry.is_symlink() or entry.is_file(follow_symlinks=False):
                        names.append(entry.name)
        except OSError as error:
            raise CannotLoad(f"it cannot be read: {error.strerror}") from None
        return sorted(names)

    def all_names(self) -> list[str]:
        """Its files and links, with those in subfolders, sorted. Links to folders are not followed.

        Raises:
            CannotLoad: it cannot be read, has too many entries, or folders that are nested too deeply.
        """
        names: list[str] = []
        try:
            _collect_names(self._descriptor, "", names)
        except OSError as error:
            raise CannotLoad(f"it cannot be read: {error.strerror}") from None
        return sorted(names)

    def digest(self, name: str) -> str:
        """SHA-256 of a file, in hexadecimal; raises the same as `read`."""
        digest = hashlib.sha256()
        with self._opened(name) as file, os.fdopen(os.dup(file), "rb") as stream:
            left = os.fstat(file).st_size
            while chunk := stream.read(CHUNK):
                left -= len(chunk)
                if left < 0:  # a file that grows would never end
                    break
                digest.update(chunk)
                self.check_wanted()
        if left:
            raise CannotLoad(f"{name!r} changed while it was read")
        return digest.hexdigest()

    def size(self, name: str) -> int:
        """Size of a file in bytes; raises the same as `read`."""
        with self._opened(name) as file:
            return os.fstat(file).st_size

    def read(self, name: str, max_bytes: int) -> bytes:
        """The content of a file. `name` may contain slashes, for subfolders.

        Raises:
            CannotLoad: it does not exist, is a link or a special file, is longer than `max_bytes`, or lies outside.
        """
        with self._opened(name) as file, os.fdopen(os.dup(file), "rb") as stream:
            size = os.fstat(file).st_size
            left, chunks = min(size, max_bytes) + 1, []
            while left and (chunk := stream.read(min(left, CHUNK))):
                chunks.append(chunk)
                left -= len(chunk)
                self.check_wanted()
            content = b"".join(chunks)
        if len(content) > max_bytes:
            raise CannotLoad(f"{name!r} is longer than {max_bytes} bytes")
        if len(content) != size:
            raise CannotLoad(f"{name!r} changed while it was read")
        return content

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        *folders, last = relative_parts(name)
        descriptors: list[int] = []
        try:
            for folder in folders:
                at = descriptors[-1] if descriptors else self._descriptor
                descriptors.append(
                    os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
                )
            # O_NONBLOCK: opening a FIFO without a writer would block.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptors.append(os.open(last, flags, dir_fd=descriptors[-1] if descriptors else self._descriptor))
            if not stat.S_ISREG(os.fstat(descriptors[-1]).st_mode):
                raise CannotLoad(f"{name!r} is not a regular file")
            yield descriptors[-1]
        except OSError as error:
            # Linux reports ENOTDIR for a link in place of a folder.
            reasons = {
                errno.ELOOP: "it is a symbolic link",
                errno.ENOTDIR: "its path contains a symbolic link or a file",
            }
            reason = reasons.get(error.errno or 0, error.strerror)
            raise CannotLoad(f"{name!r} cannot be read: {reason}") from None
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _collect_names(folder: int, path: str, names: list[str]) -> None:
    """Add the files and links in an open folder; its path ends in a slash or is empty. Raises: OSError, CannotLoad."""
    if path.count("/") > _MOST_LEVELS:
        raise CannotLoad(f"its folders are nested more than {_MOST_LEVELS} deep")
    with os.scandir(folder) as entries:
        for entry in entries:
            if len(names) >= _MOST_ENTRIES:
                raise CannotLoad(f"it has more than {_MOST_ENTRIES} entries")
            if not entry.is_dir(follow_symlinks=False):
                names.append(path + entry.name)
                continue
            below = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                _collect_names(below, f"{path}{entry.name}/", names)
            finally:
                os.close(below)


@contextmanager
def open_model_folder(url: str, check_wanted: CheckWanted = still_wanted) -> Iterator[ModelFolder]:
    """Open the folder that a client names. check_wanted: see ModelFolder.

    Raises:
        ModelNotFound: nothing exists at `url`.
        CannotLoad: it is not a folder, or cannot be read.
    """
    if not url or "\0" in url:
        raise ModelNotFound(f"{url!r} does not exist")
    try:
        if not stat.S_ISDIR(Path(url).stat().st_mode):
            raise CannotLoad(f"{url!r} is a file; the url must name the folder that holds the model file")
        descriptor = os.open(url, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            raise ModelNotFound(f"{url!r} does not exist{_looked_in(url)}") from None
        raise CannotLoad(f"{url!r} cannot be read: {error.strerror}") from None
    try:
        yield ModelFolder(descriptor, check_wanted)
    finally:
        os.close(descriptor)


def _looked_in(url: str) -> str:
    """For a relative path: the folder that it was looked for in, which need not be the client's."""
    if Path(url).is_absolute() or "://" in url:
        return ""
    return f" in {Path.cwd()}, where this agent was started; send an absolute path"


def sha256(content: bytes, check_wanted: CheckWanted = still_wanted) -> str:
    """The digest in hexadecimal. Raises: CallerGone."""
    digest, view = hashlib.sha256(), memoryview(content)
    for begin in range(0, len(view), CHUNK):
        digest.update(view[begin : begin + CHUNK])
        check_wanted()
    return digest.hexdigest()


def relative_parts(name: str) -> list[str]:
    """The parts of a relative path.

    Raises:
        CannotLoad: it is absolute, contains `..`, or is not in its normal form.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise CannotLoad(f"{name!r} is not a path inside the folder")
    return parts
