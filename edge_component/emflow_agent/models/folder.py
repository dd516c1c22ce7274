"""A model's folder, read without being led out of it: no links, only plain files, no more bytes than were foreseen."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emflow_agent.errors import CannotLoad, ModelNotFound

# What the system says of a path that cannot be anywhere.
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)

_MOST_ENTRIES = 10_000


class ModelFolder:
    """An open folder. What is renamed or linked into the place of its path later does not matter."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def names(self) -> list[str]:
        """Its files, links among them, sorted; not what is in folders below.

        Raises:
            CannotLoad: it cannot be read, or holds too much to be a model's.
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

    def size(self, name: str) -> int:
        """Bytes of a file; see `read` for what it raises."""
        with self._opened(name) as file:
            return os.fstat(file).st_size

    def read(self, name: str, most: int) -> bytes:
        """A file's bytes. `name` may lead into folders below, with slashes.

        Raises:
            CannotLoad: it is not there, a link, no plain file, longer than `most`, or leads out of the folder.
        """
        with self._opened(name) as file, os.fdopen(os.dup(file), "rb") as stream:
            size = os.fstat(file).st_size
            content = stream.read(min(size, most) + 1)
        if len(content) > most:
            raise CannotLoad(f"{name!r} is longer than {most} bytes")
        if len(content) != size:
            raise CannotLoad(f"{name!r} is being written just now")
        return content

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        *folders, last = relative_parts(name)
        held: list[int] = []
        try:
            for each in folders:
                at = held[-1] if held else self._descriptor
                held.append(os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at))
            # Not to be held up by a pipe that nobody writes to.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            held.append(os.open(last, flags, dir_fd=held[-1] if held else self._descriptor))
            if not stat.S_ISREG(os.fstat(held[-1]).st_mode):
                raise CannotLoad(f"{name!r} is no plain file")
            yield held[-1]
        except OSError as error:
            # Linux says ENOTDIR of a link in the place of a folder.
            reasons = {errno.ELOOP: "it is a symbolic link", errno.ENOTDIR: "a symbolic link or no folder leads to it"}
            said = reasons.get(error.errno or 0, error.strerror)
            raise CannotLoad(f"{name!r} cannot be read: {said}") from None
        finally:
            for descriptor in held:
                os.close(descriptor)


@contextmanager
def open_model_folder(url: str) -> Iterator[ModelFolder]:
    """The folder that a client names.

    Raises:
        ModelNotFound: there is nothing at `url`.
        CannotLoad: it is no folder, or cannot be read.
    """
    if not url or "\0" in url:
        raise ModelNotFound(f"there is nothing at {url!r}")
    try:
        if not stat.S_ISDIR(Path(url).stat().st_mode):
            raise CannotLoad(f"{url!r} is a file; the url names the folder that holds the model file")
        descriptor = os.open(url, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            raise ModelNotFound(f"there is nothing at {url!r}") from None
        raise CannotLoad(f"{url!r} cannot be read: {error.strerror}") from None
    try:
        yield ModelFolder(descriptor)
    finally:
        os.close(descriptor)


def relative_parts(name: str) -> list[str]:
    """A relative path's parts.

    Raises:
        CannotLoad: it is absolute, or goes up, or says the same in a roundabout way.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise CannotLoad(f"{name!r} is no path inside the folder")
    return parts
