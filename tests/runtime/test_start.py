"""The start program: it waits for the packages, puts them on the search path in the right place, and runs a module."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from emflow_runtime.folder import COMPLETE, remove_unused
from emflow_runtime.search_path import search_path
from runtime.conftest import PYTHON, Bundle, Program
from support import Process

SHOWS = "import sys, alpha, beta; print(beta.VALUE, alpha.__file__, sys.argv)"


def test_a_module_runs_with_the_packages_and_its_own_arguments(installed: Bundle, tmp_path: Path) -> None:
    done = Program(tmp_path, installed, SHOWS).run("-c", "x y", "--wait", "5")
    assert done.stderr == ""
    value, file, *_ = done.stdout.split()
    assert (value, Path(file)) == ("2", installed.folder / "alpha" / "__init__.py")
    assert "'-c', 'x y', '--wait', '5']" in done.stdout


def test_its_exit_code_is_that_of_the_module(installed: Bundle, tmp_path: Path) -> None:
    assert Program(tmp_path, installed, "raise SystemExit(17)").run().returncode == 17


def test_it_waits_for_packages_that_come_later(bundle: Bundle, tmp_path: Path, start: Callable[..., Process]) -> None:
    program = Program(tmp_path / "files", bundle, SHOWS)
    waiting = start(*program.command(), env=program.env)
    waiting.says("emflow: waiting for the packages of work, in ")
    assert bundle.install().returncode == 0
    assert waiting.popen.wait(60) == 0
    assert waiting.text().splitlines()[-1].startswith("2 ")


def test_after_its_deadline_it_says_where_to_look(bundle: Bundle, tmp_path: Path) -> None:
    done = Program(tmp_path / "files", bundle, SHOWS).run(wait="0.3")
    assert done.returncode == 1
    assert done.stderr == (
        f"emflow: the packages are not there after 0.3 s: {bundle.folder / COMPLETE} does not exist; the log of the "
        "component work says why\n"
    )


def test_a_folder_without_the_file_complete_is_not_used(copy: Bundle, tmp_path: Path) -> None:
    (copy.folder / COMPLETE).unlink()
    assert "are not there after" in Program(tmp_path / "files", copy, SHOWS).run(wait="0.3").stderr


def test_with_all_packages_bundled_those_of_the_image_are_not_found(installed: Bundle, tmp_path: Path) -> None:
    done = Program(tmp_path, installed, "import pytest").run()
    assert "ModuleNotFoundError: No module named 'pytest'" in done.stderr


def test_packages_of_the_image_are_found_after_the_installed_ones(tmp_path: Path, pip: Path) -> None:
    """`xdist` is a package that this machine has, too."""
    bundle = Bundle(tmp_path, pip, {"xdist": {"xdist.py": b"OURS = True\n"}}, packages="both")
    bundle.install()
    code = "import xdist, pytest; print(xdist.OURS, pytest.__version__)"
    done = Program(tmp_path / "files", bundle, code).run()
    assert (done.stderr, done.stdout) == ("", f"True {pytest.__version__}\n")


def test_no_package_hides_a_module_of_the_standard_library(tmp_path: Path, pip: Path) -> None:
    bundle = Bundle(tmp_path, pip, {"json": {"json/__init__.py": b"raise SystemExit('of a wheel')\n"}}, modules={})
    bundle.install()
    assert Program(tmp_path / "files", bundle, "import json; print(json.dumps([1]))").run().stdout == "[1]\n"


def test_processes_that_the_module_starts_with_its_search_path_find_the_same(installed: Bundle, tmp_path: Path) -> None:
    """As the agent's probe is started."""
    child = "import sys; sys.path[:] = sys.argv[1:]; import beta; print(beta.__file__)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}, *sys.path], check=True)"
    assert Path(Program(tmp_path, installed, code).run().stdout.strip()) == installed.folder / "beta.py"


def test_packages_in_use_are_not_removed(copy: Bundle, tmp_path: Path, start: Callable[..., Process]) -> None:
    program = Program(tmp_path / "files", copy, "import time; print('runs', flush=True); time.sleep(600)\n")
    running = start(*program.command(), env=program.env)
    running.says("runs")
    assert remove_unused(copy.folder) == "a program uses it"
    running.end()
    assert remove_unused(copy.folder) == ""
    assert not copy.folder.exists()


def test_packages_for_another_python_are_refused_in_one_sentence(copy: Bundle, tmp_path: Path) -> None:
    file = copy.folder / COMPLETE
    file.write_text(file.read_text().replace(f'"python": "{PYTHON}"', '"python": "3.8"'))
    done = Program(tmp_path / "files", copy, SHOWS).run()
    assert done.returncode == 1
    assert done.stderr == (
        f'emflow: this board has Python {PYTHON}, and the packages are for 3.8; write python: "{PYTHON}" under '
        "edge.board of the workflow, run `emflow lock`, and apply again\n"
    )


def test_an_image_that_was_updated_since_is_refused_in_one_sentence(copy: Bundle, tmp_path: Path) -> None:
    file = copy.folder / COMPLETE
    file.write_text(file.read_text().replace('"image": {}', '"image": {"pytest": "1.0.0"}'))
    done = Program(tmp_path / "files", copy, SHOWS).run()
    assert done.returncode == 1
    assert f"the image has pytest {version('pytest')}, and the packages were installed beside pytest 1.0.0" in (
        done.stderr
    )


def test_it_ends_at_once_when_it_is_told_to_while_it_waits(
    bundle: Bundle, tmp_path: Path, start: Callable[..., Process]
) -> None:
    program = Program(tmp_path / "files", bundle, SHOWS)
    waiting = start(*program.command(), env=program.env)
    waiting.says("waiting for the packages")
    assert waiting.end() == -15


def test_modules_that_the_image_has_already_imported_are_those_of_the_bundle(installed: Bundle, tmp_path: Path) -> None:
    """As Debian's protobuf does with `google`, by a .pth file."""
    code = (
        "import sys, types; sys.modules['alpha'] = types.ModuleType('alpha'); "
        f"sys.argv[1:] = [{str(installed.folder)!r}, 'program']; from emflow_runtime.start import main; main()"
    )
    program = Program(tmp_path, installed, SHOWS)
    done = subprocess.run([sys.executable, "-c", code], env=program.env, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("2 "), done.stderr


def test_the_order_of_the_search_path() -> None:
    library = str(Path(os.__file__).parent)
    before = ["/code", "/usr/lib/python311.zip", library, f"{library}/lib-dynload", "/usr/lib/python3/dist-packages"]
    assert search_path(before, "/packages", "bundled") == [*before[:4], "/packages"]
    assert search_path(before, "/packages", "both") == [*before[:4], "/packages", before[4]]
    assert search_path(before, "/packages", "image") == before
