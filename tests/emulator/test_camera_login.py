"""The test camera's password: players that know it see the picture, others do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from emflow.problems import Problem
from emflow_emulator.camera.rtsp_messages import Login, RtspRequest, read_login
from emflow_emulator.child import Child
from support import PATIENCE

USER, PASSWORD = "user", "pass word/:@"


@pytest.fixture
def login_file(tmp_path: Path) -> Path:
    file = tmp_path / "login.json"
    file.write_text(json.dumps({"username": USER, "password": PASSWORD}))
    return file


@pytest.fixture
def url(tmp_path: Path, login_file: Path) -> Iterator[str]:
    camera = Child("camera", "emflow_emulator.camera", ("--login", str(login_file)), tmp_path / "camera.log")
    try:
        yield camera.ready()["url"]
        assert PASSWORD not in (tmp_path / "camera.log").read_text()
    finally:
        camera.stop()


def frame(url: str, transport: str = "tcp") -> Any:
    with av.open(url, options={"rtsp_transport": transport}, timeout=PATIENCE) as container:
        return next(container.decode(video=0))


@pytest.mark.e2e
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_who_knows_the_password_sees_the_picture(url: str, transport: str) -> None:
    known = url.replace("rtsp://", "rtsp://user:pass%20word%2F%3A%40@")
    assert frame(known, transport).width == 640


@pytest.mark.e2e
@pytest.mark.parametrize("who", ["", "user:wrong@", "other:pass%20word%2F%3A%40@"])
def test_others_do_not(url: str, who: str) -> None:
    with pytest.raises(av.HTTPUnauthorizedError):
        frame(url.replace("rtsp://", f"rtsp://{who}"))


def asking(authorization: str | None) -> RtspRequest:
    headers = {} if authorization is None else {"authorization": authorization}
    return RtspRequest("DESCRIBE", "rtsp://camera/front", "RTSP/1.0", headers)


# RFC 2617's way, reckoned by hand with the nonce `n`: MD5 of user:realm:password, of method:uri, and of both with it.
PROOF = "3868aaf9b8b51b0e34443e3e4c733124"


def test_a_proof_holds_for_its_nonce_method_and_address_only() -> None:
    login = Login("user", "secret", "n")
    given = (
        f'Digest username="user", realm="emflow test camera", nonce="n", uri="rtsp://camera/front", response="{PROOF}"'
    )
    assert login.challenge == 'Digest realm="emflow test camera", nonce="n"'
    assert login.admits(asking(given))
    for old, new in (("front", "back"), ('"n"', '"m"'), ('username="user"', 'username="root"'), (PROOF, PROOF[:-1])):
        assert not login.admits(asking(given.replace(old, new)))
    assert not login.admits(RtspRequest("SETUP", "rtsp://camera/front", "RTSP/1.0", {"authorization": given}))


@pytest.mark.parametrize(
    "given", [None, "", "Basic dXNlcjpzZWNyZXQ=", "Digest", "Digest nonsense", 'Digest a="', "Digest é=ü"]
)
def test_what_is_no_proof_is_refused(given: str | None) -> None:
    assert not Login("user", "secret", "n").admits(asking(given))


def test_no_text_of_it_has_the_password() -> None:
    assert "secret" not in repr(Login("user", "secret"))


@pytest.mark.parametrize("text", ["", "[]", '{"username": "x"}'])
def test_a_file_of_another_shape_is_reported(tmp_path: Path, text: str) -> None:
    file = tmp_path / "login.json"
    with pytest.raises(Problem, match="cannot read"):
        read_login(file)
    file.write_text(text)
    with pytest.raises(Problem, match="username and password"):
        read_login(file)
