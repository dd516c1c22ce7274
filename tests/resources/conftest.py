"""An embedded AWS, real boto3 calls to it, and a workflow of its own for each test."""

from __future__ import annotations

import dataclasses
import os
import secrets
import threading
import urllib.request
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest

from emflow.engine.apply import ApplyResult, apply_plan
from emflow.engine.clients import Clients
from emflow.engine.plan import Plan, make_plan
from emflow.resources import desired_resources
from emflow.workflow import Workflow, load
from emflow_emulator.aws import REGION, EmbeddedAws
from emulator.aws.pieces import signed

ROOT = Path(__file__).parents[2]
READS = ("Get", "List", "Describe", "Head")

TEXT = """
apiVersion: emflow/v1
kind: Workflow
metadata: {{name: test-{number}}}
vars: {{thing: core-{number}}}
cloud:
  buckets:
    inference_results: {{name: emflow-test-{number}-sagemaker-results}}
    components: {{name: emflow-test-{number}-components}}
  role: {{name: role-{number}, alias: alias-{number}}}
  fleet: {{name: fleet-{number}, devices: ["{{{{ vars.thing }}}}"]}}
  model:
    name: scenes-224
    artifact: {model}
    inputs: {{input: [1, 224, 224, 3]}}
  compile: {{job: compile-{number}}}
  package:
    job: package-{number}
    component: {{name: model-component-{number}}}
  deployment:
    target: {{thing: "{{{{ vars.thing }}}}"}}
edge:
  component: {{name: application-{number}}}
  streams: [{{name: front, url: "rtspt://192.168.1.20/stream1"}}]
"""


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedAws]:
    # One a module: every plan searches what the tests before it have left, and took ten times as long at the end.
    with EmbeddedAws(port=0, job_seconds=0.1) as aws:
        yield aws


@pytest.fixture
def endpoint(embedded: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of somebody who works against the embedded AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", embedded.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", embedded.credentials.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", embedded.credentials.secret)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    return embedded.endpoint_url


@pytest.fixture(scope="module")
def client(embedded: EmbeddedAws) -> Callable[[str], Any]:
    """A boto3 client of a person at the console, beside the project's own."""
    session = boto3.Session(embedded.credentials.id, embedded.credentials.secret, region_name=REGION)
    return cache(lambda service: session.client(service, endpoint_url=embedded.endpoint_url))


@pytest.fixture
def file(tmp_path: Path, scenes_model: Path, endpoint: str, client: Callable[[str], Any]) -> Path:
    """A workflow file with names that no other test has; its core device is known to IoT."""
    number = secrets.token_hex(4)
    model = tmp_path / "scenes.tflite"
    model.write_bytes(scenes_model.read_bytes())
    path = tmp_path / "workflow.yaml"
    path.write_text(TEXT.format(number=number, model=model.name))
    client("iot").create_thing(thingName=f"core-{number}")
    return path


@pytest.fixture
def workflow(file: Path) -> Workflow:
    return load(file)


class Rollout:
    """One user: plans and applies workflows, and every call that this makes is written down."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._own: Clients | None = None

    def own(self, workflow: Workflow) -> Clients:
        """The same clients for everything that this user does: making them takes longer than most tests."""
        self._own = self._own or self.clients(workflow)
        return self._own

    def clients(self, workflow: Workflow) -> Clients:
        session = boto3.Session(region_name=workflow.aws.region)
        lock = threading.Lock()

        def note(model: Any, **_: Any) -> None:
            with lock:
                self.calls.append(f"{model.service_model.service_name}:{model.name}")

        session.events.register("before-call", note)
        return Clients(workflow.aws, session)

    def plan(self, workflow: Workflow, **how: Any) -> Plan:
        self.calls.clear()
        return make_plan(desired_resources(workflow, **how), self.own(workflow))

    def apply(self, workflow: Workflow, emit: Callable[[Any], None] = lambda event: None, **how: Any) -> ApplyResult:
        return apply_plan(self.plan(workflow, **how), self.own(workflow), emit)

    @property
    def changing_calls(self) -> list[str]:
        return [call for call in self.calls if not call.partition(":")[2].startswith(READS)]


@pytest.fixture(scope="module")
def user() -> Rollout:
    return Rollout()


@pytest.fixture
def rollout(endpoint: str, user: Rollout) -> Rollout:
    user.calls.clear()
    return user


@pytest.fixture
def slow_jobs(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rollout]:
    """One user of an AWS whose jobs take long enough to be seen at work by a slow machine too."""
    with EmbeddedAws(port=0, job_seconds=1.0) as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", aws.credentials.id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws.credentials.secret)
        yield Rollout()


@pytest.fixture
def report(embedded: EmbeddedAws, endpoint: str) -> Callable[..., None]:
    """What a core device says about itself, through the door that the virtual device uses."""

    def post(thing: str, deployment: str, status: str, health: str = "HEALTHY", **details: Any) -> None:
        body = {
            "coreVersion": "2.12.6",
            "platform": "linux",
            "architecture": "amd64",
            "status": health,
            "components": [],
            "deployment": {"deploymentId": deployment, "coreDeviceExecutionStatus": status, **details},
        }
        request = signed(f"{endpoint}/_emflow/cores/{thing}", body, embedded.credentials)
        urllib.request.urlopen(request, timeout=60).close()

    return post


def within(workflow: Workflow, place: str, **values: Any) -> Workflow:
    """A workflow with other values at a place, such as `within(w, "cloud.model", version="2.0")`."""

    def put(part: Any, steps: list[str]) -> Any:
        if not steps:
            return dataclasses.replace(part, **values)
        return dataclasses.replace(part, **{steps[0]: put(getattr(part, steps[0]), steps[1:])})

    return put(workflow, place.split("."))


def another(workflow: Workflow) -> Workflow:
    """The same under the name of another workflow, which no other test has."""
    return within(workflow, "metadata", name=f"another-{workflow.metadata.name}")
