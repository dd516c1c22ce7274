"""What is left for another model: by the machine, control groups, and the agent's own limit."""

from __future__ import annotations

import gc
import resource
from pathlib import Path

import pytest

from emflow_agent.errors import NotEnoughMemory
from emflow_agent.models import memory
from emflow_agent.models.memory import MemoryCheck, available_bytes
from emflow_agent.models.store import ModelStore

MB = 10**6


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_the_limit_counts_what_the_process_takes_already() -> None:
    left = available_bytes(resident() + 100 * MB)
    assert 90 * MB < left <= 110 * MB
    assert available_bytes(1) == 0
    assert available_bytes() > left


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups of this process: `a`, and `b` in it."""
    (tmp_path / "self").write_text("1:name=systemd:/elsewhere\n0::/a/b\n")
    (tmp_path / "fs" / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "self")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "fs")
    return tmp_path / "fs"


def limit(group: Path, most: str, current: int, cached: int = 0) -> None:
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{current}\n")
    (group / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")


@pytest.mark.parametrize(("outer", "inner"), [("50000000", "max"), ("max", "50000000"), ("50000000", "90000000")])
def test_the_tightest_control_group_around_the_process_counts(groups: Path, outer: str, inner: str) -> None:
    limit(groups / "a", outer, 20 * MB)
    limit(groups / "a" / "b", inner, 20 * MB)
    assert available_bytes() == 30 * MB


def test_what_files_left_in_a_full_group_s_memory_is_room(groups: Path) -> None:
    limit(groups / "a", "50000000", 50 * MB, cached=40 * MB)
    assert available_bytes() == 40 * MB


def test_a_container_s_own_group_counts_which_it_sees_as_the_root(groups: Path) -> None:
    (groups.parent / "self").write_text("0::/\n")
    limit(groups, "50000000", 20 * MB)
    assert available_bytes() == 30 * MB


@pytest.mark.parametrize("path", ["/c", "/"])
def test_control_groups_of_version_1_count(groups: Path, path: str) -> None:
    (groups.parent / "self").write_text(f"4:memory:{path}\n1:name=systemd:/a\n0::/\n")
    group = groups / "memory" / path.lstrip("/")
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("50000000\n")
    (group / "memory.usage_in_bytes").write_text("30000000\n")
    (group / "memory.stat").write_text("cache 1\ninactive_file 2\ntotal_inactive_file 10000000\n")
    assert available_bytes() == 30 * MB


def test_without_control_groups_the_machine_counts(groups: Path) -> None:
    assert available_bytes() > 0
    (groups.parent / "self").unlink()
    assert available_bytes() > 0


def test_what_a_trial_measured_counts_without_the_files_that_are_here_already(groups: Path) -> None:
    limit(groups / "a", "100000000", 0)
    room = MemoryCheck()
    room.check_files(30 * MB)
    room.check_peak(110 * MB)
    with pytest.raises(NotEnoughMemory, match="the model needs about 107 MB; 100 MB are available"):
        room.check_peak(120 * MB)
    with pytest.raises(NotEnoughMemory, match="the model needs about 117 MB; 100 MB are available"):
        room.check_files(50 * MB)


@pytest.mark.parametrize("own", [True, False])
def test_the_collector_passes_over_what_is_loaded_only_in_the_agents_own_process(folder: Path, own: bool) -> None:
    gc.unfreeze()
    store = ModelStore(tunes_process=own)
    store.load("scenes", str(folder))
    try:
        assert (gc.get_freeze_count() > 0) is own
    finally:
        store.unload("scenes")
        gc.freeze()  # as tests/conftest.py has it
