"""The agent's gRPC server on its Unix socket: whose socket it is, who may open it, and an end that loses no call."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import logging
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc

from emflow_agent.calls.health import HealthServicer
from emflow_agent.calls.reflection import add_reflection_to_server
from emflow_agent.errors import CannotStart
from emflow_proto import messages as m
from emflow_proto.health import add_health_to_server
from emflow_proto.service import AgentServicer, add_agent_to_server

log = logging.getLogger(__name__)

# sockaddr_un.sun_path has 108 bytes, one of them for the closing NUL.
MAX_SOCKET_PATH_BYTES = 107

# Bytes of a socket's name in the one that it has while it is made, which lists of listening sockets go on showing.
MAX_NAME_BYTES = 60

# gid_t has 32 bits, and -1 of them says that a group stays as it is: chown(2).
MAX_GROUP_ID = 2**32 - 2

# Owner and group: on a Greengrass core the agent and the components run as one user, and nobody else has to be let in.
SOCKET_MODE = 0o660

# A call holds a worker while it waits for its model's turn, and no model lets more wait than its queue takes, so a slow
# one leaves the others theirs; so do loads that wait. Workers are made when they are needed. Beyond this, gRPC itself
# refuses calls.
WORKERS = 512

# Seconds, for the few milliseconds that another agent needs.
LOCK_TRIES, LOCK_PAUSE = 100, 0.02

MAX_MESSAGE_BYTES = 64 << 20

OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)


@contextmanager
def serving(
    servicer: AgentServicer,
    path: Path,
    clean_stale_socket: bool,
    grace: float,
    mode: int = SOCKET_MODE,
    group: str = "",
    queue_size: int = 0,
) -> Iterator[grpc.Server]:
    """A server that answers on the socket inside the `with`, then lets calls under way finish for `grace` seconds.

    Args:
        mode, group: of the socket; the group by name or number, empty for the process' own.
        queue_size: calls of one model that may wait; there are workers for those of two.

    Raises:
        CannotStart: the socket cannot be made, or is there already.
    """
    owner = group_id(group)
    most = max(WORKERS, 2 * queue_size)
    workers = ThreadPoolExecutor(most, thread_name_prefix="call")
    server = grpc.server(workers, options=OPTIONS, maximum_concurrent_rpcs=most)
    add_agent_to_server(server, servicer)
    health = HealthServicer((m.SERVICE,))
    add_health_to_server(server, health)
    add_reflection_to_server(server)
    address = path.absolute()
    with _folder_lock(address.parent):
        prepare_socket_path(address, clean_stale_socket)
        mine = _bind_socket(server, address, mode, owner)
    server.start()
    log.info("Server listening on unix://%s", address)
    try:
        yield server
    finally:
        log.info("finishing the calls under way, at most %.0f s", grace)
        health.stop_serving()
        # As long as the server listens, its socket's number on the file system is nobody else's.
        _remove_own_socket(address, mine)
        server.stop(grace).wait()
        workers.shutdown(wait=False)
        log.info("stopped")


def _remove_own_socket(address: Path, mine: int) -> None:
    """Remove a socket if it is still ours: somebody may have removed it, and another agent made its own there."""
    with _folder_lock(address.parent), contextlib.suppress(OSError):
        if address.lstat().st_ino == mine:
            address.unlink()


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Between looking whether a socket is there and making it, no other agent: gRPC replaces one that it finds, and the
    agent that had it would be deaf for ever. Whoever holds the folder's lock for longer is none, and not waited for.
    """
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield  # what is wrong with the folder is said better by whoever looks at it next
        return
    try:
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(LOCK_PAUSE)
        yield
    finally:
        os.close(opened)


def _bind_socket(server: grpc.Server, address: Path, mode: int, group: int | None) -> int:
    """Make the socket at `address`, under another name first; its number on the file system.

    When a server ends, gRPC removes whatever socket is at the path that it was told to listen on, and that may be
    another agent's by then. The other name is gone from the moment when the socket has its own.
    """
    name = os.fsdecode(f".{secrets.token_hex(4)}-".encode() + os.fsencode(address.name)[:MAX_NAME_BYTES])
    folder = os.open(address.parent, os.O_PATH | os.O_CLOEXEC)
    # By the folder's descriptor: the other name may be longer than the socket's, whose path may be as long as can be.
    first = Path(f"/proc/self/fd/{folder}/{name}")
    # The mask, not a chmod afterwards: at no moment may the socket be open to more people than in the end. Those of the
    # process' own group are such people when it is to be another's.
    before = os.umask(0o777 & ~(mode if group is None else 0o600))
    try:
        try:
            listening = server.add_insecure_port(f"unix:{quote(os.fsencode(first))}")
        except RuntimeError:
            listening = 0  # older gRPC returns this instead of raising; neither gives the reason
        finally:
            os.umask(before)
        if not listening:
            raise CannotStart(f"gRPC cannot listen on {address}")
        if group is not None:
            _set_group_and_mode(first, address, mode, group)
        try:
            os.link(first, address)
        except OSError as error:
            raise CannotStart(f"gRPC cannot listen on {address}: {error.strerror}") from None
        return first.lstat().st_ino
    finally:
        with contextlib.suppress(OSError):
            first.unlink()
        os.close(folder)


def _set_group_and_mode(made: Path, address: Path, mode: int, group: int) -> None:
    try:
        os.chown(made, -1, group)
        made.chmod(mode)
    except OSError as error:
        raise CannotStart(f"{address} cannot be given to group {group}: {error.strerror}") from None


def group_id(group: str) -> int | None:
    """The number of a group that is given by name or number; None for none.

    Raises:
        CannotStart: there is no such group.
    """
    if not group:
        return None
    if group.isdecimal():
        number = int(group)
        if number > MAX_GROUP_ID:
            raise CannotStart(f"group {number} is no group's number; the largest is {MAX_GROUP_ID}")
        return number
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise CannotStart(f"there is no group {group!r} that the socket could be given to") from None


def prepare_socket_path(path: Path, clean_stale_socket: bool) -> Path:
    """See that a socket can be made at `path`; a stale one is removed when told to. The absolute path.

    Raises:
        CannotStart: it cannot, with the reason.
    """
    address = path.absolute()
    size = len(os.fsencode(address))
    if size > MAX_SOCKET_PATH_BYTES:
        raise CannotStart(
            f"socket path has {size} bytes, and {MAX_SOCKET_PATH_BYTES} is what a socket can have: {address}"
        )
    if not address.parent.is_dir():
        raise CannotStart(f"there is no folder {address.parent} to make the socket in")
    if not os.access(address.parent, os.W_OK | os.X_OK):
        raise CannotStart(f"no permission to make a socket in {address.parent}")
    try:
        mode = address.lstat().st_mode
    except FileNotFoundError:
        return address
    if not stat.S_ISSOCK(mode):
        raise CannotStart(f"{address} is there and is no socket; choose another path or remove it")
    if _is_served(address):
        raise CannotStart(f"{address} is already served by another process")
    if not clean_stale_socket:
        raise CannotStart(f"{address} is left from before and nobody serves it; --clean-stale-socket removes it")
    address.unlink()
    log.info("removed the stale socket %s", address)
    return address


def _is_served(address: Path) -> bool:
    """Whether somebody listens on a socket. In doubt (no permission to ask, a full queue) somebody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(address))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True
