"""`emflow local` as a user starts it, and the workflow commands against it: what AWS would have made is made here."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import boto3
import pytest

from conftest import ROOT
from support import Process, exported, let_in

pytestmark = pytest.mark.e2e

WORKSHOP = ROOT / "workflows" / "imx8mplus-mobilenetv2.yaml"
DEMO = ROOT / "workflows" / "demo.yaml"
THING = "iMX8MPEVK-Core-001"

Emflow = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def aws(python: Callable[..., Process], monkeypatch: pytest.MonkeyPatch) -> str:
    """An `emflow local` with one core device; this process's boto3 and everything it starts go there."""
    local = python("emflow", "local", "--port", "0", "--mqtt-port", "0", "--core", THING, "--job-seconds", "0.3")
    exports = exported(local.says("Ctrl-C ends it"))
    let_in(monkeypatch, exports)
    return exports["AWS_ENDPOINT_URL"]


@pytest.fixture
def workshop(shared_data: Path, tmp_path: Path) -> list[str]:
    """The workshop's workflow with the model archive and the labels it asks for."""
    archive = tmp_path / "mobilenet_v2_1.0_224_quant.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(shared_data / "models" / "mobilenet_v2_1.0_224_quant.tflite", "mobilenet_v2_1.0_224_quant.tflite")
    labels = shared_data / "models" / "imagenet_labels_1001.txt"

    return [str(WORKSHOP), "--root", "/", "--var", f"model_archive={archive}", "--var", f"labels={labels}"]


def emflow(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "emflow", *args], capture_output=True, text=True, check=False)


def test_the_workshop_is_applied_completely_and_only_once(aws: str, workshop: Sequence[str]) -> None:
    first = emflow("apply", *workshop, "--yes", "--wait")
    assert first.returncode == 0, first.stdout + first.stderr
    greengrass = boto3.client("greengrassv2", region_name="us-east-1")
    (summary,) = greengrass.list_deployments()["deployments"]
    assert (summary["deploymentName"], summary["deploymentStatus"]) == ("Deployment for ML using EM", "COMPLETED")
    assert greengrass.get_core_device(coreDeviceThingName=THING)["status"] == "HEALTHY"
    installed = greengrass.list_installed_components(coreDeviceThingName=THING)["installedComponents"]
    states = {each["componentName"]: each["lifecycleState"] for each in installed}
    assert states["aws.greengrass.SageMakerEdgeManager"] == "RUNNING"
    assert states["aws.sagemaker.edgeManagerClientCameraIntegration"] == "RUNNING"
    assert "mobilenetv2_224_quantized_model_component" in states

    second = emflow("apply", *workshop, "--yes", "--wait")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "0 changes" in second.stdout
    assert emflow("plan", *workshop, "--detailed-exitcode").returncode == 0

    gone = emflow("destroy", *workshop, "--yes", "--delete-data")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    assert boto3.client("iam").list_roles()["Roles"] == []
    assert boto3.client("sagemaker", region_name="us-east-1").list_device_fleets()["DeviceFleetSummaries"] == []
    again = emflow("destroy", *workshop, "--yes", "--delete-data")
    assert again.returncode == 0, again.stdout + again.stderr


FAILS = """\
RecipeFormatVersion: "2020-01-25"
ComponentName: {{ component.name | quoted }}
ComponentVersion: {{ version | quoted }}
Manifests:
  - Platform: {os: linux, runtime: "*"}
    Artifacts: []
    Lifecycle: {run: "echo the lens cap is on; exit 3"}
"""


def test_a_deployment_that_fails_on_the_device_is_reported_with_its_reason(
    aws: str, tmp_path: Path, scenes_model: Path
) -> None:
    # It ends three times, and is broken.
    workflow = tmp_path / "demo.yaml"
    shutil.copytree(scenes_model.parent, tmp_path / "models")
    (tmp_path / "recipe.yaml").write_text(FAILS)
    workflow.write_text(DEMO.read_text() + "components: [{name: com.example.Fails, recipe: recipe.yaml}]\n")
    done = emflow("apply", str(workflow), "--yes", "--wait")
    assert done.returncode == 1, done.stdout + done.stderr
    told = done.stdout + done.stderr
    assert "FAILED" in told
    assert "com.example.Fails" in told
    assert "the lens cap is on" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_on_request_and_frees_its_ports(python: Callable[..., Process], number: int) -> None:
    local = python("emflow", "local", "--port", "0", "--mqtt-port", "0")
    said = local.says("Ctrl-C ends it")
    ports = [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", said)]
    assert local.end(number) == 0, local.text()
    for port in set(ports):
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("option", ["--port", "--mqtt-port"])
def test_a_port_that_is_taken_is_reported_with_the_way_out(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {"--port": "0", "--mqtt-port": "0", option: port}
        done = emflow("local", *(word for pair in ports.items() for word in pair))
    assert done.returncode == 1
    assert port in done.stderr
    assert option in done.stderr
    assert "Traceback" not in done.stderr
