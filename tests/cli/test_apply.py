"""`emflow plan`, `apply` and `destroy` as they are typed, against the embedded AWS."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from resources.conftest import client, embedded, endpoint, file, report  # noqa: F401 fixtures
from support import until


@pytest.fixture
def terminal(file):  # noqa: F811
    """Run a command on a terminal and type answers; what it showed, and its exit code."""
    processes = []

    def run(*args, answer):
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "emflow", *map(str, args)], stdin=follower, stdout=follower, stderr=follower
        )
        processes.append(process)
        os.close(follower)
        shown = b""
        answered = False
        while select.select([leader], [], [], 30)[0]:
            try:
                shown += os.read(leader, 4096)
            except OSError:  # Linux's way of saying that nobody writes any more
                break
            if b"[y/N]" in shown and not answered:
                os.write(leader, answer.encode())
                answered = True
        os.close(leader)
        return process.wait(10), shown.decode()

    yield run
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def test_plan_apply_and_apply_again(emflow, file):  # noqa: F811
    planned = emflow("plan", file, "--detailed-exitcode")
    assert planned.code == 3
    assert "Plan: 13 to create, 0 to change, 0 to replace, 0 unchanged" in planned.out
    assert "  + bucket/components         emflow-test-" in planned.out

    applied = emflow("apply", file, "--yes")
    assert applied.code == 0
    assert "… model/compilation  " in applied.out  # STARTING or INPROGRESS
    assert "Applied: 13 created in " in applied.out

    again = emflow("apply", file, "--yes")
    assert again.code == 0
    assert again.out.splitlines()[-1] == "0 changes: everything is as the workflow says."
    assert emflow("plan", file, "--detailed-exitcode").code == 0


def test_apply_and_destroy_refuse_to_change_anything_when_nobody_can_be_asked(emflow, file):  # noqa: F811
    for command in ("apply", "destroy"):
        refused = emflow(command, file)
        assert refused.code == 2
        assert "no terminal" in refused.err
        assert "--yes" in refused.err
    assert emflow("plan", file, "--detailed-exitcode").code == 3


def test_a_job_that_fails_ends_the_apply_with_its_reason(emflow, file, scenes_model):  # noqa: F811
    (file.parent / "scenes.tflite").write_bytes(scenes_model.read_bytes()[:2000])
    failed = emflow("apply", file, "--yes")
    assert failed.code == 1
    assert "✗ model/compilation" in failed.out
    assert "· model/package  not tried, because of model/compilation" in failed.out
    assert "FAILED" in failed.err
    again = emflow("apply", file, "--yes")
    assert again.code == 1
    assert again.err == failed.err


def test_waiting_for_the_device_shows_why_it_failed(emflow, file, client, report):  # noqa: F811
    thing = file.read_text().split("thing: ")[1].split("}")[0]
    target = f"arn:aws:iot:us-east-1:123456789012:thing/{thing}"
    greengrass = client("greengrassv2")

    def latest():
        return greengrass.list_deployments(targetArn=target)["deployments"]

    def device():
        until(latest, 30)
        report(thing, latest()[0]["deploymentId"], "FAILED", reason="no space left", errorStack=["DISK"])

    reporting = threading.Thread(target=device)
    reporting.start()
    applied = emflow("apply", file, "--yes", "--wait")
    reporting.join()
    assert applied.code == 1
    assert f"{thing}: the deployment FAILED: no space left [DISK]" in applied.err


def test_destroy_takes_down_what_was_made_and_says_what_it_keeps(emflow, file):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    destroyed = emflow("destroy", file, "--yes")
    assert destroyed.code == 0
    assert "- fleet/fleet" in destroyed.out
    assert "kept: it holds data" in destroyed.out
    assert "- bucket/components" not in destroyed.out
    assert "- bucket/components" in emflow("destroy", file, "--yes", "--delete-data").out


def test_on_a_terminal_the_user_is_asked_and_no_means_no(terminal, emflow, file):  # noqa: F811
    code, shown = terminal("apply", file, answer="n\n")
    assert code == 1
    assert "Apply this plan?" in shown
    assert "Nothing was changed." in shown
    code, shown = terminal("apply", file, answer="y\n")
    assert code == 0
    assert "Applied: 13 created" in shown


def test_without_a_cloud_the_call_and_the_address_are_named_soon(emflow, file, monkeypatch):  # noqa: F811
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        refused = emflow("plan", file)
    assert refused.code == 1
    assert "sts:GetCallerIdentity: cannot reach " + address in refused.err


def test_a_variable_and_a_wrong_command_line(emflow, file):  # noqa: F811
    assert emflow("plan", file, "--var", "thing=another").code == 0
    assert emflow("plan", file, "--var", "nonsense").code == 2
    assert emflow("plan", file, "--adopt", "bucket/other").code == 2
    assert emflow("apply", file, "--yes", "--timeout", "soon").code == 2
    assert emflow("plan", file.parent / "missing.yaml").code == 2


def test_an_interrupted_apply_goes_on_where_it_was(start, emflow, file):  # noqa: F811
    process = start(sys.executable, "-m", "emflow", "apply", str(file), "--yes")
    process.says("✓ access/role ")
    assert process.end(signal.SIGINT) != 0
    assert "Traceback" not in process.text()
    began = time.monotonic()
    assert emflow("apply", file, "--yes").code == 0
    assert time.monotonic() - began < 60
    assert emflow("plan", file, "--detailed-exitcode").code == 0
