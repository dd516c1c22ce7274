"""A web page in a real browser, of another origin on this machine: it cannot run anything, and reads nothing."""

from __future__ import annotations

import base64
import http.server
import json
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from conftest import ROOT
from support import LONG_START, Process, exported, free_port, until

pytestmark = pytest.mark.peer

DEMO = ROOT / "workflows" / "demo.yaml"
THING = "iMX8MPEVK-Core-001"
SECRET = "a-secret-that-no-page-may-read"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)

PAGE = """<!doctype html><title>somebody's page</title><script>
const asked = %s, read = [];
const pause = seconds => new Promise(done => setTimeout(done, 1000 * seconds));
async function read_from(what, url, options) {
  try {
    const answer = await fetch(url, {...options, signal: AbortSignal.timeout(5000)});
    read.push([what, await answer.text()]);
  } catch (error) { /* the browser does not let the page have it, or nothing comes back */ }
}
async function main() {
  const simple = {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}};
  const scope = service => "?X-Amz-Credential=x/20260101/us-east-1/" + service + "/aws4_request";
  const greengrass = asked.endpoint + "/greengrass/v2/";
  await fetch(greengrass + "createComponentVersion" + scope("greengrass"), {...simple, body: asked.component});
  await pause(3);
  await fetch(greengrass + "deployments" + scope("greengrass"), {...simple, body: asked.deployment});
  for (const kind of ["text/plain", "application/x-amz-json-1.1"]) {
    const headers = {"Content-Type": kind, "X-Amz-Target": "secretsmanager.GetSecretValue"};
    const body = JSON.stringify({SecretId: "a-secret"});
    await read_from("secret", asked.endpoint + "/" + scope("secretsmanager"), {method: "POST", headers, body});
  }
  await read_from("buckets", asked.endpoint + "/");
  await read_from("health", asked.endpoint + "/_emflow/health");
  await read_from("broker", asked.broker);
  for (const path of ["metrics", "status", "streams/front.jpg"]) {
    if (asked.page) { await read_from(path, asked.page + "/" + path); }
  }
  await fetch("/told", {method: "POST", body: JSON.stringify(read)});
}
main().catch(error => fetch("/told", {method: "POST", body: JSON.stringify([["error", String(error)]])}));
</script>"""


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A short folder for temporary files: Unix sockets allow 107 bytes of path."""
    folder = Path(tempfile.mkdtemp(prefix="t-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def visit(scratch: Path, chromium: str, start: Callable[..., Process]) -> Iterator[Callable[..., dict[str, str]]]:
    """Open somebody's page in the browser; gives what the page could read, by what it asked for."""
    told: queue.Queue[list[tuple[str, str]]] = queue.Queue()
    asked: dict[str, Any] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer((PAGE % json.dumps(asked)).encode() if self.path == "/" else b"")

        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()

    def visit(**places: str) -> dict[str, str]:
        asked.update(places)
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        browser = start(chromium, *FLAGS, f"--user-data-dir={scratch}/profile", url)
        until(lambda: not told.empty(), LONG_START, f"the page's word\n{browser.text()}")
        return dict(told.get())

    yield visit
    server.shutdown()
    thread.join()
    server.server_close()


def runs(command: str) -> dict[str, str]:
    """The two requests that make the device run a command."""
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "com.example.FromAPage",
        "ComponentVersion": "1.0.0",
        "Manifests": [{"Platform": {"os": "linux", "runtime": "*"}, "Lifecycle": {"run": command}}],
    }
    component = {"inlineRecipe": base64.b64encode(json.dumps(recipe).encode()).decode()}
    deployment = {
        "targetArn": f"arn:aws:iot:us-east-1:123456789012:thing/{THING}",
        "components": {"com.example.FromAPage": {"componentVersion": "1.0.0"}},
    }
    return {"component": json.dumps(component), "deployment": json.dumps(deployment)}


def found(text: str, name: str) -> str:
    """The address that a command's output gives in the line of this name."""
    return next(line.split(name)[1].split()[0] for line in text.splitlines() if name in line)


def deployed_by_hand(endpoint: str, key: tuple[str, str], run: str) -> None:
    """Deploy after the page: when this one has run, whatever the page asked for has had its turn."""
    session = boto3.Session(*key, region_name="us-east-1")
    greengrass = session.client("greengrassv2", endpoint_url=endpoint)
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "com.example.ByHand",
        "ComponentVersion": "1.0.0",
        "Manifests": [{"Platform": {"os": "linux", "runtime": "*"}, "Lifecycle": {"run": run}}],
    }
    arn = greengrass.create_component_version(inlineRecipe=json.dumps(recipe).encode())["arn"]
    until(lambda: greengrass.describe_component(arn=arn)["status"]["componentState"] == "DEPLOYABLE")
    target = f"arn:aws:iot:us-east-1:123456789012:thing/{THING}"
    greengrass.create_deployment(targetArn=target, components={"com.example.ByHand": {"componentVersion": "1.0.0"}})


def test_a_page_neither_commands_nor_reads_an_emflow_local(
    visit: Callable[..., dict[str, str]], python: Callable[..., Process], scratch: Path
) -> None:
    environment = {**os.environ, "TMPDIR": str(scratch)}
    args = ("--port", "0", "--mqtt-port", "0", "--core", THING, "--job-seconds", "0.3")
    said = python("emflow", "local", *args, env=environment).says("Ctrl-C ends it")
    exports = exported(said)
    endpoint, key = exports["AWS_ENDPOINT_URL"], (exports["AWS_ACCESS_KEY_ID"], exports["AWS_SECRET_ACCESS_KEY"])
    manager = boto3.Session(*key, region_name="us-east-1").client("secretsmanager", endpoint_url=endpoint)
    manager.create_secret(Name="a-secret", SecretString=SECRET)
    ran, by_hand = scratch / "ran", scratch / "by-hand"

    broker = f"http://{found(said, 'MQTT broker')}/"
    read = visit(endpoint=endpoint, broker=broker, page="", **runs(f"id > {ran}"))
    deployed_by_hand(endpoint, key, f"id > {by_hand}")
    until(by_hand.exists, what="the command of whom it knows")

    assert (read, ran.exists()) == ({}, False)


def test_a_page_neither_commands_nor_reads_an_emflow_up(
    visit: Callable[..., dict[str, str]], python: Callable[..., Process], scratch: Path, scenes_model: Path
) -> None:
    page = free_port()
    workflow = scratch / "demo.yaml"
    shutil.copytree(scenes_model.parent, scratch / "models")
    text = DEMO.read_text()
    assert text.count("port: 0  ") == 1
    workflow.write_text(text.replace("port: 0  ", f"port: {page}  "))
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    up = python("emflow", "up", str(workflow), env=environment)
    up.says("✓", LONG_START)
    ran = scratch / "ran"

    said = up.text()
    places = {"endpoint": found(said, "embedded AWS"), "broker": f"http://{found(said, 'MQTT broker')}/"}
    read = visit(**places, page=f"http://127.0.0.1:{page}", **runs(f"id > {ran}"))
    # Whatever the page asked for has its turn within a few results, of which there is one a second.
    results = up.text().count("✓")
    until(lambda: ran.exists() or up.text().count("✓") >= results + 8, LONG_START, f"more results\n{up.text()}")

    assert (read, ran.exists()) == ({}, False)
