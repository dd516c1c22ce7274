"""Nothing in the repository tells anybody to install a name of ours that an index would answer for.

`emflow` on PyPI is somebody else's, and what we have not published may become so any day.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".j2", ".json", ".txt", ".cfg", ""}
INSTALLER = re.compile(
    r"\b(?:pip3? (?:install|download)|uv (?:add|pip install|tool (?:install|run))|uvx|pipx (?:install|run))\b(.*)"
)
NAME = r"(?<![\w./@:-])emflow(?:[-_](?:device|runner|emulator|edge|agent|schema|proto))?"
EXTRAS = r"\[(?:edge|agent|onnx|signing|upload|local|device|test|lint)[\w, -]*\]"
# A name is all right with the version that no public index takes, or with where it is: `name @ git+https://…`.
RIGHT = r"(?!=={_*version|\s*@\s)"
BARE = re.compile(rf"{NAME}(?:\[[\w, -]*\])?(?![\w./\[-]|'s){RIGHT}")
EXTRA = re.compile(rf"{NAME}{EXTRAS}{RIGHT}")
THIS = Path(__file__).relative_to(ROOT)


def bare_names(text: str) -> list[str]:
    """The lines that tell to install a bare name of ours."""
    found = []
    for line in text.splitlines():
        commands = INSTALLER.findall(line)
        if any(BARE.search(after.partition(" #")[0]) for after in commands) or EXTRA.search(line):
            found.append(line.strip())
    return found


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip(f"no git repository: {listed.stderr.strip()}")
    return [Path(name) for name in listed.stdout.splitlines()]


def test_no_file_tells_to_install_a_bare_name() -> None:
    read = [path for path in tracked() if path.suffix in KINDS and path != THIS and (ROOT / path).is_file()]
    assert {Path("README.md"), Path("Makefile"), Path(".ci/run"), Path(".pre-commit-hooks.yaml")} <= set(read)
    found = {path: bare_names((ROOT / path).read_text(encoding="utf-8", errors="replace")) for path in read}
    assert {str(path): lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        "pip install emflow",
        "run: pip install emflow",
        "mend='pip install --force emflow'",
        "pip install 'emflow[local]'",
        ".venv/bin/pip install emflow-device",
        "uv tool install emflow-runner",
        "python -m pip install ./edge_component emflow-runner",
        "pip install emflow_emulator==0.1.0",
        "additional_dependencies: ['emflow[local]']",
        "uvx emflow validate",
    ],
)
def test_a_bare_name_is_found(line: str) -> None:
    assert bare_names(line)


@pytest.mark.parametrize(
    "line",
    [
        "pip install ./edge_component . ./runner/emflow_emulator",
        "pip install './edge_component[edge,agent]'",
        "pip install dist/emflow_device-*.whl dist/emflow_runner-*.whl",
        'pip install "emflow-device[edge] @ git+https://git.example.com/emflow@v1#subdirectory=edge_component"',
        "python3 -m venv emflow && emflow/bin/pip install './edge_component[edge,agent]'",
        "pip install av",
        '"emflow-device[edge,agent]=={version}",',
    ],
)
def test_a_path_a_wheel_or_the_repository_is_all_right(line: str) -> None:
    assert not bare_names(line)
