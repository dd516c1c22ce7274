"""Where the agent's socket is when nobody names a path, and who may have put it there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emflow_schema.agent_socket import (
    AGENT_COMPONENT,
    CORE_SOCKET,
    LONGEST_PATH,
    UnsafeSocket,
    allowed_users,
    check_folders,
    check_socket,
    default_socket,
    on_this_device,
)

NUCLEUS = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
CORE = {NUCLEUS: "/greengrass/v2/ipc.socket"}
OTHER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
USERS = allowed_users()


@pytest.mark.parametrize("root", ["/greengrass/v2", "/opt/gg", "/var/lib/greengrass"])
def test_both_components_find_the_same_path_from_their_work_folders(root: str) -> None:
    found = {default_socket(CORE, Path(root, "work", name)) for name in (AGENT_COMPONENT, "a.component.of.ones.own")}
    assert found == {Path(root, "work", AGENT_COMPONENT, "agent.sock")}
    assert str(default_socket(CORE, Path("/somewhere"))) == CORE_SOCKET


def test_a_core_whose_path_is_too_long_has_it_in_the_folder_of_the_user() -> None:
    own = default_socket({})
    assert default_socket(CORE, Path("/" + "r" * 60, "work", "a")) == own
    assert max(len(str(own)), len(CORE_SOCKET)) <= LONGEST_PATH


def test_elsewhere_it_is_in_a_folder_of_the_user() -> None:
    assert str(default_socket({"XDG_RUNTIME_DIR": "/run/user/1000"})) == "/run/user/1000/emflow/agent.sock"
    assert default_socket({}).parent.name.startswith("emflow")


def test_the_default_of_a_workflow_follows_the_root_folder_of_the_nucleus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(NUCLEUS, raising=False)
    assert on_this_device(CORE_SOCKET) == Path(CORE_SOCKET)
    (tmp_path / "work" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "a")
    monkeypatch.setenv(NUCLEUS, "x")
    assert on_this_device(CORE_SOCKET) == default_socket()
    assert on_this_device("/tmp/sagemaker_edge_agent_example.sock") == Path("/tmp/sagemaker_edge_agent_example.sock")


def test_users_have_names_or_numbers() -> None:
    assert allowed_users(["12345", "root"]) - allowed_users() == {12345}
    with pytest.raises(ValueError, match="there is no user 'nobody-of-that-name' on this device"):
        allowed_users(["nobody-of-that-name"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that nobody else may write, whatever the umask."""
    made = tmp_path / "folder"
    made.mkdir()
    made.chmod(0o755)
    return made


@contextmanager
def listening(path: Path) -> Iterator[Path]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield path


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o1777, 0o1770])
def test_a_folder_that_others_cannot_change_is_safe(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with listening(folder / "a.sock") as path:
        assert check_socket(path, USERS) == check_socket(path, USERS)


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o702])
def test_a_folder_that_everybody_may_change_is_not(folder: Path, mode: int) -> None:
    (folder / "inner").mkdir(mode=0o700)
    folder.chmod(mode)
    for path in (folder / "a.sock", folder / "inner" / "a.sock"):
        with listening(path), pytest.raises(UnsafeSocket, match=f"the folder {folder} has mode {mode:04o}"):
            check_socket(path, USERS)


@as_root
def test_a_folder_of_a_group_is_safe_if_it_is_the_own_group(folder: Path) -> None:
    folder.chmod(0o770)
    check_folders(folder / "a.sock", USERS)
    os.chown(folder, -1, OTHER)
    with pytest.raises(UnsafeSocket, match=f"group {OTHER} may replace the socket"):
        check_folders(folder / "a.sock", USERS)


def owned_by_other(path: Path) -> None:
    os.chown(path, OTHER, -1, follow_symlinks=False)


def a_folder(folder: Path) -> Path:
    owned_by_other(folder)
    return folder / "a.sock"


def a_folder_above(folder: Path) -> Path:
    (folder / "inner").mkdir()
    owned_by_other(folder)
    return folder / "inner" / "a.sock"


def a_link_to_a_folder(folder: Path) -> Path:
    (folder / "inner").mkdir()
    (folder / "link").symlink_to("inner")
    owned_by_other(folder / "link")
    return folder / "link" / "a.sock"


def a_folder_behind_links(folder: Path) -> Path:
    (folder / "their").mkdir()
    (folder / "their" / "inner").mkdir()
    (folder / "first").symlink_to("second")
    (folder / "second").symlink_to(folder / "their" / "inner")
    owned_by_other(folder / "their")
    return folder / "first" / "a.sock"


@as_root
@pytest.mark.parametrize("make", [a_folder, a_folder_above, a_link_to_a_folder, a_folder_behind_links])
def test_all_that_leads_to_the_socket_belongs_to_users_that_are_allowed(
    folder: Path, make: Callable[[Path], Path]
) -> None:
    with listening(make(folder)) as path:
        with pytest.raises(UnsafeSocket, match=f"belongs to user {OTHER}, who may replace the socket"):
            check_socket(path, USERS)
        check_socket(path, allowed_users([str(OTHER)]))


@as_root
@pytest.mark.parametrize(("nucleus", "component"), [(0, 990), (991, 990), (991, 991)], ids=["classic", "lite", "one"])
def test_folders_as_a_nucleus_makes_them_are_safe(
    folder: Path, monkeypatch: pytest.MonkeyPatch, nucleus: int, component: int
) -> None:
    """The lite nucleus runs as `ggcore` and gives each component's work folder to `ggc_user`; classic runs as root."""
    root, work = folder / "gg", folder / "gg" / "work"
    own = work / "a.component"
    own.mkdir(parents=True)
    ipc = root / "ipc.socket"
    ipc.touch()
    for path, user in ((root, nucleus), (work, nucleus), (ipc, nucleus), (own, component)):
        os.chown(path, user, user)
        path.chmod(0o755)
    monkeypatch.chdir(own)
    check_folders(own / "agent.sock", allowed_users(environ={NUCLEUS: str(ipc)}))
    if nucleus or component:
        with pytest.raises(UnsafeSocket):
            check_folders(own / "agent.sock", allowed_users(environ={}))
    stranger = work / "another"
    stranger.mkdir()
    os.chown(stranger, OTHER, OTHER)
    with pytest.raises(UnsafeSocket, match=str(OTHER)):
        check_folders(stranger / "agent.sock", allowed_users(environ={NUCLEUS: str(ipc)}))


@as_root
def test_the_socket_itself_belongs_to_a_user_who_is_allowed(folder: Path) -> None:
    with listening(folder / "a.sock") as path:
        owned_by_other(path)
        with pytest.raises(UnsafeSocket, match=f"the socket belongs to user {OTHER}"):
            check_socket(path, USERS)
        check_socket(path, allowed_users([str(OTHER)]))


@as_root
def test_a_link_in_the_place_of_the_socket_is_followed_if_it_is_safe(folder: Path) -> None:
    link = folder / "link.sock"
    with listening(folder / "a.sock") as path:
        link.symlink_to("a.sock")
        assert check_socket(link, USERS) == check_socket(path, USERS)
        owned_by_other(link)
        with pytest.raises(UnsafeSocket, match=f"is a link of user {OTHER}"):
            check_socket(link, USERS)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder like /tmp, which other users can reach: they cannot pass through pytest's own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


SERVE = """
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print(flush=True)
sys.stdin.read()
"""


@as_root
def test_the_process_that_serves_it_is_of_a_user_who_is_allowed(shared_folder: Path) -> None:
    path = shared_folder / "a.sock"
    # As another user, who cannot read this checkout: nothing but the standard library, from the root folder.
    command = ["/usr/bin/env", "python3", "-I", "-c", SERVE, str(path)]
    serving = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", user=OTHER, group=OTHER, extra_groups=()
    )
    assert serving.stdout is not None
    assert serving.stdout.readline() == b"\n"
    try:
        # Its owner is changed, so that the process alone gives it away.
        os.chown(path, 0, 0)
        with pytest.raises(UnsafeSocket, match=f"the process that serves the socket is that of user {OTHER}"):
            check_socket(path, USERS)
        check_socket(path, allowed_users([str(OTHER)]))
    finally:
        serving.communicate()


def test_a_socket_that_nobody_serves_and_a_file_are_told_apart(folder: Path) -> None:
    with listening(folder / "a.sock"):
        pass
    with pytest.raises(ConnectionRefusedError):
        check_socket(folder / "a.sock", USERS)
    with pytest.raises(FileNotFoundError):
        check_socket(folder / "none.sock", USERS)
    (folder / "file").touch()
    with pytest.raises(UnsafeSocket, match="is not a socket"):
        check_socket(folder / "file", USERS)


def test_links_that_lead_in_a_circle_end(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    for path in (folder / "a", folder / "a" / "a.sock"):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            check_socket(path, USERS)


def test_this_needs_the_standard_library_only() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import emflow_schema.agent_socket"
    schema = Path(__file__).parents[2] / "schema"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, str(schema)], check=True)
