"""What a run lets in, on its way to child processes and to the user's shell."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from emflow.problems import Problem
from emflow_emulator.access import Access, AccessKey, past_proxies, without_aws
from support import exported


def test_each_run_has_its_own() -> None:
    runs = [Access.new() for _ in range(100)]
    assert len({run.key.id for run in runs}) == len({run.key.secret for run in runs}) == 100
    assert len({run.broker.password for run in runs}) == 100
    assert {(len(run.key.id), len(run.key.secret)) for run in runs} == {(20, 40)}


def test_a_child_reads_what_its_parent_wrote_and_others_cannot(tmp_path: Path) -> None:
    access, file = Access.new(), tmp_path / "access.json"
    before = os.umask(0)
    try:
        access.write(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Access.read(file) == access


def test_a_file_that_is_there_already_is_not_written_to(tmp_path: Path) -> None:
    file = tmp_path / "access.json"
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        Access.new().write(file)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": {}, "broker": {}}', '{"key": "its-secret", "broker": 1}'])
def test_a_file_that_holds_something_else_is_reported_without_what_is_in_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "access.json"
    file.touch(0o600)
    file.write_text(text)
    with pytest.raises(Problem, match="holds no access key") as told:
        Access.read(file)
    assert "its-secret" not in str(told.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "access.json"
    Access.new().write(file)
    file.chmod(0o640)
    with pytest.raises(Problem, match="other users can read") as told:
        Access.read(file)
    assert "chmod 600" in told.value.mend


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="cannot read"):
        Access.read(tmp_path / "nothing")


def test_a_shell_that_runs_the_lines_has_the_keys_and_nobody_elses(tmp_path: Path) -> None:
    access = Access.new()
    file = tmp_path / "credentials.sh"
    file.write_text("\n".join(access.shell_lines("http://127.0.0.1:4566", "eu-west-1")))
    theirs = {"PATH": os.environ["PATH"], "AWS_SESSION_TOKEN": "theirs", "AWS_PROFILE": "theirs"}
    theirs |= {"AWS_ENDPOINT_URL_S3": "theirs", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "theirs"}
    output = subprocess.check_output(["sh", "-c", f". {file}; env"], env=theirs, text=True)
    assert "theirs" not in output
    expected = exported(file.read_text())
    assert expected["AWS_ACCESS_KEY_ID"] == access.key.id
    assert {f"{name}={value}" for name, value in expected.items()} <= set(output.splitlines())


def test_nothing_about_aws_is_left_of_an_environment() -> None:
    names = ("AWS_PROFILE", "AWS_SECRET_ACCESS_KEY", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE")
    found = without_aws({**dict.fromkeys(names, "theirs"), "BOTO_CONFIG": "theirs", "HOME": "/home/me"})
    assert "theirs" not in found.values()
    assert found["HOME"] == "/home/me"
    assert {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} <= found.keys()


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_what_is_on_this_machine_is_reached_past_a_proxy(tmp_path: Path, name: str) -> None:
    theirs = {"HTTP_PROXY": "http://proxy:3128", name: "example.com", "PATH": os.environ["PATH"]}
    found = without_aws(theirs)
    assert found["HTTP_PROXY"] == theirs["HTTP_PROXY"]
    file = tmp_path / "credentials.sh"
    file.write_text("\n".join(Access.new().shell_lines("http://127.0.0.1:4566", "eu-west-1")))
    shell = subprocess.check_output(["sh", "-c", f". {file}; env"], env=theirs, text=True).splitlines()
    for variable in ("no_proxy", "NO_PROXY"):
        assert found[variable] == "example.com,127.0.0.1,localhost"
        assert f"{variable}=example.com,127.0.0.1,localhost" in shell


def test_no_proxy_for_anything_stays_so() -> None:
    assert past_proxies({"NO_PROXY": "*"}) == {"no_proxy": "*", "NO_PROXY": "*"}


def test_a_secret_is_in_no_repr() -> None:
    access, temporary = Access.new(), AccessKey("id", "its-secret", "its-token")
    shown = repr(access) + repr(temporary)
    hidden = (access.key.secret, access.broker.password, "its-secret", "its-token")
    assert not [secret for secret in hidden if secret in shown]
