"""What is left for another model: by the machine, control groups, and the agent's own limit."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from emflow_agent.models import memory
from emflow_agent.models.memory import Room, available
from emflow_agent.problems import NotEnoughMemory

MB = 10**6


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_the_limit_counts_what_the_process_takes_already() -> None:
    left = available(resident() + 100 * MB)
    assert 90 * MB < left <= 110 * MB
    assert available(1) == 0
    assert available() > left


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups of this process: `a`, and `b` in it."""
    (tmp_path / "self").write_text("1:name=systemd:/elsewhere\n0::/a/b\n")
    (tmp_path / "fs" / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "self")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "fs")
    return tmp_path / "fs"


def limit(group: Path, most: str, current: int) -> None:
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{current}\n")


@pytest.mark.parametrize(("outer", "inner"), [("50000000", "max"), ("max", "50000000"), ("50000000", "90000000")])
def test_the_tightest_control_group_around_the_process_counts(groups: Path, outer: str, inner: str) -> None:
    limit(groups / "a", outer, 20 * MB)
    limit(groups / "a" / "b", inner, 20 * MB)
    assert available() == 30 * MB


def test_without_control_groups_the_machine_counts(groups: Path) -> None:
    assert available() > 0
    (groups.parent / "self").unlink()
    assert available() > 0


def test_what_a_trial_measured_counts_without_the_files_that_are_here_already(groups: Path) -> None:
    limit(groups / "a", "100000000", 0)
    room = Room()
    room.for_files(30 * MB)
    room.for_peak(110 * MB)
    with pytest.raises(NotEnoughMemory, match="the model needs about 107 MB and 100 MB are left"):
        room.for_peak(120 * MB)
    with pytest.raises(NotEnoughMemory, match="the model needs about 117 MB and 100 MB are left"):
        room.for_files(50 * MB)
