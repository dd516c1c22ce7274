from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from emflow_edge.results.sinks import Destination, destination
from emflow_edge.settings.config import Settings, settings
from emflow_edge.settings.flags import overlay, parse
from emflow_schema.errors import ConfigProblem

DEPLOYED = {
    "modelName": "mobilenet",
    "modelComponentName": "model_component",
    "streams": [{"name": "front", "url": "rtsp://front/1", "every": "2s"}, {"name": "back", "url": "rtsp://back/1"}],
    "modelIO": {"color": "bgr", "labels": "labels.txt"},
}


def settled(*arguments: str, config: Mapping[str, object] | None = None) -> Settings:
    return settings(overlay(dict(config or {}), parse(arguments)), Path("/assets"))


def test_the_workshops_command_line_is_enough() -> None:
    found = settled(
        *("-s", "rtspt://192.168.1.20/stream1", "-c", "mobilenetv2_224_quantized_model_component"),
        *("-m", "mobilenetv2-224-10-quant", "-q", "True", "-a", "False"),
    )
    (stream,) = found.streams
    assert (stream.url, stream.every.seconds) == ("rtspt://192.168.1.20/stream1", 1.0)
    assert found.model_folder == Path("/greengrass/v2/work/mobilenetv2_224_quantized_model_component")
    assert (found.model_name, found.quantized, found.capture.enabled) == ("mobilenetv2-224-10-quant", True, False)


def test_a_flag_wins_over_the_configuration_and_leaves_the_rest() -> None:
    found = settled("-m", "other", "--class-offset", "1", "--topic", "other/topic", config=DEPLOYED)
    assert (found.model_name, found.model_io.class_offset, found.publish.topic) == ("other", 1, "other/topic")
    assert (found.model_io.color, found.model_io.labels) == ("bgr", "/assets/labels.txt")
    assert [stream.name for stream in found.streams] == ["front", "back"]


def test_a_stream_on_the_command_line_takes_the_place_of_all() -> None:
    assert [stream.url for stream in settled("-s", "rtsp://other/1", config=DEPLOYED).streams] == ["rtsp://other/1"]


def test_every_is_for_all_streams() -> None:
    assert [stream.every.seconds for stream in settled("--every", "0", config=DEPLOYED).streams] == [0, 0]
    found = settled("-s", "rtsp://other/1", "--every", "250ms", config=DEPLOYED)
    assert [stream.every.seconds for stream in found.streams] == [0.25]


def test_labels_on_the_command_line_start_where_the_person_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settled("--labels", "mine.txt", config=DEPLOYED).model_io.labels == str(tmp_path / "mine.txt")


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--results", "0"], ["--results", "many"], ["-s"]])
def test_a_wrong_command_line_ends_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_destinations(tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    pem.touch()
    assert destination("stdout") == Destination("stdout")
    assert destination("mqtt://127.0.0.1:1884") == Destination("mqtt", "127.0.0.1", 1884)
    assert destination("mqtt://broker") == Destination("mqtt", "broker", 1883)
    assert destination("mqtts://endpoint", pem, pem, pem) == Destination("mqtt", "endpoint", 8883, True, pem, pem, pem)


def test_the_brokers_user_comes_from_the_environment_and_is_not_shown() -> None:
    user = {"EMFLOW_MQTT_USERNAME": "me", "EMFLOW_MQTT_PASSWORD": "of-mine"}
    to = destination("mqtt://broker", environment=user)
    assert (to.username, to.password) == ("me", "of-mine")
    assert "of-mine" not in repr(to)
    nobody = destination("mqtt://broker", environment=dict.fromkeys(user, ""))
    assert (nobody.username, nobody.password) == (None, None)
    for name in user:
        with pytest.raises(ConfigProblem, match="belong together"):
            destination("mqtt://broker", environment={name: user[name]})


@pytest.mark.parametrize(
    ("text", "files", "message"),
    [
        ("kafka://broker", {}, "--publish: has to be"),
        ("mqtt://", {}, "--publish: has to be"),
        ("mqtt://user:secret@broker", {}, "--publish: has to be"),
        ("mqtt://broker:port", {}, "--publish: has to be"),
        ("mqtts://broker", {"cert": "none.pem", "key": "none.pem"}, "--cert: there is no file"),
        ("mqtts://broker", {"cert": "a.pem"}, "--cert and --key belong together"),
        ("mqtt://broker", {"ca": "a.pem"}, "--cert, --key and --ca are for mqtts://"),
    ],
)
def test_a_wrong_destination_is_reported(text: str, files: dict[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.pem").touch()
    given: dict[str, Any] = {name: tmp_path / file for name, file in files.items()}
    with pytest.raises(ConfigProblem, match=message) as caught:
        destination(text, **given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "reason"), [(errno.EACCES, "Permission denied"), (errno.ENAMETOOLONG, "File name too long")]
)
def test_a_certificate_out_of_reach_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, reason: str
) -> None:
    path = tmp_path / ("x" * 300 if error == errno.ENAMETOOLONG else "ca.pem")
    if error == errno.EACCES:
        # Whoever runs this may be allowed everything.
        def refuses(*_: object, **__: object) -> None:
            raise PermissionError(error, reason)

        monkeypatch.setattr(Path, "stat", refuses)
    with pytest.raises(ConfigProblem) as caught:
        destination("mqtts://broker", ca=path)
    assert str(caught.value) == f"--ca: {path} cannot be read: {reason}"
