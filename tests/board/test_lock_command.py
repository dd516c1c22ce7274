"""`emflow lock`: chooses packages for a board that is not this machine, keeps them, and checks them for CI."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import socket
import threading
import tomllib
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from emflow.board import resolver
from emflow.board.lock import read_lock
from emflow.cli import app
from emflow.problems import Problem
from emflow.recipes.runtime_component import _board_json
from wheel_files import make_wheel

USER, PASSWORD = "reader", "s3cr3t-of-the-index"


@pytest.fixture
def lock(workflow: Callable[..., Path], index: Path) -> Callable[..., tuple[dict[str, str], str]]:
    """Run `emflow lock` for a board with a folder of wheels; package to version, and the text of the file."""

    def run(board: str = "imx8mplus", *options: str, wheels: Path = index) -> tuple[dict[str, str], str]:
        path = workflow(board)
        done = invoke("lock", path, "--wheels", wheels, *options)
        assert done.exit_code == 0, done.output
        file = next(path.parent.glob("pylock*.toml"))
        text = file.read_text()
        return {each["name"]: each["version"] for each in tomllib.loads(text)["packages"]}, text

    return run


def invoke(*args: object) -> Result:
    """A command in this process; a Problem is its exception."""
    return CliRunner().invoke(app, [str(each) for each in args])


def refused(*args: object) -> Problem:
    error = invoke(*args).exception
    assert isinstance(error, Problem), error
    return error


def files_of(text: str) -> list[str]:
    return re.findall(r'name = "([^"]+\.whl)"', text)


def test_for_the_imx8mplus_every_wheel_is_one_of_that_board(lock: Any) -> None:
    versions, text = lock()
    assert versions == {
        "av": "15.0.0",
        "awscrt": "0.27.0",
        "awsiotsdk": "1.25.0",
        "cffi": "2.0.0",
        "cryptography": "46.0.0",
        "grpcio": "1.80.0",
        "numpy": "1.26.4",
        "opencv-python-headless": "4.11.0.86",
        "protobuf": "6.30.0",
        "tflite-runtime": "2.14.0",
        "typing-extensions": "4.15.0",
    }
    files = files_of(text)
    assert len(files) == len(versions) + 1
    assert [name for name in files if "x86_64" in name or ("cp" in name and "cp311" not in name)] == []
    assert tomllib.loads(text)["tool"]["emflow"]["installer"]["version"] == "26.3"


@pytest.mark.parametrize("of_image", [False, True])
def test_captures_to_the_cloud_bring_boto3_unless_the_image_has_it(
    workflow: Callable[..., Path], index: Path, of_image: bool
) -> None:
    path = workflow("{preset: imx8mplus, provides: {boto3: 1.42.0}}" if of_image else "imx8mplus")
    assert invoke("lock", path, "--wheels", index).exit_code == (1 if of_image else 0)  # nothing needs boto3 yet
    path.write_text(path.read_text().replace("capture:\n    enabled: false", "capture:\n    enabled: true"))
    if not of_image:
        problem = refused("lock", path, "--check", "--wheels", index)
        assert "the device needs boto3>=1.26, which the lock was not made for" in problem.what
    assert invoke("lock", path, "--wheels", index).exit_code == 0
    lock = read_lock(path.parent / "pylock.imx8mplus.toml")
    assert ("boto3" in {each.name for each in lock.locked}) is not of_image
    assert json.loads(_board_json(lock, 0))["modules"]["boto3"] == "boto3"


def test_a_second_lock_is_the_same_to_the_byte(lock: Any) -> None:
    assert lock()[1] == lock()[1]


def test_python_3_9_gets_a_pip_and_a_numpy_that_run_there(lock: Any) -> None:
    versions, text = lock('{preset: generic-aarch64, python: "3.9"}')
    assert versions["numpy"] == "2.0.2"
    assert tomllib.loads(text)["tool"]["emflow"]["installer"]["version"] == "26.0.1"


def test_a_new_board_takes_newer_packages(lock: Any) -> None:
    versions, _ = lock("generic-aarch64")
    assert (versions["numpy"], versions["opencv-python-headless"]) == ("2.3.0", "4.13.0.90")
    assert versions["ai-edge-litert"] == "2.3.0"


def test_what_the_image_provides_is_left_out_and_the_rest_fits_it(lock: Any) -> None:
    """numpy 1.26.4 for Python 3.12 and tflite-runtime 2.16.2, which no index has."""
    versions, text = lock(
        '{preset: imx8mplus, python: "3.12", glibc: "2.39", provides: {numpy: 1.26.4, tflite-runtime: 2.16.2}}'
    )
    assert {"numpy", "tflite-runtime"} & versions.keys() == set()
    assert versions["opencv-python-headless"] == "4.11.0.86"
    assert tomllib.loads(text)["tool"]["emflow"]["provides"] == {"numpy": "1.26.4", "tflite-runtime": "2.16.2"}


def test_with_the_images_packages_alone_nothing_is_resolved(workflow: Callable[..., Path]) -> None:
    path = workflow("{preset: imx8mplus, packages: image}")
    done = invoke("lock", path)
    assert done.exit_code == 0, done.output
    assert "the image has to bring 8 packages" in done.output
    found = tomllib.loads((path.parent / "pylock.imx8mplus.toml").read_text())
    assert found["packages"] == []
    assert "installer" not in found["tool"]["emflow"]


def test_a_lock_keeps_its_versions_until_it_is_upgraded(lock: Any, index: Path, tmp_path: Path) -> None:
    before, _ = lock()
    newer = tmp_path / "newer"
    shutil.copytree(index, newer)
    make_wheel(newer, "av", "16.0.0", tag="cp311-cp311-manylinux_2_28_aarch64")
    assert lock(wheels=newer)[0] == before
    upgraded, _ = lock("imx8mplus", "--upgrade", wheels=newer)
    assert upgraded == {**before, "av": "16.0.0"}


def test_check_is_silent_about_newer_versions(lock: Any, workflow: Callable[..., Path], index: Path) -> None:
    lock()
    path = workflow()
    file = path.parent / "pylock.imx8mplus.toml"
    before = file.stat().st_mtime_ns
    done = invoke("lock", path, "--check", "--wheels", index)
    assert (done.exit_code, file.stat().st_mtime_ns) == (0, before)
    assert ": current, 11 packages for aarch64, Python 3.11, glibc 2.37" in done.output


def test_check_names_what_differs_and_changes_nothing(lock: Any, workflow: Callable[..., Path], index: Path) -> None:
    _, text = lock()
    path = workflow()
    file = path.parent / "pylock.imx8mplus.toml"
    changed = re.sub(r'\[\[packages\]\]\nname = "av"\n.*?\]\n\n', "", text, flags=re.DOTALL)
    changed = changed.replace('"numpy<2,>=1.24"', '"numpy>=1.24"')
    file.write_text(changed)
    problem = refused("lock", path, "--check", "--wheels", index)
    assert problem.exit_code == 1
    assert problem.where == str(file)
    assert problem.what == (
        "the lock is not current:\n  the device needs numpy<2,>=1.24, which the lock was not made for\n"
        "  the lock was made for numpy>=1.24, which the device no longer needs\n  av: 15.0.0 is missing"
    )
    assert file.read_text() == changed


def test_check_of_another_board_names_its_figure(lock: Any, workflow: Callable[..., Path], index: Path) -> None:
    lock()
    path = workflow('{preset: imx8mplus, python: "3.10", glibc: "2.35"}')
    told = refused("lock", path, "--check", "--wheels", index).what
    assert "edge.board.python: locked for 3.11, the board has 3.10" in told
    assert "edge.board.glibc: locked for 2.37, the board has 2.35" in told


def test_check_without_a_lock_says_how_to_make_one(workflow: Callable[..., Path], index: Path) -> None:
    problem = refused("lock", workflow(), "--check", "--wheels", index)
    assert (problem.what, problem.mend) == (
        "there is no lock file of the board's packages",
        "Run `emflow lock`, and commit the file that it writes.",
    )


def test_a_workflow_without_a_board_says_what_to_add(workflow: Callable[..., Path]) -> None:
    problem = refused("lock", workflow(None))
    assert problem.what == "edge.board: the workflow does not say what its board is"
    assert "edge: {board: imx8mplus}" in problem.mend


def test_no_wheel_for_a_board_names_the_package_and_what_there_is(workflow: Callable[..., Path], index: Path) -> None:
    problem = refused("lock", workflow('{preset: imx8mplus, python: "3.12"}'), "--wheels", index)
    assert problem.what == "there is no wheel of tflite-runtime for this board (aarch64, Python 3.12, glibc 2.37)"
    assert problem.mend == (
        "There are: tflite-runtime 2.14.0 for Python 3.9, 3.10, 3.11. Correct edge.board, or name what the image "
        "brings under edge.board.provides."
    )


def test_no_wheel_for_an_old_c_library_names_the_one_that_is_needed(workflow: Callable[..., Path], index: Path) -> None:
    problem = refused("lock", workflow('{preset: imx8mplus, glibc: "2.31"}'), "--wheels", index)
    assert problem.what == "there is no wheel of tflite-runtime for this board (aarch64, Python 3.11, glibc 2.31)"
    assert "There are: tflite-runtime 2.14.0 for manylinux_2_34_aarch64, manylinux_2_34_x86_64." in problem.mend


def test_versions_that_cannot_be_together_are_one_sentence(workflow: Callable[..., Path], index: Path) -> None:
    problem = refused("lock", workflow("{preset: imx8mplus, provides: {numpy: 2.1.0}}"), "--wheels", index)
    assert problem.what == (
        "no packages fit this board (aarch64, Python 3.11, glibc 2.37): Because you require numpy>=1.24,<2 and "
        "numpy==2.1.0+image, we can conclude that your requirements are unsatisfiable."
    )


def test_a_name_that_nothing_needs_is_refused_with_those_that_are(workflow: Callable[..., Path], index: Path) -> None:
    problem = refused("lock", workflow("{preset: imx8mplus, provides: {numpi: 1.26.4}}"), "--wheels", index)
    assert problem.what == "edge.board.provides: nothing on the device needs numpi"
    assert "Needed are: av, awscrt," in problem.mend


def test_an_index_that_does_not_answer_is_one_sentence(
    workflow: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://{USER}:{PASSWORD}@127.0.0.1:{port}/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    problem = refused("lock", workflow())
    assert problem.what == "the package index cannot be reached"
    assert f"127.0.0.1:{port}" in problem.where
    assert PASSWORD not in str(problem)


def test_an_index_that_refuses_access_is_one_sentence(
    workflow: Callable[..., Path], private_index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{private_index}/simple")
    problem = refused("lock", workflow())
    assert problem.what == "the package index refuses access (401 Unauthorized)"
    assert problem.where.startswith(f"{private_index}/simple")


def test_without_uv_it_says_how_to_install_it(
    workflow: Callable[..., Path], index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    problem = refused("lock", workflow(), "--wheels", index)
    assert problem.what == "`emflow lock` needs uv, which is not installed"
    assert "[lock]" in problem.mend


def test_check_and_upgrade_exclude_each_other(workflow: Callable[..., Path]) -> None:
    assert refused("lock", workflow(), "--check", "--upgrade").exit_code == 2


def test_a_folder_of_wheels_that_is_not_there_is_refused(workflow: Callable[..., Path], tmp_path: Path) -> None:
    problem = refused("lock", workflow(), "--wheels", tmp_path / "none")
    assert (problem.exit_code, problem.what) == (2, "there is no such folder")


class _Index(http.server.BaseHTTPRequestHandler):
    """A simple index (PEP 503) of a folder, for one user."""

    folder: Path

    def do_GET(self) -> None:
        wanted = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        parts = self.path.strip("/").split("/")
        if self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.end_headers()
        elif parts[0] == "files":
            self._answer((self.folder / parts[1]).read_bytes(), "application/octet-stream")
        else:
            names = sorted(path.name for path in self.folder.glob("*.whl"))
            mine = [name for name in names if name.split("-")[0].replace("_", "-") == parts[-1]]
            links = "".join(f'<a href="/files/{name}">{name}</a>' for name in mine)
            self._answer(f"<html><body>{links}</body></html>".encode(), "text/html")

    def _answer(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def private_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An index that asks for a password, as pip's setting names it; its address without it."""
    handler = type("Handler", (_Index,), {"folder": index})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("UV_CACHE_DIR", str(index.parent / "uv-cache"))
        host = f"127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("PIP_INDEX_URL", f"http://{USER}:{PASSWORD}@{host}/simple")
        yield f"http://{host}"
        server.shutdown()
        thread.join()


def test_the_lock_of_a_private_index_has_no_password_and_can_be_fetched(
    workflow: Callable[..., Path], private_index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emflow.board.wheels import fetch

    path = workflow()
    done = invoke("lock", path)
    assert done.exit_code == 0, done.output
    file = path.parent / "pylock.imx8mplus.toml"
    assert PASSWORD not in file.read_text()
    assert f'url = "{private_index}/files/numpy-1.26.4-' in file.read_text()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(fetch(read_lock(file), tmp_path)) == 12


def test_a_folder_of_wheels_that_was_locked_with_once_can_be_left(
    workflow: Callable[..., Path], private_index: str, index: Path
) -> None:
    path = workflow()
    file = path.parent / "pylock.imx8mplus.toml"
    assert invoke("lock", path, "--wheels", index).exit_code == 0
    assert "path = " in file.read_text()
    done = invoke("lock", path)
    assert done.exit_code == 0, done.output
    assert "path = " not in file.read_text()
    assert f'url = "{private_index}/files/numpy-1.26.4-' in file.read_text()


def test_uvs_own_settings_count_before_those_of_pip() -> None:
    both = {"PIP_INDEX_URL": "https://pip.example.com", "UV_INDEX_URL": "https://uv.example.com"}
    assert "UV_DEFAULT_INDEX" not in resolver._environment(both)
    of_pip = resolver._environment({"PIP_INDEX_URL": "https://pip.example.com"})
    assert of_pip["UV_DEFAULT_INDEX"] == "https://pip.example.com"
