"""The agent's Unix socket: where it is when nobody names a path, and whether a path is safe to use.

Both sides check before they use it. A folder that others may write is a place where another process can put a socket
of its own: the component would send its pictures there, and believe what comes back. Allowed are the own user, root,
and the users that the configuration names.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import socket
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

AGENT_COMPONENT = "aws.greengrass.SageMakerEdgeManager"

CORE_SOCKET = f"/greengrass/v2/work/{AGENT_COMPONENT}/agent.sock"
"""The default on a core device: in the work folder of the agent's component."""

LONGEST_PATH = 107
"""Bytes; sockaddr_un.sun_path has 108, one of them for the closing NUL."""

_GREENGRASS = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
_PEER_CREDENTIALS = struct.Struct("=iII")  # struct ucred of unix(7): process, user, group
_PROBE_SECONDS = 1.0
_MOST_LINKS = 40  # as Linux follows


class UnsafeSocket(Exception):
    """The socket must not be used: a user who is not allowed may have made it, or may replace it."""


def default_socket(environ: Mapping[str, str] = os.environ, work: Path | None = None) -> Path:
    """The socket's path when none is named, for the agent and the component alike.

    On a core device it is in the work folder of the agent's component, whatever the nucleus' root folder. Elsewhere,
    and where that path would be too long for a socket, it is in a folder of the own user.

    Args:
        work: the working directory, which on a core device is the component's work folder.
    """
    own = own_folder(environ) / "agent.sock"
    if _GREENGRASS not in environ:
        return own
    here = work or Path.cwd()
    path = here.parent / AGENT_COMPONENT / "agent.sock" if here.parent.name == "work" else Path(CORE_SOCKET)
    return path if len(os.fsencode(path)) <= LONGEST_PATH else own


def on_this_device(path: str) -> Path:
    """A configured path. A workflow knows the default on a core with the usual root folder; here it is what both
    components find from their work folders."""
    return default_socket() if path == CORE_SOCKET and _GREENGRASS in os.environ else Path(path)


def own_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the own user for sockets; the agent makes it, with mode 0700."""
    user = os.geteuid()
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "emflow"
    return Path("/run/emflow") if user == 0 else Path(f"/tmp/emflow-{user}")  # noqa: S108 checked before use


def allowed_users(named: Iterable[str] = (), environ: Mapping[str, str] = os.environ) -> frozenset[int]:
    """The numbers of the users that a socket, its folders and its process may belong to: own, root, and `named`.

    On a core device also the users of the nucleus, who starts this process and may replace all of it: the lite nucleus
    runs as `ggcore`, its components as `ggc_user`.

    Args:
        named: by name or number.

    Raises:
        ValueError: there is no such user; the text says which.
    """
    numbers = map(_user_number, named)
    # In a container whose users are mapped, the root folder may belong to a user that stands for root.
    return frozenset({os.geteuid(), 0, Path("/").stat().st_uid, *numbers, *_nucleus_users(environ)})


def _nucleus_users(environ: Mapping[str, str]) -> Iterator[int]:
    """The owners of the nucleus' IPC socket, of its root folder, and of this component's work folder in it."""
    if _GREENGRASS not in environ:
        return
    here = Path.cwd()
    folders = (here, here.parent, here.parent.parent) if here.parent.name == "work" else ()
    for path in (Path(environ[_GREENGRASS]), *folders):
        with contextlib.suppress(OSError, ValueError):
            yield path.stat().st_uid


def check_folders(path: Path, users: frozenset[int]) -> None:
    """Check who may change what is at a path: the owners and modes of all folders that lead to it.

    A folder that the group may write must be of the own group; one that everybody may write must be sticky, as /tmp.

    Raises:
        UnsafeSocket: somebody who is not allowed may replace what is at the path.
        OSError: a folder does not exist, or cannot be looked at.
    """
    for folder in _folders_to(path):
        about = folder.lstat()
        if about.st_uid not in users:
            raise UnsafeSocket(f"{_kind(about)} {folder} belongs to {_user(about.st_uid)}, who may replace the socket")
        if stat.S_ISLNK(about.st_mode) or about.st_mode & stat.S_ISVTX:
            continue  # a link has no mode; in a sticky folder, everybody may remove their own files only
        mode = f"mode {stat.S_IMODE(about.st_mode):04o}"
        if about.st_mode & stat.S_IWOTH:
            raise UnsafeSocket(f"everybody may replace the socket: the folder {folder} has {mode}")
        if about.st_mode & stat.S_IWGRP and about.st_gid not in (0, os.getegid()):
            raise UnsafeSocket(f"group {about.st_gid} may replace the socket: the folder {folder} has {mode}")


def check_socket(path: Path, users: frozenset[int]) -> tuple[int, int, int]:
    """Check a socket before connecting to it: its folders, its owner, and the user of the process that serves it.

    Returns:
        What identifies this socket: another one at the same path differs.

    Raises:
        UnsafeSocket: it must not be used.
        OSError: there is none, or it cannot be reached.
    """
    check_folders(path, users)
    links = _MOST_LINKS
    while path.is_symlink():
        if path.lstat().st_uid not in users:
            raise UnsafeSocket(f"{path} is a link of {_user(path.lstat().st_uid)}")
        path, links = path.parent / path.readlink(), _one_less(links, path)
        check_folders(path, users)
    about = path.stat()
    if not stat.S_ISSOCK(about.st_mode):
        raise UnsafeSocket(f"{path} is not a socket")
    if about.st_uid not in users:
        raise UnsafeSocket(f"the socket belongs to {_user(about.st_uid)}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        probe.connect(str(path))
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    _, user, _ = _PEER_CREDENTIALS.unpack(credentials)
    if user not in users:
        raise UnsafeSocket(f"the process that serves the socket is that of {_user(user)}")
    return identity(about)


def identity(about: os.stat_result) -> tuple[int, int, int]:
    """What tells a socket from another one that was made later at the same path."""
    return about.st_dev, about.st_ino, about.st_mtime_ns


def _folders_to(path: Path, links: int = _MOST_LINKS) -> Iterator[Path]:
    """All folders and links that lead to a path, from the root folder on, without the path itself."""
    absolute = path.absolute()
    for folder in reversed(absolute.parents):
        yield folder
        if folder.is_symlink():
            target = folder.parent / folder.readlink() / absolute.relative_to(folder)
            yield from _folders_to(target, _one_less(links, path))
            return


def _one_less(links: int, path: Path) -> int:
    if not links:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return links - 1


def _user_number(user: str) -> int:
    try:
        return int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ValueError(f"there is no user {user!r} on this device") from None


def _kind(about: os.stat_result) -> str:
    return "the link" if stat.S_ISLNK(about.st_mode) else "the folder"


def _user(number: int) -> str:
    try:
        return f"user {pwd.getpwuid(number).pw_name} ({number})"
    except KeyError:
        return f"user {number}"
