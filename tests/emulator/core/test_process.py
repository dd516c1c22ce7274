"""Scripts as processes: what they say, how they end, and that nothing of them stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from emflow_emulator.core.process import OrphanCleanup, Process
from emulator.core.pieces import alive
from support import until


@pytest.fixture
def orphan_cleanup() -> Iterator[OrphanCleanup]:
    orphan_cleanup = OrphanCleanup()
    yield orphan_cleanup
    orphan_cleanup.close()


@pytest.fixture
def said() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def run(orphan_cleanup: OrphanCleanup, said: list[tuple[str, str]], tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def run(script: str, **options: Any) -> Process:
        env = {"PATH": os.environ["PATH"], "GREETING": "hello"}
        process = Process(
            script,
            env=env,
            cwd=tmp_path,
            sink=lambda *line: said.append(line),
            orphan_cleanup=orphan_cleanup,
            **options,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.end(grace=0.1)


def test_it_runs_in_a_shell_with_its_environment_and_folder(
    run: Callable[..., Process], said: list[tuple[str, str]], tmp_path: Path
) -> None:
    assert run('echo "$GREETING"; pwd; echo oops >&2; exit 3').wait(60) == 3
    assert sorted(said) == [("stderr", "oops"), ("stdout", str(tmp_path)), ("stdout", "hello")]


def test_it_reads_nothing(run: Callable[..., Process]) -> None:
    assert run("cat").wait(60) == 0


def test_its_end_is_reported_when_its_last_lines_are_out(
    run: Callable[..., Process], said: list[tuple[str, str]]
) -> None:
    seen: list[int] = []
    told = threading.Event()

    def on_exit() -> None:
        seen.append(len(said))
        told.set()

    run("seq 1000", on_exit=on_exit)
    assert told.wait(60)
    assert seen == [1000]


def test_waiting_ends_when_time_is_up(run: Callable[..., Process]) -> None:
    assert run("sleep 60").wait(0.05) is None


def test_ending_reaches_the_whole_group(run: Callable[..., Process], said: list[tuple[str, str]]) -> None:
    process = run('trap "echo bye; exit 0" TERM; sleep 60 & echo $!; (sleep 60 & echo $!); wait')
    until(lambda: len(said) == 2)
    children = [int(text) for _, text in said]
    process.end()

    assert ("stdout", "bye") in said
    assert process.wait(0) == 0
    assert not [child for child in children if alive(child)]


def test_what_does_not_listen_to_a_term_is_killed(run: Callable[..., Process], said: list[tuple[str, str]]) -> None:
    process = run('trap "" TERM; echo ready; while true; do sleep 60; done')
    until(lambda: said)
    begun = time.monotonic()
    process.end(grace=0.3)

    assert process.wait(0) == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - begun < 20


def test_what_a_script_left_in_the_background_is_ended_too(
    run: Callable[..., Process], said: list[tuple[str, str]]
) -> None:
    process = run("sleep 60 & echo $!")
    assert process.wait(60) == 0
    (child,) = [int(text) for _, text in said]
    assert alive(child)
    process.end()
    assert not alive(child)


def test_ending_what_has_ended_is_no_error(run: Callable[..., Process]) -> None:
    process = run("true")
    process.wait(60)
    process.end()
    process.end()


FORK = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0)"
DETACHED = {
    "session": "setsid sh -c 'echo $$ >> pids; exec sleep 600' &",
    "session whose parent ended": "(setsid sh -c 'echo $$ >> pids; exec sleep 600' &)",
    "no hang-up": "(nohup sh -c 'echo $$ >> pids; exec sleep 600' >/dev/null 2>&1 &)",
    "empty environment": "(env -i setsid sh -c 'echo $$ >> pids; exec sleep 600' &)",
    "daemon": f"""python3 -c '{FORK}; open("pids", "a").write(f"{{os.getpid()}}\\n"); time.sleep(600)'""",
    "empty environment in the root": (
        '(cd / && env -i setsid sh -c \'echo $$ >> "$1"; exec sleep 600\' sh "$OLDPWD/pids" &)'
    ),
    "no ear for a term": "setsid sh -c 'trap \"\" TERM HUP; echo $$ >> pids; while :; do sleep 600; done' &",
    "chain of sessions": (
        "setsid sh -c 'echo $$ >> pids; setsid sh -c \"echo \\$\\$ >> pids; exec sleep 600\" & wait' &"
    ),
}
"""Ways in which what a script starts can leave its process group."""


@pytest.mark.parametrize("leaving", [False, True], ids=["the script runs", "the script has ended"])
@pytest.mark.parametrize("way", DETACHED)
def test_what_detached_is_ended_with_its_script(
    run: Callable[..., Process], tmp_path: Path, way: str, leaving: bool
) -> None:
    process = run(f"{DETACHED[way]}\n{'' if leaving else 'exec sleep 600'}")
    started = pids(tmp_path, 2 if way == "chain of sessions" else 1)
    if leaving:
        until(lambda: process.code == 0)
    assert all(map(alive, started))
    process.end(grace=0.3)

    until(lambda: not any(map(alive, started)))


def test_ending_one_script_leaves_what_another_started(run: Callable[..., Process], tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    one, other = (run(f"cd {folder}; {DETACHED['empty environment']}\nexec sleep 600") for folder in folders)
    (first,), (second,) = (pids(folder, 1) for folder in folders)
    one.end(grace=0.3)

    assert not alive(first)
    assert alive(second)
    other.end(grace=0.3)
    assert not alive(second)


def test_a_script_that_cannot_be_started_is_an_error(run: Callable[..., Process]) -> None:
    with pytest.raises(ValueError, match="null byte"):
        run("echo a\0b")
    with pytest.raises(OSError, match="too long"):
        run("true " + "x" * 3_000_000)


def pids(folder: Path, count: int) -> list[int]:
    """The process ids that what a script started has written, once all of them are there."""
    file = folder / "pids"
    until(lambda: file.exists() and file.read_text().count("\n") == count)
    return [int(text) for text in file.read_text().split()]


AGAINST_ITS_KEEPER = {
    "kill": "kill -9 $PPID",
    "kill of its process group": "kill -9 -$(cut -d' ' -f5 /proc/$PPID/stat)",
    "kill of the process above it": "kill -9 $(cut -d' ' -f4 /proc/$PPID/stat)",
    "stop": "kill -STOP $PPID",
}
"""What a script can do so that its keeper no longer ends what it started."""


@pytest.mark.parametrize("way", AGAINST_ITS_KEEPER)
def test_nothing_stays_of_a_script_that_ends_or_stops_its_keeper(
    run: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("emflow_emulator.core.process._KILL_PATIENCE", 1.0)
    process = run(
        f"{DETACHED['daemon']} & echo $$ >> pids; until [ -e now ]; do sleep 0.02; done; "
        f"{AGAINST_ITS_KEEPER[way]}; exec sleep 600"
    )
    started = pids(tmp_path, 2)
    (tmp_path / "now").touch()
    if way in ("kill", "kill of its process group"):
        assert process.wait(60) == -signal.SIGKILL
    process.end(grace=0.3)

    until(lambda: not any(map(alive, started)))
    until(lambda: process.code is not None)


OWNER_WITHOUT_THE_RIGHT_TO_KILL = """
import ctypes, sys
from pathlib import Path
from emflow_emulator.core.process import OrphanCleanup, Process
PR_CAPBSET_DROP, CAP_KILL = 24, 5
assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_KILL, 0, 0, 0) == 0
orphan_cleanup = OrphanCleanup()
process = Process(sys.argv[2], env={"PATH": "/usr/bin:/bin"}, cwd=Path(sys.argv[1]),
                  sink=lambda stream, text: print(stream, text, flush=True), orphan_cleanup=orphan_cleanup)
pids = Path(sys.argv[1]) / "pids"
while not pids.exists() or pids.read_text().count("\\n") < 2:
    pass
process.end(grace=0.2)
print("code", process.wait(60))
orphan_cleanup.close()
"""
ANOTHER_USERS = (
    "import os, time; os.setgroups([]); os.setgid(65534); os.setuid(65534); "
    "open(3, 'w').write(f'{os.getpid()}\\n'); time.sleep(600)"
)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start what it may not end")
@pytest.mark.parametrize(("before", "code"), [("", -15), ("exec ", -9)], ids=["a child", "the script itself"])
def test_what_became_another_users_is_named_and_all_else_is_ended(tmp_path: Path, before: str, code: int) -> None:
    script = f'{DETACHED["daemon"]} & {before}python3 -c "{ANOTHER_USERS}" 3>> pids; exec sleep 600'
    arguments = [sys.executable, "-c", OWNER_WITHOUT_THE_RIGHT_TO_KILL, str(tmp_path), script]
    owner = subprocess.run(arguments, capture_output=True, text=True, timeout=100, check=False)
    started = pids(tmp_path, 2)
    (left,) = [pid for pid in started if alive(pid)]
    os.kill(left, signal.SIGKILL)

    assert f"stderr Processes could not be ended, as they are another user's: {left} (python3)" in owner.stdout
    assert f"code {code}" in owner.stdout, owner.stderr
    until(lambda: not any(map(alive, started)))


OWNER = """
import sys, time
from pathlib import Path
from emflow_emulator.core.process import OrphanCleanup, Process
orphan_cleanup = OrphanCleanup()
process = Process(sys.argv[2], env={"PATH": "/usr/bin:/bin"},
                  cwd=Path(sys.argv[1]), sink=print, orphan_cleanup=orphan_cleanup)
time.sleep(600)
"""
TREE = "(sleep 600 & echo $! >> pids; wait) & echo $! >> pids; sleep 600; true"


@pytest.mark.parametrize("way", ["tree", *DETACHED])
def test_a_sigkill_of_the_owner_leaves_nothing(tmp_path: Path, way: str) -> None:
    script = TREE if way == "tree" else f"{DETACHED[way]}\nexec sleep 600"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path), script])
    try:
        children = pids(tmp_path, 2 if way in ("tree", "chain of sessions") else 1)
        assert all(map(alive, children))
    finally:
        owner.kill()
        owner.wait()
    until(lambda: not any(map(alive, children)))


def test_a_line_without_an_end_is_reported_in_pieces(run: Callable[..., Process], said: list[tuple[str, str]]) -> None:
    assert run("head -c 300001 /dev/zero | tr '\\0' x; printf 'é'; echo; echo next").wait(60) == 0

    texts = [text for _, text in said]
    assert texts[-1] == "next"
    assert max(map(len, texts)) <= 64 * 1024
    assert "".join(texts[:-1]) == "x" * 300001 + "é"


def test_a_line_that_never_ends_is_reported_while_it_grows(
    run: Callable[..., Process], said: list[tuple[str, str]]
) -> None:
    run("head -c 200000 /dev/zero | tr '\\0' x; exec sleep 600")
    until(lambda: len(said) == 3)


@pytest.fixture
def leftover() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="emflow-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_the_folder_stays_for_a_parent_that_lives(leftover: Path) -> None:
    orphan_cleanup = OrphanCleanup(removes=leftover)
    orphan_cleanup.close()

    assert leftover.exists()
