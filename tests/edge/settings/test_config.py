from pathlib import Path
from typing import Any

import pytest

from emflow_edge.settings.config import settings, unknown_keys
from emflow_schema.agent_socket import default_socket
from emflow_schema.edge_config import ModelIO, Stream
from emflow_schema.errors import ConfigProblem
from emflow_schema.units import Interval
from emflow_schema.version import __version__

DEPLOYED = {
    "modelName": "mobilenetv2-224-10-quant",
    "modelComponentName": "mobilenetv2_224_quantized_model_component",
    "agentSocket": "/tmp/agent.sock",
    "captureData": "False",
    "streams": [
        {"name": "front", "url": "rtspt://192.168.1.20/stream1", "every": "1s"},
        {"name": "back", "url": "rtsp://192.168.1.21/stream1", "every": "250ms"},
    ],
    "modelIO": {"color": "rgb", "resize": "stretch", "labels": "labels.txt", "classOffset": "1", "topK": "3"},
    "publish": {"topic": "em/inference", "qos": "1"},
    "version": "1.0.3",
}
WORKSHOP = {
    "rtspStreamURL": "rtspt://192.168.1.20/stream1",
    "modelComponentName": "mobilenetv2_224_quantized_model_component",
    "modelName": "mobilenetv2-224-10-quant",
    "quantization": "True",
    "captureData": "True",
}


def test_a_deployments_configuration_is_understood() -> None:
    found = settings(DEPLOYED, Path("/assets"))
    assert found.streams == (
        Stream("front", "rtspt://192.168.1.20/stream1", Interval("1s")),
        Stream("back", "rtsp://192.168.1.21/stream1", Interval("250ms")),
    )
    assert found.model_folder == Path("/greengrass/v2/work/mobilenetv2_224_quantized_model_component")
    assert found.model_io == ModelIO(labels="/assets/labels.txt", class_offset=1, top_k=3)
    assert (found.publish.topic, found.publish.qos, found.capture.enabled, found.version) == (
        "em/inference",
        1,
        False,
        "1.0.3",
    )
    assert found.agent_socket == "/tmp/agent.sock"


def test_the_workshops_keys_mean_the_same() -> None:
    found = settings(WORKSHOP)
    assert found.streams == (Stream("camera", "rtspt://192.168.1.20/stream1"),)
    assert (found.quantized, found.capture.enabled, found.agent_socket) == (True, True, str(default_socket()))


def test_numbers_that_greengrass_made_floats_are_whole_again() -> None:
    found = settings({**WORKSHOP, "modelIO": {"classOffset": 1.0, "topK": 5.0}, "publish": {"qos": 0.0}})
    assert (found.model_io.class_offset, found.model_io.top_k, found.publish.qos) == (1, 5, 0)


@pytest.mark.parametrize("more", [{}, {"version": ""}])
def test_by_hand_the_version_is_that_of_the_program(more: dict[str, str]) -> None:
    assert settings({**WORKSHOP, **more}).version == __version__ != "0.0.0"
    assert settings({**WORKSHOP, "version": "1.2.3"}).version == "1.2.3"


def test_a_model_component_with_a_slash_is_its_folder() -> None:
    assert settings({**WORKSHOP, "modelComponentName": "./model"}).model_folder == Path.cwd() / "model"


def test_zero_needs_no_unit() -> None:
    stream = {"name": "front", "url": "rtsp://camera/1"}
    for every in ("0", "0s", 0, 0.0):
        assert settings({**DEPLOYED, "streams": [{**stream, "every": every}]}).streams[0].every.seconds == 0


def test_mean_and_deviation_are_for_all_channels_or_for_each() -> None:
    found = settings({**WORKSHOP, "modelIO": {"mean": "0", "std": "58.4, 57.1, 57.4"}}).model_io
    assert (found.mean, found.std) == ((0, 0, 0), (58.4, 57.1, 57.4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modelName": None}, "modelName: is missing (-m)"),
        ({"modelName": "my_model"}, "modelName: 'my_model' is not valid: Letters, digits"),
        ({"modelName": 3.0}, "modelName: has to be text, not a number"),
        ({"modelComponentName": ""}, "modelComponentName: is missing (-c)"),
        ({"streams": []}, "streams: there is none"),
        ({"metrics": {"port": 10**400}}, "metrics.port: 1000"),
        (
            {"streams": [{"name": "a", "url": "rtsps://h/", "ca": "/" + "a" * 5000}]},
            "streams[0].ca: /aaa",
        ),
        ({"streams": "rtsp://camera/1"}, "streams: has to be a list"),
        ({"streams": ["rtsp://camera/1"]}, "streams[0]: has to be an object"),
        ({"streams": [{"name": "a"}]}, "streams[0].url: is missing"),
        ({"streams": [{"url": "rtsp://camera/1"}]}, "streams[0].name: is missing"),
        ({"streams": [{"name": "a", "url": "ftp://camera/1"}]}, "streams[0].url: is an address with ftp:"),
        ({"streams": [{"name": "a", "url": "rtsp://camera/1", "every": "1"}]}, "streams[0].every: '1' is no duration"),
        ({"streams": [{"name": "a", "url": "rtsp://camera/1", "every": "-1s"}]}, "streams[0].every: '-1s' is no dur"),
        ({"streams": [{"name": "a", "url": "rtsp://camera/1"}] * 2}, "streams: the name 'a' is given twice"),
        ({"rtspStreamURL": "rtsp://camera/1"}, "streams and rtspStreamURL are both given"),
        ({"rtspStreamURL": "camera", "streams": None}, "rtspStreamURL: is a path, which the component"),
        ({"modelIO": []}, "modelIO: has to be an object"),
        ({"modelIO": {"color": "grey"}}, "modelIO.color: 'grey' is none of rgb, bgr"),
        ({"modelIO": {"resize": "squeeze"}}, "modelIO.resize: 'squeeze' is none of stretch, letterbox, crop"),
        ({"modelIO": {"activation": "relu"}}, "modelIO.activation: 'relu' is none of auto, softmax, sigmoid, none"),
        ({"modelIO": {"classOffset": "one"}}, "modelIO.classOffset: 'one' is no number"),
        ({"modelIO": {"classOffset": "-1"}}, "modelIO.classOffset: '-1' is no whole number from 0"),
        ({"modelIO": {"topK": "1.5"}}, "modelIO.topK: '1.5' is no whole number from 1"),
        ({"modelIO": {"topK": True}}, "modelIO.topK: True is no number"),
        ({"modelIO": {"std": "0"}}, "modelIO.std: '0' is not above 0"),
        ({"modelIO": {"mean": "1,2"}}, "modelIO.mean: '1,2' is not one number or three"),
        ({"publish": {"topic": "em/#"}}, "publish.topic: 'em/#': '#' cannot stand"),
        ({"publish": {"topic": "em/\uffff"}}, "publish.topic: 'em/\\uffff': '\\uffff' cannot stand"),
        ({"publish": {"topic": "em/\n"}}, "publish.topic: 'em/\\n': '\\n' cannot stand"),
        ({"publish": {"topic": "em/\0"}}, "publish.topic: holds a NUL character"),
        ({"publish": {"topic": "em/\ud800"}}, "publish.topic: holds what is no text"),
        ({"publish": {"qos": "2"}}, "publish.qos: '2' is no whole number from 0 to 1"),
        ({"captureData": "maybe"}, "captureData: 'maybe' is neither true nor false"),
        ({"quantization": "8"}, "quantization: '8' is neither true nor false"),
        ({"agentSocket": 1}, "agentSocket: has to be text"),
        ({"agentSocket": "/tmp/\0"}, "agentSocket: holds a NUL character"),
        ({"agentSocket": "/" + "ä" * 54}, "agentSocket: the path has 109 bytes; a socket's can have 107"),
        ({"modelIO": {"labels": "a\0b"}}, "modelIO.labels: holds a NUL character"),
        ({"version": "\udcff"}, "version: holds what is no text"),
        ({"streams": [{"name": "a", "url": "rtsp://u:p@cam..local/1"}]}, "streams[0].url: names a host that cannot"),
        ({"streams": [{"name": "a", "url": "rtsp://camera/1", "every": f"{'9' * 300}s"}]}, "streams[0].every: '999"),
        (
            {"streams": [{"name": "a", "url": "rtsp://camera/1", "every": "9000h"}]},
            "streams[0].every: '9000h' has to lie between 0s and 366d",
        ),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_its_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigProblem) as caught:
        settings({**DEPLOYED, **change})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_wrong_url_is_not_repeated_because_it_may_hold_a_password() -> None:
    with pytest.raises(ConfigProblem) as caught:
        settings({**WORKSHOP, "rtspStreamURL": "rtmp://admin:secret@camera/1"})
    assert "secret" not in str(caught.value)


def test_what_others_put_into_the_configuration_is_no_error() -> None:
    config = {**DEPLOYED, "accessControl": {}, "streem": []}
    assert settings(config)
    assert unknown_keys(config) == ("streem",)
