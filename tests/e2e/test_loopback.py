"""Every port that `emflow up` and `emflow local --core` open, and every process of theirs: nobody gets in unasked.

Ports and processes are looked up, not listed here: a port that is opened later is asked the same.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import ROOT
from emflow_schema.agent_socket import CORE_SOCKET
from support import LONG_START, PATIENCE, exported, free_port, processes_of, until

pytestmark = pytest.mark.e2e

DEMO = ROOT / "workflows" / "demo.yaml"
THING = "iMX8MPEVK-Core-001"
PLANTED = "planted-0123456789-of-the-users-own-account"
USERS = {
    "AWS_ACCESS_KEY_ID": PLANTED,
    "AWS_SECRET_ACCESS_KEY": PLANTED,
    "AWS_SESSION_TOKEN": PLANTED,
    "AWS_SECURITY_TOKEN": PLANTED,
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:9/{PLANTED}",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": PLANTED,
    "AWS_WEB_IDENTITY_TOKEN_FILE": f"/{PLANTED}",
    "AWS_ROLE_ARN": f"arn:aws:iam::123456789012:role/{PLANTED}",
    "AWS_BEARER_TOKEN_BEDROCK": PLANTED,
}
"""What somebody who works with AWS may have in the environment; configuration files are in HOME."""

PATHS = (
    "/",
    "/_emflow/health",
    f"/_emflow/cores/{THING}",
    "/2016-11-01/credentialprovider/",
    "/metrics",
    "/status",
    "/streams/front.jpg",
    "/greengrass/v2/components?X-Amz-Credential=x/20260101/us-east-1/greengrass/aws4_request",
)


@dataclass(frozen=True)
class Run:
    """What was started, and what it lets in. process: the one that a user started, the parent of all others."""

    process: int
    scratch: Path
    lets_in: dict[str, str]

    @property
    def children(self) -> list[int]:
        return [pid for pid in processes_of(self.scratch) if pid != self.process]


@pytest.fixture(scope="module", params=["up", "local"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """The demo on a device of `emflow up`, or on that of an `emflow local`, with a page of its own on a free port."""
    scratch = Path(tempfile.mkdtemp(prefix="t-"))
    home = scratch / "home" / ".aws"
    home.mkdir(parents=True)
    for name in ("config", "credentials"):
        section = "[default]\n" if name == "credentials" else "[profile default]\n"
        text = f"{section}aws_access_key_id = {PLANTED}\naws_secret_access_key = {PLANTED}\n"
        (home / name).write_text(text)
    page = free_port()
    workflow = scratch / "demo.yaml"
    shutil.copytree(DEMO.parent / "models", scratch / "models")
    text = DEMO.read_text().replace(CORE_SOCKET, f"{scratch}/agent.sock")
    assert text.count("port: 0  ") == 1
    workflow.write_text(text.replace("port: 0  ", f"port: {page}  "))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**kept, **USERS, "TMPDIR": str(scratch), "HOME": str(scratch / "home")}
    started = {
        "up": ("up", str(workflow)),
        "local": ("local", "--port", "0", "--mqtt-port", "0", "--core", THING, "--job-seconds", "0.3"),
    }[request.param]
    output = scratch / "output"
    with output.open("wb") as sink:
        command = [sys.executable, "-u", "-m", "emflow", *started]
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=environment)
    try:
        until(
            lambda: process.poll() is not None or "credentials   " in output.read_text(), what="a file of credentials"
        )
        lets_in = exported(next(scratch.glob("emflow-*/credentials.sh")).read_text())
        if request.param == "local":
            until(lambda: "Ctrl-C ends it" in output.read_text(), what="the start")
            apply = [sys.executable, "-m", "emflow", "apply", str(workflow), "--yes", "--wait"]
            done = subprocess.run(apply, env={**kept, **lets_in}, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: page in listening(processes_of(scratch)), LONG_START, f"the device's page\n{output.read_text()}")
        yield Run(process.pid, scratch, lets_in)
    finally:
        process.terminate()
        process.wait(LONG_START)
        shutil.rmtree(scratch, ignore_errors=True)


def listening(pids: list[int]) -> dict[int, str]:
    """The TCP ports that these processes listen on, with their addresses, as proc(5) tells."""
    held = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    held.add(str(entry.readlink()))
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in held:
                address, _, port = fields[1].rpartition(":")
                found[int(port, 16)] = address
    return found


def answer(port: int, sent: bytes) -> bytes:
    """What comes back within a few seconds; nothing when it is hung up on."""
    data = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as one, contextlib.suppress(OSError):
        one.settimeout(3)
        one.sendall(sent)
        one.shutdown(socket.SHUT_WR)
        while len(data) < 65536 and (more := one.recv(65536)):
            data += more
            if data.startswith(b"\x20\x02"):
                break
    return data


def http_request(method: str, path: str, host: str, body: bytes = b"", **headers: str) -> bytes:
    lines = {"Host": host, "Connection": "close", "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def test_no_port_answers_a_web_page_or_under_another_name(run: Run) -> None:
    ports = listening(processes_of(run.scratch))
    # The embedded AWS, the broker, the token exchange and the page; and the camera of `emflow up`.
    assert len(ports) >= 4
    assert set(ports.values()) == {"0100007F"}, "an address that is open to other machines"
    answered = []
    for port in ports:
        here, page = f"127.0.0.1:{port}", "http://127.0.0.1:9"
        for path in PATHS:
            requests = {
                "a read by a page": http_request("GET", path, here, Origin=page),
                "a read without an origin": http_request("GET", path, here, Origin="null"),
                "a form": http_request("POST", path, here, b"{}", Origin=page, Content_Type="text/plain"),
                "a form without its origin": http_request("POST", path, here, b"{}", Content_Type="text/plain"),
                "a question": http_request("OPTIONS", path, here, Origin=page, Access_Control_Request_Method="POST"),
                "another name": http_request("GET", path, f"rebound.example:{port}"),
                "two names": http_request("GET", path, f"{here}\r\nHost: rebound.example"),
                "a name in the target": http_request("GET", f"http://rebound.example{path}", here),
            }
            for kind, request in requests.items():
                back = answer(port, request)
                status = re.match(rb"\S+ (\d{3}) ", back)
                if (status and int(status[1]) < 400) or b"access-control" in back.lower():
                    answered.append((port, path, kind, back[:200]))
    assert not answered


def connect(name: bytes = b"", password: bytes = b"") -> bytes:
    """CONNECT of MQTT 3.1.1, section 3.1."""
    body = b"\x00\x04MQTT\x04" + (b"\xc2" if name else b"\x02") + b"\x00\x3c"
    fields = (b"somebody", name, password) if name else (b"somebody",)
    body += b"".join(len(field).to_bytes(2, "big") + field for field in fields)
    return b"\x10" + bytes([len(body)]) + body


def test_no_port_takes_an_mqtt_client_that_does_not_know_the_password(run: Run) -> None:
    ports = listening(processes_of(run.scratch))
    name, password = run.lets_in["EMFLOW_MQTT_USERNAME"].encode(), run.lets_in["EMFLOW_MQTT_PASSWORD"].encode()
    accepted = b"\x20\x02\x00\x00"
    for port in ports:
        for sent in (connect(), connect(name, b"wrong"), connect(b"wrong", password), connect(name)):
            assert not answer(port, sent).startswith(b"\x20\x02\x00\x00"), (port, sent)
    known = connect(name, password)
    until(lambda: any(answer(port, known) == accepted for port in ports), what="the broker's answer to whom it knows")


def test_no_process_has_the_users_own_credentials(run: Run) -> None:
    assert len(run.children) >= 4
    for pid in run.children:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert PLANTED.encode() not in environment, Path(f"/proc/{pid}/cmdline").read_bytes()


def test_no_command_line_shows_what_lets_one_in(run: Run) -> None:
    secrets = run.lets_in["AWS_SECRET_ACCESS_KEY"], run.lets_in["EMFLOW_MQTT_PASSWORD"]
    for pid in processes_of(run.scratch):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert not [secret for secret in secrets if secret.encode() in command]


def test_no_file_that_others_can_read_holds_what_lets_one_in(run: Run) -> None:
    secrets = run.lets_in["AWS_SECRET_ACCESS_KEY"], run.lets_in["EMFLOW_MQTT_PASSWORD"]
    holding = []
    for file in run.scratch.glob("emflow-*/**/*"):
        if file.is_file() and any(secret.encode() in file.read_bytes() for secret in secrets):
            holding.append(file)
            assert file.stat().st_mode & 0o077 == 0, file
            assert file.parent.stat().st_mode & 0o077 == 0, file
    assert holding
