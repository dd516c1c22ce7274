"""`emflow plan`, `apply` and `destroy` as they are typed, against the embedded AWS."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from jsonschema import Draft202012Validator

from emflow_emulator.aws import EmbeddedAws
from emflow_schema import load
from resources.conftest import client, embedded, endpoint, file, report  # noqa: F401 fixtures
from support import PATIENCE, until

pytestmark = pytest.mark.e2e

SLOW_SECONDS = 120
"""How long a job takes in a slow AWS: nothing here waits for its end."""


@pytest.fixture
def terminal(file):  # noqa: F811
    """Run a command on a terminal and type answers; what it showed, and its exit code."""
    processes = []

    def run(*args, answer):
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "emflow", *map(str, args)],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal
        )
        processes.append(process)
        os.close(follower)
        shown = b""
        answered = False
        while select.select([leader], [], [], PATIENCE)[0]:
            try:
                shown += os.read(leader, 4096)
            except OSError:  # Linux's way of saying that nobody writes any more
                break
            if b"[y/N]" in shown and not answered:
                os.write(leader, answer.encode())
                answered = True
        os.close(leader)
        return process.wait(PATIENCE), shown.decode()

    yield run
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


@dataclass(frozen=True)
class Slow:
    """A workflow in an AWS whose jobs take minutes."""

    file: Path
    job: str
    sagemaker: Any


@pytest.fixture(scope="module")
def slow_aws():
    with EmbeddedAws(port=0, job_seconds=SLOW_SECONDS) as aws:
        yield aws


@pytest.fixture
def slow(slow_aws, file, monkeypatch):  # noqa: F811
    monkeypatch.setenv("AWS_ENDPOINT_URL", slow_aws.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", slow_aws.credentials.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", slow_aws.credentials.secret)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    job = file.read_text().split("compile: {job: ")[1].split("}")[0]
    return Slow(file, job, boto3.Session().client("sagemaker"))


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


def test_a_job_that_does_not_end_well_ends_the_apply_with_its_word(start, emflow, slow):
    process = start(sys.executable, "-m", "emflow", "apply", str(slow.file), "--yes")
    process.says("… model/compilation  INPROGRESS")
    slow.sagemaker.stop_compilation_job(CompilationJobName=slow.job)
    assert process.ended() == 1
    shown = process.text()
    assert "✗ model/compilation" in shown
    assert "· model/package  not tried, because of model/compilation" in shown
    again = emflow("apply", slow.file, "--yes")
    assert again.code == 1
    assert f"{slow.job} STOPPED" in again.err
    assert "--retry-failed" in again.err


def test_waiting_for_the_device_shows_why_it_failed(emflow, file, client, report):  # noqa: F811
    thing = file.read_text().split("thing: ")[1].split("}")[0]
    target = f"arn:aws:iot:us-east-1:123456789012:thing/{thing}"
    greengrass = client("greengrassv2")

    def latest():
        return greengrass.list_deployments(targetArn=target)["deployments"]

    def device():
        until(latest)
        report(thing, latest()[0]["deploymentId"], "FAILED", reason="no space left", errorStack=["DISK"])

    reporting = threading.Thread(target=device)
    reporting.start()
    applied = emflow("apply", file, "--yes", "--wait")
    reporting.join()
    assert applied.code == 1
    assert f"{thing}: the deployment FAILED: no space left [DISK]" in applied.err
    assert "✗ deployment/rollout  failed" in applied.out
    assert (applied.out + applied.err).count("no space left") == 1


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


def lines_of(text):
    """JSON events, each held against the published schema."""
    events = [json.loads(line) for line in text.splitlines()]
    for event in events:
        Draft202012Validator(load("event")).validate(event)
    return events


def test_as_json_every_event_is_a_line_and_what_is_for_people_goes_elsewhere(emflow, file):  # noqa: F811
    applied = emflow("apply", file, "--yes", "--json")
    assert applied.code == 0
    events = lines_of(applied.out)
    assert [each["event"] for each in events[:2]] == ["warned", "planned"]
    assert events[0]["code"] == "EM081"
    assert events[1]["actions"]["bucket/components"] == "create"
    assert {event["state"] for event in events if event["event"] == "waiting"} & {"STARTING", "INPROGRESS"}
    assert (events[-1]["event"], events[-1]["result"]) == ("finished", "applied")
    assert events[-1]["actions"]["deployment/target"] == "create"
    assert "Applied: " in applied.err
    again = lines_of(emflow("apply", file, "--yes", "--json").out)
    assert [event["event"] for event in again] == ["warned", "planned", "finished"]
    assert again[-1]["result"] == "unchanged"


def test_as_json_a_problem_is_the_last_line_too(emflow, file, monkeypatch):  # noqa: F811
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    failed = emflow("apply", file, "--yes", "--json")
    assert failed.code == 1
    warned, event = lines_of(failed.out)
    assert warned["event"] == "warned"
    assert event["result"] == "failed"
    assert event["problem"]["where"] == "sts:GetCallerIdentity"


def test_only_a_target_and_what_it_needs(emflow, file):  # noqa: F811
    applied = emflow("apply", file, "--yes", "--target", "access/role_alias")
    assert applied.code == 0
    assert "✓ access/role " in applied.out
    assert "✓ access/role_alias" in applied.out
    assert "! bucket/components does not exist yet and is not part of this plan, so there is no lock" in applied.out
    assert "bucket/inference_results" not in applied.out
    refused = emflow("apply", file, "--yes", "--target", "access/roll")
    assert refused.code == 2
    assert "did you mean `access/role`?" in refused.err
    assert emflow("apply", file, "--yes", "--wait", "--target", "access/role").code == 2


def test_a_plan_is_executed_without_a_question_and_a_second_time_refused(emflow, file):  # noqa: F811
    planned = emflow("plan", file, "--out", "plan.json")
    assert planned.code == 0
    assert "emflow apply plan.json" in planned.out
    applied = emflow("apply", "plan.json")
    assert applied.code == 0
    assert "Applied: 13 created" in applied.out
    again = emflow("apply", "plan.json")
    assert again.code == 1
    assert "AWS has changed since this was planned, so nothing was done" in again.err
    assert "access/role: did not exist, and does now" in again.err
    assert "deployment/target: the target's latest deployment has changed" in again.err


def test_a_plan_is_refused_when_somebody_changed_what_it_was_made_from(emflow, file, client):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    file.write_text(file.read_text() + "  publish: {topic: other/topic}\n")
    assert emflow("plan", file, "--out", "plan.json", "--detailed-exitcode").code == 3
    role = file.read_text().split("role: {name: ")[1].split(",")[0]
    client("iam").update_role(RoleName=role, MaxSessionDuration=7200)
    refused = emflow("apply", "plan.json")
    assert refused.code == 1
    assert "access/role: the longest session has changed" in refused.err
    client("iam").update_role(RoleName=role, MaxSessionDuration=3600)
    file.write_text(file.read_text().replace("other/topic", "yet/another"))
    refused = emflow("apply", "plan.json")
    assert refused.code == 1
    assert "differs in: edge.publish" in refused.err
    file.write_text(file.read_text().replace("yet/another", "other/topic"))
    refused = emflow("apply", "plan.json", "--retry-failed")
    assert refused.code == 2
    assert "--retry-failed cannot be given with the plan" in refused.err
    assert emflow("apply", "plan.json").code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_apply_ends_soon_says_what_is_in_flight_and_the_next_goes_on(start, emflow, slow, number, code):
    process = start(sys.executable, "-m", "emflow", "apply", str(slow.file), "--yes")
    process.says("… model/compilation  INPROGRESS")
    began = time.monotonic()
    assert process.end(number) == code
    assert time.monotonic() - began < SLOW_SECONDS / 2
    shown = process.text()
    assert "nothing new is started; a second one ends the run at once" in shown
    assert "! in flight: model/compilation" in shown
    assert "◌ model/compilation  left after" in shown
    assert "in flight, and continuing in AWS: model/compilation (INPROGRESS)" in shown
    assert "not begun: model/package" in shown
    assert "Traceback" not in shown
    planned = emflow("plan", slow.file)
    assert "~ model/compilation" in planned.out
    assert "status: INPROGRESS → COMPLETED" in planned.out


def test_a_time_limit_ends_it_as_ctrl_c_does(emflow, slow):
    began = time.monotonic()
    ended = emflow("apply", slow.file, "--yes", "--timeout", "10s", "--json")
    assert 10 <= time.monotonic() - began < SLOW_SECONDS / 2
    assert ended.code == 1
    assert "not done within 10s" in ended.err
    events = lines_of(ended.out)
    assert "stopping" in [event["event"] for event in events]
    assert events[-1]["result"] == "stopped"


def test_waiting_for_devices_can_be_interrupted_while_they_go_on(start, emflow, file):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    process = start(sys.executable, "-m", "emflow", "apply", str(file), "--yes", "--wait")
    process.says("not reported yet")
    assert process.end(signal.SIGINT) == 130
    assert "in flight, and continuing in AWS: deployment/rollout (not reported yet)" in process.text()


@pytest.mark.parametrize("command", ["plan", "apply", "status"])
def test_an_endpoint_that_never_answers_does_not_hold_up_an_interrupt(start, file, monkeypatch, command):  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        process = start(sys.executable, "-m", "emflow", command, str(file), *(["--yes"] if command == "apply" else []))
        silent.settimeout(PATIENCE)
        connection, _ = silent.accept()  # somebody asks, and gets no answer
        with connection:
            began = time.monotonic()
            assert process.end(signal.SIGINT) == 130
            assert time.monotonic() - began < 30  # the connection's own limit is a minute
    assert process.text().splitlines()[-2:] == ["emflow: interrupted by Ctrl-C", "  Nothing was changed."]


NEVER_DONE = """
import sys, threading
from emflow.cli.signals import SignalHandling
from emflow.engine.apply import apply_plan
from emflow.engine.plan import make_plan
from engine.things import World, thing

def hang(run):
    print("hanging", flush=True)
    threading.Event().wait()

def heard(why):
    print("heard:", why, flush=True)

with SignalHandling(heard) as interrupts:
    apply_plan(make_plan([thing("a", on_apply=hang)], World()), World(), cancellation=interrupts.cancellation)
"""


def test_a_second_ctrl_c_ends_at_once_what_the_first_waits_for(start):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = start(sys.executable, "-c", NEVER_DONE, env=env)
    process.says("hanging")
    process.popen.send_signal(signal.SIGINT)
    process.says("heard: interrupted by Ctrl-C")
    assert process.popen.poll() is None
    assert process.end(signal.SIGINT) == 130


def test_an_interrupt_at_the_question_changes_nothing(terminal, file, emflow):  # noqa: F811
    code, shown = terminal("apply", file, answer="\x03")  # Ctrl-C, as a terminal sends it
    assert code == 130
    assert "Nothing was changed." in shown
    assert emflow("plan", file, "--detailed-exitcode").code == 3


def test_a_terminal_shows_a_tree_with_clocks_and_states(terminal, slow):
    code, shown = terminal("apply", slow.file, "--timeout", "15s", answer="y\n")
    assert code == 1
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert re.search(r"\+ compilation +[1-9]\d? s +(STARTING|INPROGRESS)", shown)
    assert re.search(r"\d of 13 +[1-9]\d? s", shown)


def test_an_interrupted_apply_goes_on_where_it_was(start, emflow, file):  # noqa: F811
    process = start(sys.executable, "-m", "emflow", "apply", str(file), "--yes")
    process.says("✓ access/role ")
    assert process.end(signal.SIGINT) in {0, 130}  # it may just have been done
    assert "Traceback" not in process.text()
    assert emflow("apply", file, "--yes").code == 0
    assert emflow("plan", file, "--detailed-exitcode").code == 0
