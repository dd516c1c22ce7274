"""Secrets are references, and passwords are in no file and in no message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emflow.problems import WorkflowProblem
from emflow.recipes.configuration import application_configuration
from emflow.workflow import load
from emflow.workflow.model import Secret
from emflow.workflow.redaction import redacted

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf"
STREAM = "{name: front, url: rtsp://camera/stream}"
PREFIX = "  prefix: acme\n"


def with_secret(path: Path, stream: str, variables: str = "") -> Path:
    text = path.read_text().replace(STREAM, stream).replace(PREFIX, PREFIX + variables)
    path.write_text(text)
    return path


def test_a_secret_is_a_reference_in_the_typed_workflow(small: Path) -> None:
    path = with_secret(small, f"{{name: front, url: rtsp://camera/stream, credentials: {{secret: '{ARN}'}}}}")
    (stream,) = load(path).edge.streams
    assert stream.credentials == Secret(secret=ARN)
    assert stream.credentials.arn == ARN


@pytest.mark.parametrize("variable", [f"{{secret: '{ARN}'}}", f"'{ARN}'"])
def test_a_secret_may_come_from_a_variable(small: Path, variable: str) -> None:
    reference = '"{{ vars.camera }}"' if variable[0] == "{" else '{secret: "{{ vars.camera }}"}'
    path = with_secret(
        small, f"{{name: front, url: rtsp://camera/stream, credentials: {reference}}}", f"  camera: {variable}\n"
    )
    assert load(path).edge.streams[0].credentials == Secret(secret=ARN)
    other = ARN.replace("camera", "other")
    given = f"{{secret: '{other}'}}" if variable[0] == "{" else other
    assert load(path, {"camera": given}).edge.streams[0].credentials == Secret(secret=other)


def test_the_device_is_sent_the_reference(small: Path) -> None:
    path = with_secret(small, f"{{name: front, url: rtsp://camera/stream, credentials: {{secret: '{ARN}'}}}}")
    (stream,) = application_configuration(load(path), "1.0.0")["streams"]
    assert stream["credentials"] == {"secret": ARN}
    assert stream["url"] == "rtsp://camera/stream"


@pytest.mark.parametrize("template", ["rtsp://{{ vars.cam }}@camera/s", "rtsp://{{ vars.cam ~ '' }}@camera/s"])
def test_a_secret_never_becomes_text(broken, template: str) -> None:
    variable = f"  prefix: acme\n  cam: {{secret: '{ARN}'}}\n"
    wrong = broken(f"{PREFIX}  thing: Core-001\n", f'{variable}  thing: Core-001\n  url: §"{template}"\n')
    assert (wrong.finding.code, wrong.place) == ("EM017", wrong.marked)
    assert wrong.finding.mend == 'a reference stands alone: credentials: "{{ vars.name }}"'


@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        ("{secret: hunter2}", "EM024"),
        ("{secret: 'arn:aws:s3:::bucket'}", "EM024"),
        ("{password: hunter2}", "EM020"),
        ("hunter2", "EM022"),
        (f"{{secret: '{ARN.replace('us-east-1', 'eu-west-1')}'}}", "EM019"),
    ],
)
def test_an_invalid_reference_to_a_secret_is_refused_without_repeating_it(broken, credentials: str, code: str) -> None:
    wrong = broken(STREAM, f"{{name: front, url: rtsp://camera/stream, credentials: {credentials}}}")
    assert code in {finding.code for finding in wrong.findings}
    assert all("hunter2" not in str(finding) for finding in wrong.findings)


@pytest.mark.parametrize(
    "url", ["rtsp://user:hunter2@camera/stream", "rtsp://a@b:hunter2@camera", "rtsp://camera?password=hunter2"]
)
def test_a_password_in_the_file_is_refused_with_the_way_out(broken, url: str) -> None:
    wrong = broken("rtsp://camera/stream", f"§'{url}'")
    assert (wrong.finding.code, wrong.place) == ("EM018", wrong.marked)
    assert "credentials: {secret: arn:…}" in wrong.finding.mend
    assert "hunter2" not in str(wrong.finding)


def test_a_password_in_a_variable_of_the_file_is_refused_where_it_stands(broken) -> None:
    wrong = broken(PREFIX, f"{PREFIX}  camera: §rtsp://user:hunter2@camera/stream\n")
    assert (wrong.finding.code, wrong.place) == ("EM018", wrong.marked)


@pytest.mark.parametrize("password", ["hunter2", "hunt@er/2", "hunt?er#2"])
def test_a_password_that_is_a_variable_of_its_own_is_refused_where_it_stands(small: Path, password: str) -> None:
    stream = '{name: front, url: "rtsp://user:{{ vars.key }}@10.0.0.7/stream"}'
    path = with_secret(small, stream, f"  key: {password}\n")
    with pytest.raises(WorkflowProblem) as raised:
        load(path)
    (finding,) = (finding for finding in raised.value.findings if finding.severity == "error")
    assert (finding.code, finding.line) == ("EM018", 6)
    assert password not in str(finding)


def test_a_password_from_outside_is_let_through(small: Path, tmp_path: Path) -> None:
    path = with_secret(small, '{name: front, url: "{{ vars.camera }}"}', '  camera: "{{ env.CAMERA }}"\n')
    secret = "rtsp://user:hunter2@camera/stream"
    site = tmp_path / "site.yaml"
    site.write_text(f"camera: {secret}\n")
    for workflow in (
        load(path, environ={"CAMERA": secret}),
        load(path, environ={"EMFLOW_VAR_camera": secret}),
        load(path, {"camera": secret}, environ={}),
        load(path, {}, [site], {}),
    ):
        assert workflow.edge.streams[0].url == secret


@pytest.mark.parametrize("password", ["hunter2", "hunt/er2", "hunt@er?2"])
def test_a_password_beside_a_secret_is_refused(small: Path, password: str) -> None:
    stream = f'{{name: front, url: "{{{{ env.URL }}}}", credentials: {{secret: "{ARN}"}}}}'
    with pytest.raises(WorkflowProblem) as raised:
        load(with_secret(small, stream), environ={"URL": f"rtsp://user:{password}@10.0.0.7/stream"})
    (finding,) = (finding for finding in raised.value.findings if finding.severity == "error")
    assert (finding.code, finding.message.split(" (")[0]) == (
        "EM019",
        "a password in the address, and credentials beside it",
    )
    assert password not in str(finding)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:hunter2@camera/stream", "rtsp://user:***@camera/stream"),
        ("url: 'rtspt://user:hun/t@r2@camera/stream'", "url: 'rtspt://user:***@camera/stream'"),
        ("rtsp://:hunter2@camera", "rtsp://:***@camera"),
        ('url: "rtsp://user:my hunter2@camera/stream"', 'url: "rtsp://user:***@camera/stream"'),
        ("rtsp://user: hunter2@camera/stream", "rtsp://user:***@camera/stream"),
        ("rtsp://a user:hunter2@camera", "rtsp://a user:***@camera"),
        ("rtsp://user:$ecret@camera", "rtsp://user:***@camera"),
        ("rtsp://user:{ec ret@camera", "rtsp://user:***@camera"),
        ("rtsp://user:12/34@camera", "rtsp://user:***@camera"),
        ("rtsp://one:8554/s, rtsp://user:hunter2@two", "rtsp://one:8554/s, rtsp://user:***@two"),
        ("rtsp://user:hunter2 is cut off here", "rtsp://user:*** is cut off here"),
        ("rtsp://user:{{ env.PASSWORD }}@camera", "rtsp://user:{{ env.PASSWORD }}@camera"),
        ("http://localhost:$PORT/x and http://<host>:<port>", "http://localhost:$PORT/x and http://<host>:<port>"),
        ("rtsp://[fe80::1]:8554/stream", "rtsp://[fe80::1]:8554/stream"),
        ("https://example.com says: nothing", "https://example.com says: nothing"),
        ("http://localhost:4566: no answer", "http://localhost:4566: no answer"),
        ("rtsp://camera:8554/stream", "rtsp://camera:8554/stream"),
        ("rtsp://user@camera/stream", "rtsp://user@camera/stream"),
        ("password: hunter2", "password: ***"),
        ("{camera_password: 'hunter2', x: 1}", "{camera_password: '***', x: 1}"),
        ('"api_token": "hunter2"', '"api_token": "***"'),
        ("API_TOKEN=hunter2", "API_TOKEN=***"),
        ("camera_pass: hunter2", "camera_pass: ***"),
        ("compass: north", "compass: north"),
        ("password: '{{ env.PASSWORD }}'", "password: '{{ env.PASSWORD }}'"),
        (f"secret: {ARN}", f"secret: {ARN}"),
        (f'credentials: {{secret: "{ARN}"}}', f'credentials: {{secret: "{ARN}"}}'),
        ("name: scenes", "name: scenes"),
    ],
)
def test_passwords_are_stars_and_references_are_not(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "secret" * 200_000,
        "://a:" * 200_000 + "@ ",
        "password" + ":" * 200_000,
        "a@://" * 200_000,
        "://a:1 " * 200_000,
        "://a:b " * 200_000,
    ],
)
def test_looking_for_passwords_takes_no_time(text: str) -> None:
    import time

    started = time.process_time()
    redacted(text)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("url", ["rtsp://user:my hunter2@camera/s", "rtsp://user:hunter2/x@camera/s"])
def test_a_password_in_an_unusual_form_is_reported_but_not_shown(broken, url: str) -> None:
    wrong = broken("url: rtsp://camera/stream", f'url: "{url}"')
    assert {finding.code for finding in wrong.findings} == {"EM018"}  # the device can read the address
    assert all("hunter2" not in str(finding) for finding in wrong.findings)


def test_a_password_is_in_no_json_of_findings(broken) -> None:
    wrong = broken("rtsp://camera/stream", "http://user:hunter2@camera/stream")
    assert "hunter2" not in json.dumps([vars(finding) for finding in wrong.findings])
