"""The install step of the Runtime component: all packages or none, no network, and one sentence when it fails."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from conftest import IN_CI
from emflow_runtime.folder import COMPLETE, PARTIAL, hold
from runtime.conftest import PACKAGES, PYTHON, Bundle
from support import until
from wheel_files import make_wheel, sha256

OLDER = "0" * 64
NOBODY = 65534
PRINT_VERSION = "import sys; print('{}.{}'.format(*sys.version_info[:2]))"


def imports(folder: Path) -> bool:
    """Whether everything in a folder can be imported."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import alpha, beta; assert beta.VALUE == 2, beta.VALUE"
    command = [sys.executable, "-I", "-S", "-B", "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    data = folder / "beta_data" / "big.bin"
    return done.returncode == 0 and data.stat().st_size == len(PACKAGES["beta"]["beta_data/big.bin"])


def test_the_packages_can_be_imported_once_the_folder_is_complete(tmp_path: Path, whole_pip: Path) -> None:
    bundle = Bundle(tmp_path, whole_pip, PACKAGES)
    done = bundle.install()
    assert (done.returncode, done.stderr) == (0, "")
    assert "emflow: the packages are complete" in done.stdout
    assert imports(bundle.folder)
    assert json.loads((bundle.folder / COMPLETE).read_text()) == {**bundle.board, "image": {}}
    assert {path.name for path in bundle.work.iterdir()} == {bundle.folder.name, ".lock"}


def test_a_second_installation_changes_nothing(copy: Bundle) -> None:
    bundle = copy
    before = {path: path.stat().st_mtime_ns for path in bundle.folder.rglob("*")}
    done = bundle.install()
    assert (done.returncode, done.stderr) == (0, "")
    assert "the packages are there" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in bundle.folder.rglob("*")} == before


def test_pips_own_settings_and_those_of_python_have_no_effect(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nrequire-virtualenv = true\nno-binary = :all:\n")
    hostile = {
        "PATH": os.environ["PATH"],
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_TARGET": str(tmp_path / "elsewhere"),
        "PYTHONHOME": "",
        "PYTHONPATH": str(tmp_path),
        "TMPDIR": "/nonexistent",
    }
    (tmp_path / "zipfile.py").write_text("raise SystemExit('of somebody else')\n")
    done = bundle.install(env=hostile)
    assert (done.returncode, done.stderr) == (0, "")
    assert imports(bundle.folder)


def test_a_package_that_says_it_is_for_older_pythons_is_proved_by_importing_it(bundle: Bundle) -> None:
    """As a backport is, which another package asks for on every Python. The lock has decided."""
    name, files = "alpha", PACKAGES["alpha"]
    wheel = make_wheel(bundle.root / "wheels", name, "1.0", files, python="<3.9")
    requirements = bundle.root / "requirements.txt"
    changed = re.sub("(?<=alpha==1.0 --hash=sha256:).*", sha256(wheel), requirements.read_text())
    requirements.write_text(changed)
    assert bundle.install().returncode == 0
    assert imports(bundle.folder)


def test_a_python_without_distutils_is_enough(tmp_path: Path, whole_pip: Path) -> None:
    """Debian has distutils in a package of its own; pip takes it on Python 3.9, and on others where it is told to."""
    python = tmp_path / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(python)], check=True, timeout=100)
    (site,) = python.glob("lib/python*/site-packages")
    code = "import sys, sysconfig; sysconfig._PIP_USE_SYSCONFIG = False; sys.modules['distutils'] = None\n"
    (site / "sitecustomize.py").write_text(code)
    bundle = Bundle(tmp_path, whole_pip, PACKAGES)
    bundle.python = str(python / "bin" / "python")
    blocked = subprocess.run([bundle.python, "-I", "-c", "import distutils"], capture_output=True, check=False)
    assert b"ModuleNotFoundError" in blocked.stderr
    done = bundle.install()
    assert (done.returncode, done.stderr) == (0, "")
    assert imports(bundle.folder)


def test_a_wheel_that_was_changed_is_refused(bundle: Bundle) -> None:
    wheel = next((bundle.root / "wheels").glob("alpha-*.whl"))
    wheel.write_bytes(wheel.read_bytes().replace(b"VALUE = 1", b"VALUE = 7"))
    assert "pip could not install the packages: ERROR: THESE PACKAGES DO NOT MATCH THE HASHES" in bundle.refusal()


def test_a_package_that_cannot_be_imported_is_refused(tmp_path: Path, pip: Path) -> None:
    broken = {**PACKAGES, "gamma": {"gamma.py": b"raise OSError('libGL.so.1: cannot open shared object file')\n"}}
    told = Bundle(tmp_path, pip, broken).refusal()
    assert told == (
        "emflow: the packages cannot be imported on this board: OSError: gamma: libGL.so.1: cannot open shared object "
        "file"
    )


def test_a_package_that_crashes_when_imported_is_refused(tmp_path: Path, pip: Path) -> None:
    crashes = {"gamma": {"gamma.py": b"import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"}}
    assert Bundle(tmp_path, pip, crashes).refusal().endswith("cannot be imported on this board: ended by SIGSEGV")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"python": "3.8"},
            (
                f"emflow: this board has Python {PYTHON}, and the packages are for Python 3.8; write python: "
                f'"{PYTHON}" under edge.board of the workflow, run `emflow lock`, and apply again'
            ),
        ),
        (
            {"architecture": "riscv64"},
            (
                "and the packages are for riscv64; write its architecture under edge.board of the workflow, run "
                "`emflow lock`, and apply again"
            ),
        ),
        ({"glibc": "2.99"}, ", and the packages need 2.99; write glibc: "),
        ({"bytes": 10**18}, "emflow: not enough disk space for the packages in WORK: 1000000000000000000 bytes are "),
    ],
)
def test_a_board_that_the_packages_are_not_for_is_told_in_one_sentence(
    bundle: Bundle, change: dict[str, Any], told: str
) -> None:
    bundle.write_board(**change)
    assert told in bundle.refusal()


def test_the_entry_is_readable_for_every_python_3(bundle: Bundle) -> None:
    """No syntax of today in it: a Python that is too old has to reach the sentence about its version."""
    import ast

    text = (bundle.root / "emflow_runtime" / "install.py").read_text()
    tree = ast.parse(text, feature_version=(3, 4))
    modern = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr)
    assert [node for node in ast.walk(tree) if isinstance(node, modern)] == []
    assert "from __future__" not in text
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in functions if node.returns or any(each.annotation for each in node.args.args)] == []


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))


def test_a_file_that_the_disk_does_not_take_is_told_with_bytes_and_leaves_nothing(bundle: Bundle) -> None:
    told = bundle.refusal(preexec_fn=_limited)
    assert "emflow: not enough disk space for the packages in WORK: 2000000 bytes are needed, " in told
    assert told.endswith(" are free; make room there, and deploy again")


def _on_small_disk(bundle: Bundle, size: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Install into a disk of this size. Before that, shell commands run in the work folder; after it, a line `left:`
    on standard output names what lies there."""
    mount = f"mount -t tmpfs -o size={size} tmpfs {bundle.work} && cd {bundle.work} &&"
    command = ["unshare", "-rm", "sh", "-c", f'{mount} "$@"', "sh"]
    probe = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        (pytest.fail if IN_CI and not os.geteuid() else pytest.skip)(f"no small disk can be made: {probe.stderr}")
    command[4] = f'set -e; {mount} {{ {before or "true"}; }}; set +e; "$@"; code=$?; echo left: *; exit $code'
    return subprocess.run([*command, *bundle.command], capture_output=True, text=True, timeout=100, check=False)


def test_a_disk_that_is_full_in_the_middle_is_told_with_bytes_and_leaves_nothing(bundle: Bundle) -> None:
    """The bundle says that it needs less than it does, so that the disk is full while pip writes."""
    bundle.write_board(bytes=1000)
    done = _on_small_disk(bundle, "400k")
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert "not enough disk space for the packages" in line
    assert "1000 bytes are needed, 40" in line  # of 409,600, when what was half there is gone


def _version_lines(name: str, day: int | None) -> str:
    """Shell commands that make a version of 700,000 bytes, complete since a day; None: not complete."""
    lines = f"mkdir {name}; head -c 700000 /dev/zero > {name}/big"
    return (
        lines if day is None else f"{lines}; echo {{}} > {name}/{COMPLETE}; touch -d 2026-01-0{day} {name}/{COMPLETE}"
    )


PARTLY, OLDEST, HELD, NEWEST = "d" * 64 + PARTIAL, "c" * 64, "b" * 64, "a" * 64
FULL = "; ".join(
    [
        *(_version_lines(PARTLY, None), _version_lines(OLDEST, 1), _version_lines(HELD, 2), _version_lines(NEWEST, 3)),
        f"exec 9< {HELD}/{COMPLETE}; flock -s 9",
    ]
)


@pytest.mark.parametrize(
    ("needed", "installed", "left"),
    [
        (1_300_000, True, {HELD}),  # what was not complete was enough
        (2_000_000, True, {HELD}),
        (3_000_000, False, {HELD, NEWEST}),
    ],
)
def test_room_is_made_of_what_nobody_uses_before_space_is_short(
    bundle: Bundle, needed: int, installed: bool, left: set[str]
) -> None:
    bundle.write_board(bytes=needed)
    done = _on_small_disk(bundle, "3500k", FULL)
    assert (done.returncode == 0) is installed, done.stdout + done.stderr
    (listed,) = [line for line in done.stdout.splitlines() if line.startswith("left: ")]
    assert set(listed.split()[1:]) == left | ({bundle.folder.name} if installed else set())
    removed_first = done.stdout.partition("installing")[0]
    assert f"{PARTLY}, of an earlier version, is removed" in removed_first
    assert (f"{OLDEST}, of an earlier version, is removed" in removed_first) is (needed > 1_300_000)
    assert f"{NEWEST}, of an earlier version, is removed" not in removed_first
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_marked_as_complete_is_removed(bundle: Bundle) -> None:
    """What the board's file says is written at the end, and is longer than a file may be here."""
    bundle.write_board(provides={}, note="x" * 900_000)
    told = bundle.refusal(preexec_fn=_limited_at_the_end)  # nothing is left
    assert "not enough disk space for the packages in WORK" in told


def _limited_at_the_end() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (800_000, 800_000))


def _of_another_user(folder: Path) -> str:
    """A Python that any user may run: the one of these tests may be in somebody's home."""
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            if not subprocess.run([python, "-c", ""], preexec_fn=_become_nobody, check=False, cwd="/").returncode:
                return python
    pytest.skip("there is no Python that other users may run")


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def test_it_runs_as_a_user_without_rights_and_without_a_home(whole_pip: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory(prefix="emflow-tests-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        bundle = Bundle(folder, folder / whole_pip.name, PACKAGES)
        shutil.copy(whole_pip, folder)
        bundle.python = _of_another_user(folder)
        said = subprocess.run([bundle.python, "-c", PRINT_VERSION], capture_output=True, text=True, check=True)
        bundle.write_board(python=said.stdout.strip())
        os.chown(bundle.work, NOBODY, NOBODY)
        done = bundle.install(preexec_fn=_become_nobody, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})
        assert (done.returncode, done.stderr) == (0, "")
        assert {path.stat().st_uid for path in bundle.folder.rglob("*")} == {NOBODY}
        assert imports(bundle.folder)


def _killed_when(bundle: Bundle, moment: Callable[[], bool]) -> None:
    process = subprocess.Popen(bundle.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        until(lambda: moment() or process.poll() is not None, timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)


@pytest.mark.parametrize("moment", ["begun", "moving", "named"])
def test_an_installation_that_was_killed_starts_over(bundle: Bundle, moment: str) -> None:
    partial = bundle.folder.with_name(bundle.folder.name + PARTIAL)
    if moment == "named":  # between the last two steps, which is too short to be met
        bundle.folder.mkdir()
        (bundle.folder / "beta.py").write_text("left from before\n")
    else:
        condition = {"begun": partial.exists, "moving": (partial / "alpha").exists}[moment]
        _killed_when(bundle, condition)
    assert not (bundle.folder / COMPLETE).exists()
    assert bundle.install().returncode == 0
    assert imports(bundle.folder)
    assert not partial.exists()


def _children(pid: int) -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(file.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(file.parent.name))
    return found


def test_one_whose_pip_still_runs_is_waited_for(bundle: Bundle) -> None:
    """The install step may be killed alone: pip then goes on, and writes where the next installation would begin."""
    killed = subprocess.Popen(bundle.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    partial = bundle.folder.with_name(bundle.folder.name + PARTIAL)
    until(lambda: (partial / ".tmp").exists() and _children(killed.pid), timeout=60)
    (pip,) = _children(killed.pid)
    os.kill(pip, signal.SIGSTOP)
    try:
        killed.kill()
        killed.communicate(timeout=60)
        waits = subprocess.Popen(bundle.command, stdout=subprocess.PIPE, text=True)
        assert waits.stdout is not None
        assert waits.stdout.readline() == "emflow: waiting for an earlier installation to end\n"
        assert partial.exists()
    finally:
        os.kill(pip, signal.SIGCONT)
    waits.communicate(timeout=100)
    assert waits.returncode == 0
    assert imports(bundle.folder)
    assert not partial.exists()


def test_two_at_the_same_time_make_one_folder(bundle: Bundle) -> None:
    both = [
        subprocess.Popen(bundle.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert sorted("the packages are complete" in out for out, _ in told) == [False, True]
    assert imports(bundle.folder)


def test_one_that_is_not_alone_waits(bundle: Bundle) -> None:
    with (bundle.work / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(bundle.command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "emflow: waiting for an earlier installation to end\n"
        assert not bundle.folder.exists()
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    assert "the packages are complete" in out


def _older(bundle: Bundle) -> Path:
    older = bundle.work / OLDER
    older.mkdir()
    (older / COMPLETE).write_text("{}")
    (older / "alpha.py").touch()
    return older


def test_an_older_version_is_removed_once_the_new_one_is_complete(copy: Bundle) -> None:
    bundle = copy
    older = _older(bundle)
    (bundle.work / f"{'1' * 64}{PARTIAL}").mkdir()
    (bundle.work / "of-somebody-else").mkdir()
    done = bundle.install()
    assert f"{OLDER}, of an earlier version, is removed" in done.stdout
    assert not older.exists()
    assert {path.name for path in bundle.work.iterdir()} == {bundle.folder.name, ".lock", "of-somebody-else"}


def test_an_older_version_stays_when_the_new_one_cannot_be_installed(bundle: Bundle) -> None:
    older = _older(bundle)
    bundle.write_board(glibc="2.99")
    bundle.refusal()
    assert sorted(path.name for path in older.iterdir()) == ["alpha.py", COMPLETE]


def test_an_older_version_stays_as_long_as_a_program_uses_it(copy: Bundle) -> None:
    bundle = copy
    older = _older(bundle)
    held = hold(older)
    assert held is not None
    assert "is still there: a program uses it" in bundle.install().stdout
    assert (older / COMPLETE).exists()
    os.close(held)
    assert f"{OLDER}, of an earlier version, is removed" in bundle.install().stdout
    assert not older.exists()


def test_what_the_image_provides_is_checked_by_version(bundle: Bundle) -> None:
    have = version("pytest")
    modules = {**bundle.board["modules"], "pytest": "pytest"}
    bundle.write_board(packages="both", provides={"pytest": have}, modules=modules)
    assert bundle.install().returncode == 0
    assert json.loads((bundle.folder / COMPLETE).read_text())["image"] == {"pytest": have}
    shutil.rmtree(bundle.folder)

    bundle.write_board(provides={"pytest": "1.0.0", "no-such-package": "1.0"})
    assert bundle.refusal() == (
        "emflow: the image has no no-such-package, which cannot be imported; the image has pytest "
        f"{have}, and edge.board.provides says 1.0.0; correct edge.board of the workflow, run `emflow lock`, and apply "
        "again, or change the image"
    )


def test_a_package_of_the_image_whose_import_hangs_is_one_sentence(bundle: Bundle) -> None:
    file = bundle.root / "emflow_runtime" / "image_packages.py"
    patience = "_PATIENCE = 120.0"
    assert patience in file.read_text()
    file.write_text(file.read_text().replace(patience, "_PATIENCE = 0.001"))  # no program starts so quickly
    bundle.write_board(packages="both", provides={"pytest": version("pytest")})
    assert bundle.refusal().startswith("emflow: the import of the image's pytest did not end within 0.001 s; correct")


def test_with_the_images_packages_alone_nothing_is_installed_and_all_is_checked(tmp_path: Path, pip: Path) -> None:
    bundle = Bundle(tmp_path, pip, {}, packages="image", requirements=["pytest>=1"], modules={"pytest": "pytest"})
    assert bundle.install().returncode == 0
    assert [path.name for path in bundle.folder.iterdir()] == [COMPLETE]
    shutil.rmtree(bundle.folder)

    bundle.write_board(requirements=["pytest>=1,<2", "cv3>=1"], modules={"pytest": "pytest", "cv3": "cv3"})
    told = bundle.refusal()
    assert "the image has no cv3, which cannot be imported; the image has pytest" in told
    assert "and pytest>=1,<2 is needed" in told


def test_a_module_of_the_image_that_was_built_for_another_numpy_is_not_found(bundle: Bundle) -> None:
    bundle.write_board(packages="both", blocked=["pytest"])
    assert bundle.install().returncode == 0
    code = "import sys; sys.path.insert(0, sys.argv[1]); import pytest"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(bundle.folder)], capture_output=True, text=True, check=False
    )
    assert "ModuleNotFoundError: pytest of this image is not used" in done.stderr


@pytest.mark.parametrize(
    ("found", "requirement", "fits"),
    [
        ("1.26.4", "numpy>=1.24", True),
        ("1.23", "numpy>=1.24", False),
        ("2.0.0", "numpy<2,>=1.24", False),
        ("1.26.4", "numpy<2,>=1.24", True),
        ("4.10.0", "opencv-python-headless>=4.8.0.74", True),
        ("4.8.0", "opencv-python-headless>=4.8.0.74", False),
        ("1.24", "x==1.24.0", True),
        ("1.5.1", "x~=1.4", True),
        ("2.0", "x~=1.4", False),
        ("1.5", "x!=1.5.0", False),
    ],
)
def test_versions_are_compared_by_their_numbers(found: str, requirement: str, fits: bool) -> None:
    from emflow_runtime import image_packages

    assert image_packages.fits(found, requirement) is fits


@pytest.mark.e2e
def test_killed_at_any_moment_it_is_complete_or_starts_over(tmp_path: Path, whole_pip: Path) -> None:
    """Property: where `complete` exists, the packages can be imported; and in the end it always does."""
    import random
    import time

    bundle = Bundle(tmp_path, whole_pip, PACKAGES)
    started = time.monotonic()
    assert bundle.install().returncode == 0
    took = time.monotonic() - started
    shutil.rmtree(bundle.folder)
    moments = random.Random(11)
    for _ in range(20):  # each begins with what the one before has left
        deadline = time.monotonic() + moments.uniform(0, took)
        _killed_when(bundle, lambda end=deadline: time.monotonic() >= end)  # type: ignore[misc]
        complete = (bundle.folder / COMPLETE).exists()
        assert imports(bundle.folder) or not complete
        if complete:
            shutil.rmtree(bundle.folder)
    assert bundle.install().returncode == 0
    assert imports(bundle.folder)
    assert not list(bundle.work.glob(f"*{PARTIAL}"))
