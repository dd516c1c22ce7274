"""Fetching what a lock names: from a folder, the cache or the index, and only what has the right SHA-256."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from board.conftest import IMX8MPLUS
from emflow.board.lock import Lock, LockedPackage, Wheel, made_for
from emflow.board.wheels import TRIES, fetch
from emflow.problems import Problem
from wheel_files import make_wheel, sha256


class Server:
    """Serves files from memory, after as many failures as wanted."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.failures = 0
        self.status = 503
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                data = outer.files.get(self.path)
                if outer.failures > 0:
                    outer.failures -= 1
                    self.send_error(outer.status)
                elif data is None:
                    self.send_error(404)
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "emflow" / "wheels"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path, "alpha", "1.0", {"alpha.py": b"VALUE = 1\n"})


def lock_of(file: Path, **place: str) -> Lock:
    entry = Wheel(file.name, sha256(file), file.stat().st_size, **place)
    return replace(made_for(IMX8MPLUS, ()), locked=(LockedPackage("alpha", "1.0", entry),))


def test_a_wheel_is_fetched_once_and_then_taken_from_the_cache(
    wheel: Path, server: Server, cache: Path, tmp_path: Path
) -> None:
    server.files["/alpha.whl"] = wheel.read_bytes()
    lock = lock_of(wheel, url=f"{server.url}/alpha.whl")
    told: list[str] = []
    first = fetch(lock, tmp_path / "elsewhere", report=lambda each: told.append(each.name))
    assert first == {wheel.name: cache / sha256(wheel) / wheel.name}
    assert first[wheel.name].read_bytes() == wheel.read_bytes()
    assert fetch(lock, tmp_path / "elsewhere", report=lambda each: told.append(each.name)) == first
    assert (server.asked, told) == (["/alpha.whl"], [wheel.name])
    assert [path.name for path in cache.rglob("*") if path.is_file()] == [wheel.name]


def test_a_damaged_file_in_the_cache_is_fetched_again(wheel: Path, server: Server, tmp_path: Path) -> None:
    server.files["/alpha.whl"] = wheel.read_bytes()
    lock = lock_of(wheel, url=f"{server.url}/alpha.whl")
    kept = fetch(lock, tmp_path / "elsewhere")[wheel.name]
    kept.write_bytes(b"damaged")
    assert fetch(lock, tmp_path / "elsewhere")[wheel.name].read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize("changed", [b"VALUE = 2", b"VALUE=1\n\n"])
def test_a_file_that_is_not_the_locked_one_is_refused_and_not_kept(
    wheel: Path, server: Server, cache: Path, tmp_path: Path, changed: bytes
) -> None:
    server.files["/alpha.whl"] = wheel.read_bytes().replace(b"VALUE = 1", changed)
    lock = lock_of(wheel, url=f"{server.url}/alpha.whl")
    lock = replace(lock, locked=(replace(lock.locked[0], wheel=replace(lock.locked[0].wheel, size=0)),))
    with pytest.raises(Problem, match="is not the file that the lock names: its SHA-256 is") as refused:
        fetch(lock, tmp_path / "elsewhere")
    assert refused.value.where == f"{server.url}/alpha.whl"
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_file_that_is_larger_than_locked_is_not_read_to_its_end(wheel: Path, server: Server, tmp_path: Path) -> None:
    server.files["/alpha.whl"] = wheel.read_bytes() + bytes(5_000_000)
    with pytest.raises(Problem, match="is larger than the lock says"):
        fetch(lock_of(wheel, url=f"{server.url}/alpha.whl"), tmp_path / "elsewhere")


def test_an_index_that_fails_for_a_moment_is_asked_again(wheel: Path, server: Server, tmp_path: Path) -> None:
    server.files["/alpha.whl"] = wheel.read_bytes()
    server.failures = TRIES - 1
    assert fetch(lock_of(wheel, url=f"{server.url}/alpha.whl"), tmp_path / "elsewhere")
    assert len(server.asked) == TRIES


@pytest.mark.parametrize(("status", "asked"), [(503, TRIES), (404, 1), (401, 1)])
def test_an_index_that_refuses_is_one_sentence(
    wheel: Path, server: Server, tmp_path: Path, status: int, asked: int
) -> None:
    server.failures, server.status = 99, status
    with pytest.raises(Problem) as refused:
        fetch(lock_of(wheel, url=f"{server.url}/alpha.whl"), tmp_path / "elsewhere")
    assert refused.value.what.startswith(f"{wheel.name} cannot be fetched: {status} ")
    assert "--wheels DIR" in refused.value.mend
    assert len(server.asked) == asked


def test_a_folder_of_wheels_needs_no_index(wheel: Path, tmp_path: Path, cache: Path) -> None:
    lock = lock_of(wheel, url="http://127.0.0.1:9/alpha.whl")
    assert fetch(lock, tmp_path / "elsewhere", wheels=wheel.parent) == {wheel.name: wheel}
    assert not cache.exists()


def test_a_path_in_the_lock_begins_at_the_locks_folder(wheel: Path, tmp_path: Path) -> None:
    lock = lock_of(wheel, path=f"../{wheel.name}")
    (tmp_path / "project").mkdir()
    found = fetch(lock, tmp_path / "project")[wheel.name]
    assert found.resolve() == wheel
    wheel.unlink()
    with pytest.raises(Problem, match=r"alpha-1\.0-py3-none-any\.whl is not there") as refused:
        fetch(lock, tmp_path / "project")
    assert "--wheels DIR" in refused.value.mend


def test_a_changed_file_in_a_folder_is_refused_with_its_path(wheel: Path, tmp_path: Path) -> None:
    lock = lock_of(wheel, url="http://127.0.0.1:9/alpha.whl")
    wheel.write_bytes(b"another")
    with pytest.raises(Problem, match="is not the file that the lock names") as refused:
        fetch(lock, tmp_path / "elsewhere", wheels=wheel.parent)
    assert refused.value.where == str(wheel)
