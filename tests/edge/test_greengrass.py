"""The component as Greengrass runs it: configured, publishing and telling its state on the virtual core's IPC."""

import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.chaos import Footprint, settled
from edge.greengrass_core import THING, Core, publishing
from edge.http_camera import camera
from emflow_emulator.core.secrets import Secret
from emulator.core.ipc_device import access
from support import PATIENCE, Process, signal_another_thread, until

if TYPE_CHECKING:
    from edge.conftest import Edge

pytestmark = pytest.mark.e2e
ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf"
LOST = "lost the connection to the Greengrass nucleus"


@pytest.fixture
def core(tmp_path: Path, python: Callable[..., Process]) -> Iterator[Core]:
    core = Core(tmp_path, python)
    yield core
    core.close()


def deployed(edge: "Edge", url: str, *topics: str) -> dict[str, Any]:
    return {
        **publishing(*topics),
        "modelName": "scenes",
        "agentSocket": str(edge.socket),
        "captureData": "False",
        "streams": [{"name": "front", "url": url, "every": "100ms"}],
        "modelIO": {"color": "rgb", "resize": "stretch", "labels": "labels.txt", "classOffset": "0", "topK": "3"},
        "publish": {"topic": "em/inference", "qos": "1"},
        "version": "1.0.3",
    }


@pytest.fixture
def labelled(edge: "Edge", scenes_model: Path) -> tuple[str, ...]:
    """The arguments of a component's recipe, with labels in the assets."""
    (edge.folder / "labels.txt").write_bytes(scenes_model.with_name("scenes_labels.txt").read_bytes())
    return "-c", str(edge.model), "--assets", str(edge.folder)


def test_a_deployed_component_is_configured_and_publishes_over_ipc(
    edge: "Edge", core: Core, labelled: tuple[str, ...], scenes_model: Path
) -> None:
    edge.agent()
    core.deploy(deployed(edge, edge.camera()[1]))
    process = core.run(*labelled)
    for sequence, message in enumerate(core.results(3)[:3]):
        assert (message["sequence"], message["stream"], message["model_name"]) == (sequence, "front", "scenes")
        assert (message["thing"], message["version"]) == (THING, "1.0.3")
        assert message["label"] in scenes_model.with_name("scenes_labels.txt").read_text().splitlines()
    assert {qos for _, _, qos, _ in core.device.published} == {1}
    assert process.end() == 0
    assert "Traceback" not in process.text()


def test_a_deployment_made_by_hand_with_the_workshops_keys_works(edge: "Edge", core: Core) -> None:
    edge.agent()
    core.deploy(
        {
            **publishing(),
            "rtspStreamURL": edge.camera()[1].replace("rtsp://", "rtspt://"),
            "modelComponentName": f"{edge.model}/",
            "modelName": "scenes",
            "quantization": "True",
            "captureData": "False",
        }
    )
    process = core.run("--agent-socket", str(edge.socket))
    assert {"index", "confidence", "performance", "model_name"} <= core.results(1)[0].keys()
    assert process.end() == 0


def test_a_topic_that_access_control_does_not_allow_is_said_and_nothing_breaks(
    edge: "Edge", core: Core, labelled: tuple[str, ...]
) -> None:
    edge.agent()
    core.deploy(deployed(edge, edge.camera()[1], "em/other"))
    process = core.run(*labelled)
    assert "em/inference" in process.says("results cannot be published: ").partition("cannot be published: ")[2]
    assert process.end() == 0
    assert process.text().count("cannot be published") == 1
    assert core.device.published == []


def test_it_is_running_from_its_first_result_on(
    edge: "Edge", core: Core, labelled: tuple[str, ...], absent_port: int
) -> None:
    core.deploy(deployed(edge, f"rtsp://127.0.0.1:{absent_port}/front"))
    process = core.run(*labelled)
    process.says("cannot be reached (Connection refused)")
    edge.agent()
    process.says("model scenes loaded")
    assert core.states == []
    edge.camera(port=absent_port)
    until(lambda: core.states == ["RUNNING"])
    core.results(3)
    assert process.end() == 0
    assert core.states == ["RUNNING"]


@pytest.mark.parametrize(
    ("change", "code"), [({"modelName": "no name"}, 2), ({"modelComponentName": "/nowhere/at/all"}, 1)]
)
def test_what_ends_it_is_reported_as_errored_and_by_the_exit_code(
    edge: "Edge", core: Core, change: dict[str, Any], code: int
) -> None:
    edge.agent()
    config = deployed(edge, edge.camera()[1]) | {"modelIO": {}, "modelComponentName": f"{edge.model}/"}
    core.deploy(config | change)
    process = core.run()
    assert process.ended() == code
    assert core.states == ["ERRORED"]
    assert "Traceback" not in process.text()


def test_a_nucleus_that_is_back_gets_the_state_and_is_asked_for_changes(
    edge: "Edge", core: Core, labelled: tuple[str, ...]
) -> None:
    edge.agent()
    config = deployed(edge, edge.camera()[1])
    core.deploy(config)
    process = core.run(*labelled)
    core.results(2)
    core.stop()
    process.says(LOST)
    core.device.states.clear()
    core.deploy(config | {"version": "2.0.0"})
    core.start()
    core.results(2, version="2.0.0")
    until(lambda: core.states == ["RUNNING"])
    core.deploy(config | {"version": "3.0.0"})
    core.results(2, version="3.0.0")
    assert process.end() == 0
    assert "Traceback" not in process.text()


@pytest.mark.alone
def test_reconnecting_to_the_nucleus_leaks_no_descriptor_and_no_thread(
    edge: "Edge", core: Core, labelled: tuple[str, ...]
) -> None:
    edge.agent()
    core.deploy(deployed(edge, edge.camera()[1]))
    process = core.run(*labelled)
    core.results(2)
    for round_ in range(6):
        core.stop()
        until(lambda round_=round_: process.text().count(LOST) > round_)
        core.hang_up(3)
        core.start()
        core.results(5)
        if round_ == 1:
            # By now everything runs that will, and nothing any more that is there for the start only.
            first = Footprint(process.popen.pid)

    def as_before(now: Footprint) -> bool:
        return len(now.open) <= len(first.open) and now.threads <= first.threads

    late = settled(process.popen.pid, as_before, timeout=PATIENCE)
    assert as_before(late), [*first.open, f"{first.threads} threads", "then", *late.open, f"{late.threads} threads"]
    assert process.end() == 0


def test_a_nucleus_that_comes_late_is_waited_for(edge: "Edge", core: Core, labelled: tuple[str, ...]) -> None:
    edge.agent()
    core.deploy(deployed(edge, edge.camera()[1]))
    core.stop()
    process = core.run(*labelled)
    process.says("cannot connect to the Greengrass nucleus")
    core.start()
    core.results(2)
    assert process.end() == 0
    assert process.text().count("retrying until it can be reached") == 1
    assert "Traceback" not in process.text()


def test_it_ends_cleanly_while_the_nucleus_is_away(core: Core) -> None:
    core.stop()
    process = core.run()
    process.says("retrying until it can be reached")
    assert process.end() == 0
    assert "Traceback" not in process.text()


def test_a_signal_to_any_thread_ends_it_at_once_while_a_nucleus_hangs(core: Core, tmp_path: Path) -> None:
    core.stop()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "ipc.socket"))
        listener.listen()
        process = core.run()
        hanging, _ = listener.accept()
        with hanging:
            signal_another_thread(process.popen.pid, signal.SIGTERM)
            # Without the signal, it would wait for the nucleus for ten seconds.
            assert process.ended(8) == 0
    assert "Traceback" not in process.text()


@pytest.mark.parametrize("binary", [False, True])
def test_a_cameras_password_comes_from_a_secret_and_a_new_one_after_it_was_refused(
    edge: "Edge", core: Core, labelled: tuple[str, ...], binary: bool
) -> None:
    def keep(password: str) -> None:
        value = json.dumps({"username": "viewer", "password": password})
        kept = value.encode() if binary else value
        core.device.secrets[ARN] = Secret(ARN, "camera", password, ("AWSCURRENT",), kept)

    edge.agent()
    keep("old-secret")
    with camera("viewer", "new-secret") as guarded:
        config = deployed(edge, guarded.url)
        config["accessControl"] |= access("aws.greengrass.SecretManager", ["GetSecretValue"], [ARN])["accessControl"]
        config["streams"][0]["credentials"] = {"secret": ARN}
        core.deploy(config)
        process = core.run(*labelled)
        until(lambda: guarded.refused)
        keep("new-secret")
        core.results(2)
        assert process.end() == 0
    assert "-secret" not in process.text()


@pytest.mark.parametrize(
    ("mode", "reason"), [(0o600, ""), (0o640, "other users can read"), (0o000, "the secret camera is not in")]
)
def test_without_greengrass_a_camera_password_comes_from_a_private_file(
    edge: "Edge", python: Callable[..., Process], mode: int, reason: str
) -> None:
    edge.agent()
    secrets, config = edge.folder / "secrets.json", edge.folder / "config.json"
    held = {"username": "viewer", "password": "its-secret"}
    secrets.write_text(json.dumps({"camera" if mode else "other": held}))
    secrets.chmod(mode or 0o600)
    with camera("viewer", "its-secret") as guarded:
        stream = {"name": "front", "url": guarded.url, "every": "0s", "credentials": {"secret": "camera"}}
        settings = {"modelName": "scenes", "modelComponentName": f"{edge.model}/", "agentSocket": str(edge.socket)}
        config.write_text(json.dumps({**settings, "streams": [stream]}))
        process = python("emflow_edge", "--config", str(config), "--secrets", str(secrets))
        if reason:
            process.says(reason)
        else:
            edge.results(process, 2)
        assert process.end() == 0
    assert "its-secret" not in process.text()


def test_a_nucleus_that_does_not_let_it_in_ends_it_with_one_line(core: Core, tmp_path: Path) -> None:
    process = core.run(token="nobody's")
    assert process.ended() == 1
    assert (
        f"emflow-edge: cannot connect to the Greengrass nucleus at {tmp_path}/ipc.socket: Connection access denied"
        in process.text()
    )
    assert "Traceback" not in process.text()


def test_a_configuration_without_streams_ends_it_with_one_line(core: Core) -> None:
    core.deploy({"modelName": "scenes", "modelComponentName": "model"})
    process = core.run()
    assert process.ended() == 2
    assert process.text().strip() == "emflow-edge: streams: there is none; give at least one, or rtspStreamURL, or -s"
    assert core.states == ["ERRORED"]
