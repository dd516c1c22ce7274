"""Installed as the documentation says, line by line, in an empty environment: what was to be had is there and works."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import cv2
import numpy as np
import pytest
import yaml

from conftest import IN_CI, ROOT
from emflow_emulator.camera.scenes import draw
from support import Process

pytestmark = pytest.mark.e2e

REPOSITORY = "https://git.example.com/emflow"
TAG = "v0.1.0"
PATIENCE = 900  # seconds for an installation, on a slow network


def blocks(path: str, language: str) -> list[str]:
    text = (ROOT / path).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def lines(path: str) -> list[str]:
    """The lines of a page that install something, comments and environments left out."""
    printed = (
        line.partition("  #")[0].strip()
        for block in blocks(path, "sh")
        for line in re.sub(r"\\\n +", "", block).splitlines()
    )
    return [line[line.index("pip install ") :] for line in printed if "pip install " in line]


HOST, WITH_EMULATOR, BOARD, FROM_GIT, FROM_WHEELS, WITH_AWS = lines("README.md")


class Environment:
    """A virtual environment, and a folder with the repository for the lines to run in."""

    def __init__(self, folder: Path, clone: Path) -> None:
        self.bin = folder / "bin"
        self._clone = clone
        self._environment = {
            **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "XDG_"))},
            "PATH": os.pathsep.join((str(self.bin), os.environ["PATH"])),
            "HOME": os.environ.get("HOME", "/"),  # pip's cache
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.file://{clone}.insteadOf",
            "GIT_CONFIG_VALUE_0": REPOSITORY,
        }

    def install(self, line: str) -> None:
        """Run one line of a page, as it is."""
        done = self.run(self._clone, "bash", "-c", line)
        if done.returncode and not IN_CI and "NewConnectionError" in done.stdout + done.stderr:
            pytest.skip(f"no network: {done.stderr.strip()[-300:]}")
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    def run(self, folder: Path, *command: str | Path, **options: str) -> subprocess.CompletedProcess[str]:
        environment = self._environment | options
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    def packages(self) -> set[str]:
        listed = self.run(self._clone, self.bin / "python", "-m", "pip", "list", "--format", "json")
        return {package["name"].lower() for package in json.loads(listed.stdout)}

    def emflow(self, folder: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run(folder, self.bin / "emflow", *args, HOME=str(folder))


@pytest.fixture(scope="module")
def clone(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with what this one holds now, with a tag, and with what `make dist` builds."""
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    git(folder, "tag", TAG)
    (folder / "dist").symlink_to(dist)
    return folder


def git(folder: Path, *args: str) -> None:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *who, *args], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def empty(tmp_path: Path, clone: Path) -> Environment:
    """An environment of this Python with nothing in it but pip."""
    venv.create(tmp_path / "venv", with_pip=True)
    return Environment(tmp_path / "venv", clone)


def validates(environment: Environment, folder: Path) -> None:
    checked = environment.emflow(folder, "validate", ROOT / "workflows" / "demo.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_host_side_alone_then_the_emulator_by_its_own_advice(empty: Environment, tmp_path: Path) -> None:
    empty.install(HOST)
    assert HOST == WITH_AWS
    validates(empty, tmp_path)
    assert not empty.packages() & {"moto", "opencv-python-headless", "grpcio", "numpy", "emflow-emulator"}
    refused = empty.emflow(tmp_path, "up")
    assert refused.returncode == 2, refused.stderr
    missing, advice = refused.stderr.splitlines()
    assert missing == "emflow: `emflow up` is a command of emflow-emulator, which is not installed"
    empty.install(advice.partition("Install it with: ")[2])
    assert empty.emflow(tmp_path, "up", "--help").returncode == 0


def test_the_host_side_from_git(empty: Environment, tmp_path: Path) -> None:
    empty.install(FROM_GIT)
    validates(empty, tmp_path)


def test_the_wheels_of_all_three_run_the_demo_in_an_empty_folder(empty: Environment, tmp_path: Path) -> None:
    empty.install(FROM_WHEELS)
    home = tmp_path / "home"
    home.mkdir()
    ran = empty.emflow(home, "up", "--results", "3", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(results) == 3


def test_both_folders_documentation_installs_the_same(clone: Path) -> None:
    assert lines("edge_component/README.md") == [BOARD]
    assert lines("runner/emflow_emulator/README.md") == [WITH_EMULATOR]
    assert (clone / "dist").is_dir()


def test_the_job_for_github_installs_and_validates(empty: Environment, clone: Path, tmp_path: Path) -> None:
    job, scan, *_ = blocks("docs/ci.md", "yaml")
    steps = yaml.safe_load(job)["jobs"]["validate"]["steps"]
    install, validate = (step["run"] for step in steps if "run" in step)
    assert install in [step.get("run") for step in yaml.safe_load(dedent(scan))["scan"]["steps"]]
    empty.install(install)
    (tmp_path / "workflows").symlink_to(clone / "workflows")
    validated = empty.run(tmp_path, "bash", "-c", validate)
    assert validated.returncode == 0, validated.stdout + validated.stderr


def test_pre_commit_installs_the_hook_and_refuses_a_wrong_workflow(
    empty: Environment, clone: Path, tmp_path: Path
) -> None:
    _, _, config, *_ = blocks("docs/ci.md", "yaml")
    empty.install("pip install pre-commit")
    project = tmp_path / "project"
    (project / "workflows").mkdir(parents=True)
    git(project, "init", "--quiet")
    (project / ".pre-commit-config.yaml").write_text(config)
    workflow = project / "workflows" / "demo.yaml"
    workflow.write_text((clone / "workflows" / "demo.yaml").read_text())
    git(project, "add", "--all")
    command = (empty.bin / "pre-commit", "run", "--all-files")
    passed = empty.run(project, *command, PRE_COMMIT_HOME=str(tmp_path / "hooks"))
    assert (passed.returncode, "Passed" in passed.stdout) == (0, True), passed.stdout + passed.stderr
    workflow.write_text(workflow.read_text() + "nonsense: 1\n")
    git(project, "add", "--all")
    failed = empty.run(project, *command, PRE_COMMIT_HOME=str(tmp_path / "hooks"))
    assert (failed.returncode, "unknown key `nonsense`" in failed.stdout) == (1, True), failed.stdout + failed.stderr


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A film of one scene, which stands still."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 480))
    picture = draw("horizontal stripes", 640, 480, np.random.default_rng(1))
    for _ in range(30):
        writer.write(np.ascontiguousarray(picture[:, :, ::-1]))
    writer.release()
    return path


@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_a_board_tells_what_a_film_shows(
    clone: Path, tmp_path: Path, film: Path, start: Callable[..., Process], scenes_model: Path, version: str
) -> None:
    made = subprocess.run(
        [ROOT / "tools" / "python_venv.sh", version, tmp_path / "venv"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    board = Environment(tmp_path / "venv", clone)
    board.install(BOARD.replace("[edge,agent]", ""))
    assert board.packages() <= {"emflow-device", "pip", "setuptools"}
    for program, extra in (("emflow-agent", "agent"), ("emflow-edge", "edge")):
        told = board.run(tmp_path, board.bin / program, "--help")
        assert (told.returncode, told.stdout.startswith(f"usage: {program}")) == (0, True), told.stderr
        arguments = ("-s", film.as_uri(), "-c", "model/", "-m", "scenes") if extra == "edge" else ()
        refused = board.run(tmp_path, board.bin / program, *arguments)
        assert refused.returncode == 1, refused.stderr
        advice = refused.stderr.strip().splitlines()[-1]
        assert f"(extra {extra}): pip install {clone}/edge_component[{extra}]" in advice.replace("'", "")
    board.install(BOARD)

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / scenes_model.name).write_bytes(scenes_model.read_bytes())
    agent = start(str(board.bin / "emflow-agent"), "--socket", str(tmp_path / "a.sock"), cwd=tmp_path)
    agent.says("Server listening on")
    labels = str(scenes_model.with_name("scenes_labels.txt"))
    flags = shlex.split(
        f"-s {film.as_uri()} -c {tmp_path}/model/ -m scenes --agent-socket {tmp_path}/a.sock --results 2"
    )
    shown = board.run(tmp_path, board.bin / "emflow-edge", *flags, "--labels", labels)
    assert shown.returncode == 0, shown.stderr
    results = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [result["label"] for result in results] == ["horizontal stripes"] * 2
