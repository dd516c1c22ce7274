"""The log: `--debug` and EMFLOW_LOG. What it says, where it goes, and that no secret is in it."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emflow.cli import log
from emflow.engine.clients import Clients
from emflow.engine.plan import make_plan
from emflow.resources import desired_resources
from emflow.workflow import redaction
from resources.conftest import client, embedded, endpoint, file, rollout, user, workflow  # noqa: F401 fixtures

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} (DEBUG|INFO) +emflow\.\w+: .+")
AWS_LINE = re.compile(r"emflow\.aws: (\S+) (\w+): \d{3}( \w+)? in \d+ ms, attempt \d, request id \S+$")
ODD_SECRETS = [
    'it\'s "quoted"',
    "back\\slash %s %(name)s {x}",
    "two\nlines",
    "escape \x1b[31m and \u202e",
    "pässwörd ÿ日本",
    "a+b/c=d&e?f#g",
    "***@***",
]


@pytest.fixture
def log_to_stderr() -> Iterator[None]:
    log.log_to_standard_error()
    yield
    log.stop_logging()
    redaction.forget_secrets()


def test_each_call_of_a_plan_is_one_line(rollout, workflow, caplog):  # noqa: F811
    caplog.set_level(logging.DEBUG, "emflow.aws")
    make_plan(desired_resources(workflow), rollout.clients(workflow))
    logged = [AWS_LINE.search(f"{each.name}: {each.getMessage()}") for each in caplog.records]
    assert all(logged), caplog.text
    operations = sorted(each[2] for each in logged if each)
    assert operations == sorted(call.partition(":")[2] for call in rollout.calls)
    assert len(operations) > 10


def test_a_call_without_an_answer_and_its_attempts_are_lines_too(monkeypatch, workflow, caplog, unused_address):  # noqa: F811
    monkeypatch.setenv("AWS_ENDPOINT_URL", unused_address)
    caplog.set_level(logging.DEBUG, "emflow.aws")
    clients = Clients(workflow.aws)
    with pytest.raises(Exception, match="reach"):
        clients("s3")
    told = [each.getMessage() for each in caplog.records]
    assert [re.sub(r"\d+ ms", "N ms", line) for line in told] == [
        f"sts GetCallerIdentity: no answer (EndpointConnectionError) after N ms, attempt {attempt}"
        for attempt in (1, 2)
    ]


@pytest.fixture
def unused_address() -> str:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.e2e
@pytest.mark.parametrize("order", [("--debug", "plan"), ("plan", "--debug")])
def test_debug_goes_to_standard_error_and_leaves_json_as_it_is(emflow, file, order):  # noqa: F811
    quiet = emflow("plan", file, "--json")
    shown = emflow(*order, file, "--json")
    one, other = json.loads(quiet.out), json.loads(shown.out)
    assert one.pop("created") <= other.pop("created")
    assert one == other
    lines = [line for line in shown.err.splitlines() if " emflow." in line]
    assert all(map(LINE.fullmatch, lines)), shown.err
    assert not any(" emflow." in line for line in quiet.err.splitlines())
    for area in ("emflow.aws", "emflow.rules", "emflow.templates"):
        assert any(f" {area}: " in line for line in lines), area
    assert "Authorization" not in shown.err
    assert "Signature" not in shown.err


@pytest.mark.e2e
def test_an_apply_logs_what_happens_to_the_lock(emflow, file):  # noqa: F811
    ran = emflow("apply", file, "--yes", "--debug")
    told = [line.partition("emflow.lock: ")[2] for line in ran.err.splitlines() if " emflow.lock: " in line]
    assert ran.code == 0, ran.err
    assert any("written where there was none: done" in line for line in told)
    assert told[-1].endswith("removed")


@pytest.mark.parametrize("secret", ODD_SECRETS)
def test_a_secret_of_odd_characters_is_stars_in_every_line(log_to_stderr, capsys, secret: str) -> None:
    redaction.remember_secret("camera_password", secret)
    logger = logging.getLogger("emflow.aws")
    logger.debug("plain %s", secret)
    logger.debug("repr %r", secret)
    logger.debug("json %s", json.dumps({"value": secret}))
    try:
        raise RuntimeError(secret)
    except RuntimeError:
        logger.exception("failed")
    told = capsys.readouterr().err
    assert told.count(redaction.STARS) >= 4
    for way in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]):
        assert way not in told.replace(redaction.STARS, "")


@pytest.mark.parametrize("secret", ['it\'s "quoted"', "back\\slash %s", "pässwörd ÿ日本", "a+b=d&e?f#g"])
def test_a_secret_variable_in_a_files_name_is_stars_in_the_log_of_a_command(
    emflow, demo, tmp_path, secret: str
) -> None:
    text = demo.read_text()
    assert "  component:\n    name:" in text
    path = tmp_path / "workflow.yaml"
    path.write_text(
        text.replace("  component:\n    name:", '  component:\n    recipe: "{{ vars.token }}.j2"\n    name:').replace(
            "vars:\n", "vars:\n  token: unknown\n", 1
        )
    )
    (tmp_path / f"{secret}.j2").write_text("ComponentName: {{ component.name }}\n")
    ran = emflow("validate", "--debug", path, "--var", f"token={secret}")
    rendered = [line for line in ran.err.splitlines() if "emflow.templates: template " in line and ".j2" in line]
    assert len(rendered) == 1, ran.err
    assert redaction.STARS in rendered[0]
    assert secret not in ran.err + ran.out


def test_a_file_takes_the_log_and_standard_error_stays_empty(emflow, demo, tmp_path, monkeypatch):
    target = tmp_path / "emflow.log"
    monkeypatch.setenv("EMFLOW_LOG", f"debug:{target}")
    ran = emflow("validate", demo)
    assert (ran.code, ran.err) == (0, "")
    assert all(map(LINE.fullmatch, target.read_text().splitlines()))
    assert "emflow.rules: rule EM030" in target.read_text()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("loud", "EMFLOW_LOG: 'loud' is no level"),
        ("debug:/nowhere/at/all", "EMFLOW_LOG: /nowhere/at/all: No such file"),
    ],
)
def test_a_wrong_value_of_the_variable_is_one_message(emflow, demo, monkeypatch, value: str, message: str):
    monkeypatch.setenv("EMFLOW_LOG", value)
    ran = emflow("validate", demo)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_nothing_is_set_up_where_nobody_asks(demo: Path) -> None:
    code = (
        "import sys; sys.argv = ['emflow', 'validate', sys.argv[1]]; from emflow.cli import main\n"
        "try: main()\n"
        "except SystemExit: sys.exit('emflow.cli.log' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, demo], capture_output=True, check=False).returncode == 0
