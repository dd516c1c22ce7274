"""Settings: the original's names and defaults, layers of them, and one clear line for each that is wrong."""

from __future__ import annotations

import contextlib
import json
import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emflow_agent.settings.config import Layer, read
from emflow_agent.settings.names import COMPONENT_NAMES, FILE_NAMES, WITHOUT_MEANING
from emflow_agent.settings.reading import BadSetting
from emflow_agent.settings.sources import read_settings
from emflow_schema.agent_socket import default_socket


def file(path: Path, **values: object) -> str:
    path.write_text(json.dumps(values))
    return str(path)


def test_without_a_word_they_are_the_component_s_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_IOT_THING_NAME", raising=False)
    told = read_settings([])
    assert told.socket == default_socket()
    assert told.socket_users == ()
    assert (told.socket_mode, told.socket_group, told.verbose, told.notes) == (0o660, "", False, ())
    capture = told.capture
    assert (capture.batch, capture.buffer, capture.push_period, capture.upload_period) == (10, 30, 4.0, 8.0)
    assert (capture.to_cloud, capture.upload, capture.embed_limit, capture.prefix) == (True, False, 3072, "sme-capture")
    assert capture.device == platform.node()


def test_every_setting_of_the_component_reaches_the_agent(tmp_path: Path) -> None:
    path = file(
        tmp_path / "agent.json",
        DeviceFleetName="a-fleet",
        BucketName="my-sagemaker-bucket",
        CaptureDataBatchSize="5",
        CaptureDataBufferSize="11",
        CaptureDataPushPeriodSeconds="2",
        CaptureDataDestination="Disk",
        CaptureDataDiskPath="/data/captures",
        CaptureDataPeriodicUpload="true",
        CaptureDataPeriodicUploadPeriodSeconds="60",
        CaptureDataBase64EmbedLimit="100",
        FolderPrefix="one/two",
        UnixSocketName="/run/agent.sock",
        SagemakerEdgeLogVerbose="True",
        DLRBackendOptions="TVM_NUM_THREADS=2",
        DeviceName="a-device",
    )
    told = read_settings(["--config", path])
    capture = told.capture
    assert (capture.fleet, capture.device, capture.bucket) == ("a-fleet", "a-device", "my-sagemaker-bucket")
    assert (capture.batch, capture.buffer, capture.push_period) == (5, 11, 2.0)
    assert (capture.to_cloud, capture.folder, capture.upload) == (False, Path("/data/captures"), True)
    assert (capture.upload_period, capture.embed_limit, capture.prefix) == (60.0, 100, "one/two")
    assert (told.socket, told.verbose) == (Path("/run/agent.sock"), True)
    assert told.runtime.dlr_options == {"TVM_NUM_THREADS": "2"}


def test_the_original_program_s_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = file(
        tmp_path / "neo_config.json",
        sagemaker_edge_core_device_name="device-name",
        sagemaker_edge_core_device_fleet_name="fleet-name",
        sagemaker_edge_core_region="us-west-2",
        sagemaker_edge_core_root_certs_path="/certs",
        sagemaker_edge_provider_provider="Aws",
        sagemaker_edge_provider_s3_bucket_name="sagemaker-bucket-name",
        sagemaker_edge_core_capture_data_destination="Cloud",
        sagemaker_edge_core_folder_prefix="prefix",
        sagemaker_edge_core_capture_data_buffer_size=30,
        sagemaker_edge_core_capture_data_batch_size=10,
        sagemaker_edge_core_capture_data_push_period_seconds=4000,
        sagemaker_edge_core_capture_data_base64_embed_limit=2,
        sagemaker_edge_log_verbose=False,
    )
    told = read_settings(["-a", "/tmp/example.sock", "-c", path])
    capture = told.capture
    assert (capture.device, capture.fleet, capture.bucket) == ("device-name", "fleet-name", "sagemaker-bucket-name")
    assert (capture.push_period, capture.embed_limit, told.region) == (4000.0, 2, "us-west-2")
    assert str(told.socket) == "/tmp/example.sock"
    assert len([note for note in told.notes if "has no effect in this agent" in note]) == 2


def test_the_command_line_wins_over_the_file_and_an_empty_value_is_none(tmp_path: Path) -> None:
    path = file(tmp_path / "agent.json", DeviceFleetName="of-the-file", Threads="3", FolderPrefix="")
    told = read_settings(
        ["--config", path, "--threads", "2", "--set", "SocketMode=0600", "--set", "MemoryLimit=1.5 GiB"]
    )
    assert (told.capture.fleet, told.runtime.threads, told.capture.prefix) == ("of-the-file", 2, "sme-capture")
    assert (told.socket_mode, told.memory_limit) == (0o600, 3 << 29)


def test_the_thing_s_name_is_the_device_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_IOT_THING_NAME", "a-thing")
    assert read_settings([]).capture.device == "a-thing"


def test_numbers_that_greengrass_made_floats_are_whole_again() -> None:
    assert read([Layer("here", {"CaptureDataBatchSize": 12.0})]).capture.batch == 12


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"BucketName": "my-bucket"}, "BucketName in here: 'my-bucket' is not valid: A name that contains 'sagemaker'"),
        (
            {"CaptureDataBufferSize": "10"},
            "CaptureDataBatchSize: a batch of 10 does not fit into a buffer of 10, which has to be larger",
        ),
        (
            {"CaptureDataBatchSize": "30"},
            "CaptureDataBatchSize in here: a batch of 30 does not fit into a buffer of 30",
        ),
        ({"CaptureDataBatchSize": "ten"}, "CaptureDataBatchSize in here: 'ten' is no number"),
        ({"CaptureDataBatchSize": "1.5"}, "'1.5' is no whole number from 1 to 100000"),
        ({"CaptureDataBase64EmbedLimit": "3073"}, "'3073' is no whole number from 0 to 3072"),
        ({"CaptureDataPushPeriodSeconds": "0"}, "'0' is not a number of seconds above 0"),
        ({"CaptureDataPushPeriodSeconds": "inf"}, "'inf' is no number"),
        ({"CaptureDataDestination": "S3"}, "CaptureDataDestination in here: 'S3' is none of Cloud, Disk"),
        ({"CaptureDataPeriodicUpload": "yes"}, "'yes' is neither true nor false"),
        ({"CaptureDataDiskPath": "captures"}, "'captures' is not valid: An absolute path"),
        ({"DeviceFleetName": "a/b"}, "'a/b' is not valid: A name that can be a folder: without /"),
        ({"FolderPrefix": "../up"}, "'../up' is not valid: Names of folders"),
        ({"SocketMode": "0888"}, "'0888' is not valid: Octal digits"),
        ({"SocketMode": "0060"}, "'0060' is not valid: Octal digits"),
        ({"MemoryLimit": "a lot"}, "'a lot' is no size, such as 512 MiB"),
        ({"MetricsPeriodSeconds": "-1"}, "'-1' is not a number of seconds"),
        ({"Threads": "0"}, "'0' is no whole number from 1 to 64"),
        ({"Threads": ["2"]}, "Threads in here: has to be text, not a list"),
        ({"FolderPrefix": "a\0b"}, "holds a NUL"),
        ({"RequireSignature": "true"}, "signatures are required, but no trusted key is given"),
        ({"TrustKeys": "/no/such/key.pem"}, "'/no/such/key.pem' cannot be read"),
        ({"DLRBackendOptions": "LD_PRELOAD=/x.so"}, "holds 'LD_PRELOAD', which is not valid: Names in capitals"),
    ],
    ids=str,
)
def test_a_wrong_value_is_one_line_with_its_key(values: dict[str, object], problem: str) -> None:
    with pytest.raises(BadSetting) as caught:
        read([Layer("here", values)])
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({"DeviceFleetName": "f"}, "BucketName is not set"),
        ({"BucketName": "sagemaker-b"}, "DeviceFleetName is not set"),
        ({"DeviceFleetName": "f", "CaptureDataDestination": "Disk"}, "CaptureDataDiskPath is not set"),
    ],
)
def test_what_only_capturing_lacks_is_reported_and_stops_nothing(values: dict[str, str], missing: str) -> None:
    told = read([Layer("here", values)])
    assert missing in told.capture.missing
    assert [note for note in told.notes if note.startswith("CaptureData will be refused") and missing in note]


@pytest.mark.parametrize(
    ("word", "problem"),
    [("SocketGrup=a", "'SocketGrup' is not a setting; is it SocketGroup?"), ("SocketGroup", "is not KEY=VALUE")],
)
def test_a_slip_on_the_command_line_is_reported(word: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(["--set", word])
    assert caught.value.code == 2
    assert problem in capsys.readouterr().err


def test_unknown_and_meaningless_keys_are_reported() -> None:
    told = read([Layer("here", {"Bucket": "b", "DbEnable": "true", "DeploymentEnable": "false", "accessControl": {}})])
    assert told.notes[:2] == (
        "Bucket in here is not a setting of this agent",
        "DbEnable in here has no effect in this agent",
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is not JSON"),
        (b"[]", "must hold a JSON object"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b" " * (1 << 21), "has more than 1048576 bytes"),
    ],
    ids=["half", "list", "no text", "deep", "large"],
)
def test_a_file_that_is_no_configuration_is_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "agent.json"
    path.write_bytes(content)
    with pytest.raises(BadSetting, match=problem):
        read_settings(["--config", str(path)])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"none\.json cannot be read: No such file"):
        read_settings(["--config", str(tmp_path / "none.json")])


def test_without_a_nucleus_there_is_no_greengrass_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT", raising=False)
    with pytest.raises(BadSetting, match="not started by Greengrass"):
        read_settings(["--greengrass"])


KEYS = st.sampled_from([*COMPONENT_NAMES, *FILE_NAMES, *WITHOUT_MEANING, "Other"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_whatever_is_written_is_taken_or_refused(values: dict[str, object]) -> None:
    with contextlib.suppress(BadSetting):
        read([Layer("here", values)])


def test_blanks_are_no_value_and_what_has_no_meaning_may_be_set_too() -> None:
    told = read_settings(["--set", "UnixSocketName= ", "--set", "SocketGroup=\t", "--set", "DbEnable=true"])
    assert (told.socket, told.socket_group) == (read_settings([]).socket, "")
    assert "DbEnable in the command line has no effect in this agent" in told.notes
