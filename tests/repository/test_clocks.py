"""Durations are measured by the monotonic clock: the other one is set at any time, on boards by days at once.

Every place where the sources read the wall clock is listed here, with what the time is for. None of it is a duration
within one process.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("edge_component", "proto", "schema", "runner")
WALL_CLOCK = {
    *("time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime", "time.asctime", "time.strftime"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
    *("os.path.getmtime", "os.path.getctime", "os.path.getatime", "email.utils.formatdate"),
}
FILE_TIMES = {"st_mtime", "st_mtime_ns", "st_ctime", "st_ctime_ns", "st_atime", "st_atime_ns"}

FOR_PEOPLE = "a moment that people or other programs read"
SHARED = "compared with a moment that another machine or a protocol sets, so it has to be the same clock"
FROM_FILES = "of a file: to put files in order, or to see that one has changed"

ALLOWED = {
    "edge_component/emflow_agent/__main__.py _log_to_stdout": FOR_PEOPLE,
    "edge_component/emflow_agent/calls/service.py AgentService.CaptureData": SHARED,
    "edge_component/emflow_agent/capture/buffer.py CaptureBuffer.__init__": FOR_PEOPLE,
    "edge_component/emflow_agent/capture/spool.py Spool._scan": FROM_FILES,
    "edge_component/emflow_agent/models/trust_state.py TrustState.clock": SHARED,
    "edge_component/emflow_agent/models/trust_state.py TrustState.note_time": SHARED,
    "edge_component/emflow_edge/camera/file.py FileCamera.grab": FOR_PEOPLE,
    "edge_component/emflow_edge/camera/mjpeg.py MjpegCamera.grab": SHARED,
    "edge_component/emflow_edge/camera/opencv_camera.py OpencvCamera.grab": FOR_PEOPLE,
    "edge_component/emflow_edge/camera/rtsp_pyav.py RtspPyavCamera.grab": SHARED,
    "edge_component/emflow_edge/observability/status.py Status.result": FOR_PEOPLE,
    "edge_component/emflow_edge/settings/contents.py _stat": FROM_FILES,
    "edge_component/emflow_edge/timestamps.py utc_now": FOR_PEOPLE,
    "runner/emflow/cli/event_output.py JsonLines.show": FOR_PEOPLE,
    "runner/emflow/cli/package.py package": SHARED,
    "runner/emflow/cli/verify.py verify": SHARED,
    "runner/emflow/engine/errors.py _clocks_apart": SHARED,
    "edge_component/emflow_runtime/folder.py time_of_completion": FROM_FILES,
    "runner/emflow/engine/lock.py LockRecord.of_this_process": FOR_PEOPLE,
    "runner/emflow/engine/lock.py LockRecord.renewed": FOR_PEOPLE,
    "runner/emflow/engine/saved_plan.py plan_document": FOR_PEOPLE,
    "runner/emflow/resources/application_status.py read_application": SHARED,
    "runner/emflow/resources/status.py read_status": SHARED,
    "runner/emflow/results/capture_stores.py FolderStore.children": FROM_FILES,
    "schema/emflow_schema/model_facts.py folder_identity": FROM_FILES,
    "runner/emflow/workflow/rules/files.py _once": FROM_FILES,
    "runner/emflow_emulator/aws/gateway/keys.py IssuedKey.ended": SHARED,
    "runner/emflow_emulator/aws/gateway/signatures.py Verifier._check_version_2": SHARED,
    "runner/emflow_emulator/aws/gateway/signatures.py _check_time": SHARED,
    "runner/emflow_emulator/aws/greengrass/components.py Components.create": FOR_PEOPLE,
    "runner/emflow_emulator/aws/greengrass/cores.py Cores.take": FOR_PEOPLE,
    "runner/emflow_emulator/aws/greengrass/deployments.py Deployments._make": FOR_PEOPLE,
    "runner/emflow_emulator/aws/sagemaker/fleets.py Fleets._create": FOR_PEOPLE,
    "runner/emflow_emulator/aws/sagemaker/fleets.py Fleets._heartbeat": FOR_PEOPLE,
    "runner/emflow_emulator/aws/sagemaker/fleets.py Fleets._register": FOR_PEOPLE,
    "runner/emflow_emulator/aws/sagemaker/fleets.py Fleets._update": FOR_PEOPLE,
    "runner/emflow_emulator/aws/sagemaker/jobs.py Job.__init__": FOR_PEOPLE,
    "runner/emflow_emulator/aws/sagemaker/jobs.py Job._move": FOR_PEOPLE,
    "runner/emflow_emulator/aws/sagemaker/jobs.py Job._run": FOR_PEOPLE,
    "runner/emflow_emulator/aws/sagemaker/packaging.py Signer.__init__": SHARED,
    "runner/emflow_emulator/camera/encoder.py Stream._encode_while_watched": SHARED,
    "runner/emflow_emulator/core/board_python.py _copy": FROM_FILES,
    "runner/emflow_emulator/core/board_python.py _files": FROM_FILES,
    "runner/emflow_emulator/core/board_python.py _remove_unused": FROM_FILES,
    "runner/emflow_emulator/core/configuration.py Configuration.deployed": SHARED,
    "runner/emflow_emulator/core/logs.py Log.write": FOR_PEOPLE,
    "runner/emflow_emulator/core/token_exchange.py TokenExchange._current": SHARED,
    "runner/emflow_emulator/mqtt/exchange.py RetainedMessages.keep": FOR_PEOPLE,
    "schema/emflow_schema/agent_socket.py identity": FROM_FILES,
    "schema/emflow_schema/model_facts.py file_identity": FROM_FILES,
}


def wall_clock_uses(source: str) -> Iterator[str]:
    """The functions that read the wall clock, as `Class.function`, once for each time; also where it is passed on."""

    def names(node: ast.AST) -> str:
        if isinstance(node, ast.Attribute):
            return f"{names(node.value)}.{node.attr}"
        return aliases.get(node.id, node.id) if isinstance(node, ast.Name) else "?"

    def visit(node: ast.AST, inside: tuple[str, ...]) -> Iterator[str]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inside = (*inside, node.name)
        if isinstance(node, (ast.Attribute, ast.Name)):
            name = names(node)
            if name in WALL_CLOCK or (isinstance(node, ast.Attribute) and node.attr in FILE_TIMES):
                yield ".".join(inside) or "module"
                return
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    tree = ast.parse(source)
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                aliases[name.asname or name.name] = whole.replace("datetime.datetime", "datetime")
        elif isinstance(node, ast.Import):
            aliases.update({name.asname: name.name for name in node.names if name.asname})
    yield from visit(tree, ())


@pytest.mark.parametrize(
    "source",
    [
        "import time\ndef f(): return time.time()",
        "import time as t\ndef f(): return t.time_ns()",
        "from time import time\ndef f(): return time()",
        "from time import time as now\ndef f(clock=now): ...",
        "import time\ndef f(clock=time.time): ...",
        "from datetime import datetime\ndef f(): return datetime.now()",
        "import datetime\ndef f(): return datetime.datetime.now(datetime.timezone.utc)",
        "import datetime as dt\ndef f(): return dt.datetime.utcnow()",
        "def f(path): return path.stat().st_mtime",
    ],
)
def test_a_use_of_the_wall_clock_is_found_however_it_is_written(source: str) -> None:
    assert list(wall_clock_uses(source)) == ["f"]


def test_the_monotonic_clock_and_given_times_are_no_uses_of_it() -> None:
    source = """
import time
from datetime import datetime, timezone
def f(at): return time.monotonic(), time.perf_counter(), time.sleep(1), datetime.fromtimestamp(at, timezone.utc)
"""
    assert list(wall_clock_uses(source)) == []


def test_the_wall_clock_is_read_only_where_a_moment_is_meant_and_no_duration() -> None:
    used = {
        f"{path.relative_to(ROOT).as_posix()} {function}"
        for folder in SOURCES
        for path in (ROOT / folder).rglob("*.py")
        for function in wall_clock_uses(path.read_text())
    }
    assert sorted(used - ALLOWED.keys()) == [], "measure a duration by time.monotonic(), or say what the moment is for"
    assert sorted(ALLOWED.keys() - used) == [], "no longer read there"
