"""`emflow init`: what it writes validates, says what was asked for, and is never written over something."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from emflow.workflow import load
from emflow.workflow.aws_regions import NEO_DEVICES


def test_what_it_writes_validates_and_can_be_rendered(emflow, tmp_path: Path) -> None:
    ran = emflow("init", "--yes")
    assert ran.code == 0
    assert ran.out.startswith("workflow.yaml is written.")
    assert emflow("validate", "workflow.yaml").code == 0
    assert emflow("render", "workflow.yaml", "--stdout").code == 0
    lines = (tmp_path / "workflow.yaml").read_text().splitlines()
    assert sum("#" in line for line in lines) > 30  # commented


def test_where_nobody_can_be_asked_it_wants_every_answer_or_yes(emflow, tmp_path: Path) -> None:
    ran = emflow("init", "--name", "hall", "--camera", "rtsp://cam/1")
    assert ran.code == 2
    assert "(--prefix, --region, --target, --thing, --model, --labels, --topic)" in ran.err
    assert "emflow init --yes" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_every_flag_reaches_the_workflow(emflow, tmp_path: Path) -> None:
    ran = emflow(
        *("init", "-o", "flows/hall.yaml", "--name", "hall_3", "--target", "imx8qm", "--thing", "Core-7"),
        *("--provider", "edge-manager", "--region", "eu-central-1", "--prefix", "acme", "--camera", "rtsp://cam/7"),
        *("--model", "models/net.tflite", "--labels", "models/names.txt", "--class-offset", "1", "--topic", "hall/3"),
    )
    assert ran.code == 0
    assert "put the file flows/models/net.tflite there" in ran.out
    workflow = load(tmp_path / "flows" / "hall.yaml")
    cloud, edge = workflow.cloud, workflow.edge
    assert (workflow.metadata.name, workflow.aws.region) == ("hall_3", "eu-central-1")
    assert cloud.compile.target_device == "imx8qm"
    assert cloud.compile.job == "hall-3-compile"
    assert (cloud.fleet.devices, cloud.deployment.target.thing) == (("Core-7",), "Core-7")
    assert cloud.buckets.components.name == "acme-gg-components"
    assert (cloud.model.name, cloud.model.artifact) == ("net", "models/net.tflite")
    assert (edge.streams[0].url, edge.publish.topic) == ("rtsp://cam/7", "hall/3")
    assert (edge.model_io.labels, edge.model_io.class_offset) == ("models/names.txt", 1)


def test_the_inputs_are_those_of_the_model_that_is_there(emflow, tmp_path: Path, scenes_model: Path) -> None:
    (tmp_path / "scenes.tflite").write_bytes(scenes_model.read_bytes())
    assert emflow("init", "--yes", "--model", "scenes.tflite").code == 0
    assert load(tmp_path / "workflow.yaml").cloud.model.inputs == {"input": (1, 224, 224, 3)}
    assert "uint8" not in (tmp_path / "workflow.yaml").read_text()


@pytest.mark.parametrize("text", ["on", "1.0", "a: b", "it's #1", "null", 'say "x"'])
def test_an_answer_that_yaml_would_misread_comes_through(emflow, tmp_path: Path, text: str) -> None:
    assert emflow("init", "--yes", "--camera", f"rtsp://cam/{text.replace(' ', '%20')}", "--labels", text).code == 0
    assert load(tmp_path / "workflow.yaml").edge.model_io.labels == text


@pytest.mark.parametrize("target", sorted(NEO_DEVICES))
def test_every_board_of_neo_can_be_begun_with(target: str) -> None:
    from emflow.recipes.init_template import Answers, check_text, workflow_text

    file = Path("workflow.yaml")
    workflow = check_text(workflow_text(Answers(target=target), file), file).workflow
    assert workflow.cloud.compile.target_device == target


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--thing", "Core_7"), "EM030"),
        (("--prefix", "Not A Bucket"), "EM031"),
        (("--provider", "nobody"), "'nobody' is not a provider"),
        (("--camera", "ftp://cam"), "an address with ftp:"),
    ],
)
def test_a_wrong_answer_is_refused_and_nothing_is_written(
    emflow, tmp_path: Path, args: tuple[str, ...], why: str
) -> None:
    ran = emflow("init", "--yes", *args)
    assert ran.code == 2
    assert why in ran.err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_overwritten_only_with_force(emflow, tmp_path: Path) -> None:
    (tmp_path / "workflow.yaml").write_text("mine\n")
    ran = emflow("init", "--yes")
    assert (ran.code, "--force" in ran.err) == (2, True)
    assert (tmp_path / "workflow.yaml").read_text() == "mine\n"
    assert emflow("init", "--yes", "--force").code == 0
    assert "apiVersion" in (tmp_path / "workflow.yaml").read_text()


def test_a_place_that_cannot_be_written_is_reported(emflow, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    ran = emflow("init", "--yes", "-o", "taken/workflow.yaml")
    assert ran.code == 1
    assert "cannot be written" in ran.err


def test_a_file_that_is_not_a_model_is_reported(emflow, tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_text("no model")
    ran = emflow("init", "--yes", "--model", "x.tflite")
    assert ran.code == 1
    assert "x.tflite: no TFLite model" in ran.err
    assert not (tmp_path / "workflow.yaml").exists()


def test_on_a_terminal_it_asks_and_asks_again_when_the_answer_breaks_a_rule(tmp_path: Path) -> None:
    terminal, other = pty.openpty()
    command = [sys.executable, "-m", "emflow", "init", "--prefix", "acme", "--camera", "rtsp://cam/1"]
    process = subprocess.Popen(command, cwd=tmp_path, stdin=other, stdout=other, stderr=other)
    os.close(other)
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        deadline = time.monotonic() + 30
        while text not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 4096).decode()

    def answer(question: str, text: str) -> None:
        nonlocal shown
        until(question)
        shown = shown.partition(question)[2]
        until("]: ")
        os.write(terminal, f"{text}\n".encode())

    answer("Name of the workflow", "hall")
    answer("AWS region", "")
    answer("Board", "imx8mplus")
    answer("Thing name", "Core_7")
    until("an underscore")
    answer("Thing name", "Core-7")
    answer("Model", "")
    answer("Labels", "")
    answer("MQTT topic", "hall/1")
    until("emflow plan workflow.yaml")
    assert process.wait(60) == 0
    os.close(terminal)
    workflow = load(tmp_path / "workflow.yaml")
    assert (workflow.metadata.name, workflow.edge.publish.topic) == ("hall", "hall/1")
    assert workflow.cloud.deployment.target.thing == "Core-7"
    assert workflow.cloud.buckets.components.name == "acme-gg-components"


def on_a_terminal(folder: Path, *args: str, answer: bytes = b"") -> tuple[int, str]:
    """Run `emflow init` on a terminal that answers the first question; the exit code, and all that was shown.

    The answer is given until it is heard, as a person would: CPython shows the prompt before it waits for input, and a
    signal between the two is only marked, and taken with the next one.
    """
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "emflow", "init", *args]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal
    )
    os.close(follower)
    shown = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if select.select([leader], [], [], 0.5)[0]:
            try:
                shown += os.read(leader, 4096)
            except OSError:  # Linux's way of saying that nobody writes any more
                break
        elif answer and b"]: " in shown:
            os.write(leader, answer)
    else:
        process.kill()
        pytest.fail(f"it did not end; it showed: {shown.decode()}")
    code = process.wait(60)  # before the terminal is closed, which would be a signal of its own
    os.close(leader)
    return code, shown.decode()


def test_a_wrong_flag_is_reported_before_anything_is_asked(tmp_path: Path) -> None:
    code, shown = on_a_terminal(tmp_path, "--thing", "Core_7")
    assert code == 2
    assert "EM030 cloud.fleet.devices[0] cannot be 'Core_7'" in shown
    assert "Name of the workflow" not in shown


@pytest.mark.parametrize(("key", "code"), [(b"\x03", 130), (b"\x04", 1)], ids=["Ctrl-C", "end of input"])
def test_whoever_does_not_answer_ends_it_and_nothing_is_written(tmp_path: Path, key: bytes, code: int) -> None:
    ended, shown = on_a_terminal(tmp_path, answer=key)
    assert ended == code
    assert "emflow: nothing was written" in shown
    assert list(tmp_path.iterdir()) == []
