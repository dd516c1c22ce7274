"""The agent's gRPC server on its Unix socket: socket ownership, permissions, and graceful shutdown."""

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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import grpc

from emflow_agent.calls.health import HealthServicer
from emflow_agent.calls.models_service import ModelsService
from emflow_agent.calls.reflection import add_reflection_to_server
from emflow_agent.calls.refused_calls import RefusedCalls
from emflow_agent.errors import CannotStart
from emflow_proto import messages as m
from emflow_proto import models, trust
from emflow_proto.health import add_health_to_server
from emflow_proto.limits import MAX_MESSAGE_BYTES
from emflow_proto.models import add_models_to_server
from emflow_proto.service import AgentServicer, add_agent_to_server
from emflow_proto.trust import TrustServicer, add_trust_to_server
from emflow_schema.agent_socket import LONGEST_PATH, UnsafeSocket, allowed_users, check_folders, own_folder

log = logging.getLogger(__name__)

# Bytes of the socket's name that its temporary name keeps; lists of listening sockets go on showing that name.
MAX_NAME_BYTES = 60

# gid_t has 32 bits; the value -1 means "do not change the group": chown(2).
MAX_GROUP_ID = 2**32 - 2

# Owner and group: on a Greengrass core the agent and the components run as the same user.
SOCKET_MODE = 0o660

# A call keeps a worker thread while it waits in the queue of its model. The queues are bounded, so a slow model leaves
# threads for the others. Threads are started when they are needed; beyond this number, gRPC itself refuses calls.
WORKERS = 512

# Another agent needs the lock for a few milliseconds only. The pause is in seconds.
LOCK_TRIES, LOCK_PAUSE = 100, 0.02

OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)


class Servicer(AgentServicer, TrustServicer, Protocol):
    """What answers the calls of clients."""


@contextmanager
def serving(
    servicer: Servicer,
    path: Path,
    clean_stale_socket: bool,
    grace: float,
    mode: int = SOCKET_MODE,
    group: str = "",
    queue_size: int = 0,
    refused: RefusedCalls | None = None,
    users: Sequence[str] = (),
    models_service: ModelsService | None = None,
) -> Iterator[grpc.Server]:
    """A server on the socket inside the `with`; at the end, running calls may finish for `grace` seconds.

    Args:
        mode, group: permissions of the socket; the group by name or number, empty for the group of the process.
        queue_size: calls of one model that may wait; there are threads for at least two full queues.
        users: who may own the folders of the socket, beside the own user and root; by name or number.
        refused: logs requests that are no messages; ends with the server.
        models_service: uses of models; without it, clients find no such service, as with AWS's agent.

    Raises:
        CannotStart: the socket cannot be created, or exists already.
    """
    owner = group_id(group)
    max_calls = max(WORKERS, 2 * queue_size)
    workers = ThreadPoolExecutor(max_calls, thread_name_prefix="call")
    server = grpc.server(workers, options=OPTIONS, maximum_concurrent_rpcs=max_calls)
    refused = refused or RefusedCalls()
    add_agent_to_server(server, servicer, refused.malformed)
    add_trust_to_server(server, servicer, refused.malformed)
    if models_service is not None:
        add_models_to_server(server, models_service, refused.malformed)
    health = HealthServicer((m.SERVICE, trust.SERVICE, *([models.SERVICE] if models_service else [])))
    add_health_to_server(server, health, refused.malformed)
    add_reflection_to_server(server, refused.malformed, [models.COMPILED] if models_service else [])
    address = path.absolute()
    _make_own_folder(address.parent)
    with _folder_lock(address.parent):
        prepare_socket_path(address, clean_stale_socket, users)
        inode = _bind_socket(server, address, mode, owner)
    server.start()
    log.info("Server listening on unix://%s", address)
    if mode & stat.S_IWOTH:
        log.warning("every user of this device who reaches %s may load and unload models: mode %04o", address, mode)
    try:
        yield server
    finally:
        log.info("shutting down; running calls may finish for at most %.0f s", grace)
        health.stop_serving()
        if models_service is not None:
            models_service.stop()
        # While the server listens, no other socket can have the same inode number.
        _remove_own_socket(address, inode)
        server.stop(grace).wait()
        workers.shutdown(wait=False)
        refused.close()
        log.info("stopped")


def _remove_own_socket(address: Path, inode: int) -> None:
    """Remove the socket if it is still ours: it may have been removed and created again by another agent."""
    with _folder_lock(address.parent), contextlib.suppress(OSError):
        if address.lstat().st_ino == inode:
            address.unlink()


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Lock the folder while a socket is checked and created, so that two agents cannot do it at the same time.

    gRPC replaces an existing socket, and the agent that owned it would never get a call again. A lock that is held for
    longer than a few seconds does not belong to an agent, and is ignored.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield  # prepare_socket_path reports what is wrong with the folder
        return
    try:
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(LOCK_PAUSE)
        yield
    finally:
        os.close(descriptor)


def _bind_socket(server: grpc.Server, address: Path, mode: int, group: int | None) -> int:
    """Create the socket under a temporary name, then link it to `address`. Returns its inode number.

    When a server stops, gRPC removes whatever socket exists at the path that it listens on, even if it belongs to
    another agent by then. The temporary name no longer exists at that time.
    """
    name = os.fsdecode(f".{secrets.token_hex(4)}-".encode() + os.fsencode(address.name)[:MAX_NAME_BYTES])
    folder = os.open(address.parent, os.O_PATH | os.O_CLOEXEC)
    # Through the descriptor of the folder: the temporary name may exceed the maximum length of a socket path.
    temporary = Path(f"/proc/self/fd/{folder}/{name}")
    # With the umask, not with chmod afterwards: the socket must never have more permissions than in the end. When it
    # will belong to another group, the group of the process gets none.
    previous_umask = os.umask(0o777 & ~(mode if group is None else 0o600))
    try:
        try:
            port = server.add_insecure_port(f"unix:{quote(os.fsencode(temporary))}")
        except RuntimeError:
            port = 0  # older gRPC versions return 0 instead of raising; neither gives the reason
        finally:
            os.umask(previous_umask)
        if not port:
            raise CannotStart(f"gRPC cannot listen on {address}")
        if group is not None:
            _set_group_and_mode(temporary, address, mode, group)
        try:
            os.link(temporary, address)
        except OSError as error:
            raise CannotStart(f"gRPC cannot listen on {address}: {error.strerror}") from None
        return temporary.lstat().st_ino
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
        os.close(folder)


def _set_group_and_mode(socket_path: Path, address: Path, mode: int, group: int) -> None:
    try:
        os.chown(socket_path, -1, group)
        socket_path.chmod(mode)
    except OSError as error:
        raise CannotStart(f"{address} cannot be assigned to group {group}: {error.strerror}") from None


def group_id(group: str) -> int | None:
    """The number of a group that is given by name or number; None for an empty text.

    Raises:
        CannotStart: there is no such group.
    """
    if not group:
        return None
    if group.isdecimal():
        number = int(group)
        if number > MAX_GROUP_ID:
            raise CannotStart(f"group {number} is not a valid group number; the largest is {MAX_GROUP_ID}")
        return number
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise CannotStart(f"SocketGroup: there is no group {group!r}") from None


def _make_own_folder(folder: Path) -> None:
    """Make the folder of the default socket, if it is that; other folders have to be there."""
    if folder == own_folder():
        with contextlib.suppress(OSError):  # prepare_socket_path reports that there is none
            folder.mkdir(mode=0o700)


def prepare_socket_path(path: Path, clean_stale_socket: bool, users: Sequence[str] = ()) -> Path:
    """Check that a socket can be created at `path`; a stale one is removed if allowed. Returns the absolute path.

    Raises:
        CannotStart: it cannot; the message gives the reason.
    """
    address = path.absolute()
    size = len(os.fsencode(address))
    if size > LONGEST_PATH:
        raise CannotStart(f"the socket path has {size} bytes; at most {LONGEST_PATH} are possible: {address}")
    if not address.parent.is_dir():
        raise CannotStart(f"the folder {address.parent} for the socket does not exist")
    try:
        check_folders(address, allowed_users(users))
    except UnsafeSocket as problem:
        raise CannotStart(
            f"{address} is no safe place for the socket: {problem}; choose another (UnixSocketName, --socket), or name "
            "the user in SocketUsers"
        ) from None
    except ValueError as problem:
        raise CannotStart(f"SocketUsers: {problem}") from None
    except OSError as error:
        raise CannotStart(f"the folder {address.parent} for the socket cannot be checked: {error.strerror}") from None
    if not os.access(address.parent, os.W_OK | os.X_OK):
        raise CannotStart(f"no permission to create a socket in {address.parent}")
    try:
        mode = address.lstat().st_mode
    except FileNotFoundError:
        return address
    if not stat.S_ISSOCK(mode):
        raise CannotStart(f"{address} exists and is not a socket; choose another path or remove it")
    if _is_served(address):
        raise CannotStart(f"{address} is already served by another process")
    if not clean_stale_socket:
        raise CannotStart(f"{address} is a stale socket that no process serves; --clean-stale-socket removes it")
    address.unlink()
    log.info("removed the stale socket %s", address)
    return address


def _is_served(address: Path) -> bool:
    """Whether a process listens on the socket. If unclear (no permission, full queue), assume that one does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(address))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True
