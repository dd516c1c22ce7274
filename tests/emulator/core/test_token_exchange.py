"""Credentials for components, fetched by boto3 as it does in a container."""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from emflow_emulator import connections
from emflow_emulator.core import token_exchange
from emflow_emulator.core.token_exchange import NoCredentials, TokenExchange

Sts = Callable[[], dict[str, Any]]


class Role:
    """What STS answers: other keys each time."""

    def __init__(self, lasting: timedelta) -> None:
        self.lasting = lasting
        self.asked = 0
        self.reason = ""

    def __call__(self) -> dict[str, Any]:
        if self.reason:
            raise NoCredentials(self.reason)
        self.asked += 1
        return {
            "AccessKeyId": f"ASIA{self.asked}",
            "SecretAccessKey": "secret",
            "SessionToken": "session",
            "Expiration": datetime.now(UTC) + self.lasting,
        }


@pytest.fixture
def role() -> Role:
    return Role(timedelta(hours=1))


@pytest.fixture
def uri(role: Role) -> Iterator[str]:
    service = TokenExchange(lambda token: token == "known", role)
    service.start()
    yield service.uri
    service.stop()


def get(uri: str, token: str = "known") -> tuple[int, dict[str, str]]:
    request = urllib.request.Request(uri, headers={"Authorization": token})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_boto3_finds_credentials_by_itself(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "known")

    found = boto3.Session().get_credentials()
    assert found is not None
    assert found.method == "container-role"
    frozen = found.get_frozen_credentials()
    assert (frozen.access_key, frozen.secret_key, frozen.token) == ("ASIA1", "secret", "session")


def test_the_answer_has_the_documented_form(uri: str) -> None:
    status, document = get(uri)

    assert status == 200
    assert document.keys() == {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    assert datetime.fromisoformat(document["Expiration"]) > datetime.now(UTC)


def test_credentials_are_asked_for_once_while_they_last(uri: str, role: Role) -> None:
    assert get(uri) == get(uri)
    assert role.asked == 1


def test_credentials_that_are_about_to_end_are_not_given_out(uri: str, role: Role) -> None:
    role.lasting = timedelta(minutes=2)
    get(uri)
    get(uri)
    assert role.asked == 2


@pytest.mark.parametrize("token", ["", "unknown"])
def test_an_unknown_token_gets_none(uri: str, token: str) -> None:
    assert get(uri, token)[0] == 403


@pytest.mark.parametrize("header", [{"Origin": "http://127.0.0.1:9"}, {"Origin": "null"}, {"Host": "rebound.example"}])
def test_a_web_page_gets_none(uri: str, header: dict[str, str]) -> None:
    request = urllib.request.Request(uri, headers={"Authorization": "known", **header})
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(request, timeout=10)
    assert "Access-Control-Allow-Origin" not in refused.value.headers


def test_who_says_nothing_is_not_waited_for_for_ever(role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_exchange, "_PATIENCE", 0.2)
    service = TokenExchange(lambda _: True, role)
    service.start()
    try:
        at = urlsplit(service.uri)
        with socket.create_connection((at.hostname, at.port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n")
            assert connection.recv(1) == b""
    finally:
        service.stop()


def test_another_path_is_a_bad_request(uri: str) -> None:
    assert get(uri + "x/y")[0] == 400


def test_when_there_are_none_the_reason_is_said(uri: str, role: Role) -> None:
    role.reason = "there is no IoT role alias in this account"
    status, document = get(uri)

    assert status == 500
    assert role.reason in document["message"]


def test_silent_connections_do_not_keep_a_component_from_its_credentials(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "AT_ONCE", 3)
    with contextlib.ExitStack() as stack:
        address = urlsplit(uri)
        silent = [
            stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=10))
            for _ in range(6)
        ]
        for each in silent[:3]:
            assert each.recv(1) == b""
        assert get(uri)[0] == 200
