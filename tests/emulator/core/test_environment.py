"""The environment of a lifecycle script: everything documented, nothing of the host's AWS."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest

from emflow_emulator.core.environment import Credentials, DeviceIdentity, environment, search_path
from emflow_emulator.core.nuclei import CLASSIC

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
        "GGC_VERSION": CLASSIC.version,
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


def test_the_device_has_its_own_python_and_no_program_of_emflows(tmp_path: Path) -> None:
    venv = Path(sys.executable).parent
    link = tmp_path / "link"
    link.symlink_to(venv)
    host = HOST | {
        "PATH": os.pathsep.join([str(venv), "/opt/tools", str(link), "", "/bin", f"{venv}/"]),
        "VIRTUAL_ENV": str(venv.parent),
        "CONDA_PREFIX": "/conda",
        "PYTHONHOME": "/home",
        "_": str(venv / "emflow"),
    }
    found = environment(host, dataclasses.replace(DEVICE, python=Path("/r/python/bin")), "t", None)

    assert found["PATH"] == "/r/python/bin:/opt/tools:/bin"
    assert not [name for name, value in found.items() if str(venv.parent) in value]
    assert not found.keys() & {"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME"}


def test_the_folder_with_the_shell_stays_whatever_python_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/python3")

    assert search_path({"PATH": "/bin:/opt"}, None) == "/bin:/opt"


def test_setenv_of_the_step_goes_over_that_of_the_component() -> None:
    found = environment(HOST, DEVICE, "t", None, {"A": "all", "B": "all"}, {"B": "step"})

    assert (found["A"], found["B"]) == ("all", "step")
