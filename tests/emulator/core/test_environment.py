"""The environment of a lifecycle script: everything documented, nothing of the host's AWS."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from emflow_emulator.core.environment import GGC_VERSION, Credentials, DeviceIdentity, environment

DEVICE = DeviceIdentity("board", "eu-west-1", "http://127.0.0.1:4566", Path("/r/ipc.socket"), Path("/r/rootCA.pem"))
HOST = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "AWS_PROFILE": "mine",
    "AWS_ACCESS_KEY_ID": "secret",
    "PYTHONPATH": "/src",
}


def test_everything_documented_is_there() -> None:
    found = environment(HOST, DEVICE, "token", Credentials("http://127.0.0.1:1/x"))

    expected = {
        "AWS_IOT_THING_NAME": "board",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "GGC_VERSION": GGC_VERSION,
        "GG_ROOT_CA_PATH": "/r/rootCA.pem",
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": "/r/ipc.socket",
        "SVCUID": "token",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/x",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "token",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
    }
    assert expected.items() <= found.items()


def test_credentials_are_there_with_the_token_exchange_service_only() -> None:
    found = environment(HOST, DEVICE, "token", None)

    assert not [name for name in found if name.startswith("AWS_CONTAINER_")]


def test_what_the_host_says_about_aws_and_python_is_left_out() -> None:
    found = environment(HOST, DEVICE, "token", None)

    assert found["HOME"] == "/home/me"
    assert not found.keys() & {"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "PYTHONPATH"}
    assert {found[name] for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG")} == {os.devnull}


def test_python_is_this_python() -> None:
    assert environment(HOST, DEVICE, "t", None)["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/bin"


def test_setenv_of_the_step_goes_over_that_of_the_component() -> None:
    found = environment(HOST, DEVICE, "t", None, {"A": "all", "B": "all"}, {"B": "step"})

    assert (found["A"], found["B"]) == ("all", "step")
