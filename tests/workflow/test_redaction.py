"""Whatever a password looks like, what people see has stars in its place."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emflow.workflow.redaction import STARS, forget_secrets, masked, redacted, remember_secret, without_passwords
from emflow.workflow.source.positions import Span, finding_at

ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
ON_A_LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1, max_size=30)
NASTY = st.text("12 3:@/\"'\\#?&=,;{}[]<>$*a", min_size=1, max_size=12)
KEYS = st.sampled_from(["password", "pwd", "pass", "token", "access_token", "api_key", "auth", "X-Amz-Signature"])


def marked(password: str) -> str:
    """A password that nothing else in a text can contain."""
    assume("{{" not in password)  # a template is no password
    return f"§{password}§"


@settings(max_examples=300, deadline=None)
@given(ANY | NASTY)
def test_no_password_of_an_address_is_in_a_masked_value(password: str) -> None:
    secret = marked(password)
    for address in (f"rtsp://admin:{secret}@camera:554/1", f"rtsp://me@example.com:{secret}@camera"):
        assert secret not in masked(address)
        assert secret not in json.dumps(masked({"streams": [{"url": address}]}), ensure_ascii=False)


@settings(max_examples=300, deadline=None)
@given(ON_A_LINE | NASTY, st.sampled_from(["", "cannot open ", 'url: "', "{'url': '", "- "]), ON_A_LINE)
def test_no_password_of_an_address_is_in_a_text(password: str, before: str, after: str) -> None:
    secret = marked(password)
    for show in (redacted, without_passwords):
        assert secret not in show(f"{before}rtsp://admin:{secret}@camera/1 {after}")


@settings(max_examples=200, deadline=None)
@given(st.text("0123456789 /.:", min_size=1, max_size=12))
def test_no_password_of_digits_is_shown_whatever_stands_between_them(password: str) -> None:
    """A port has digits, too."""
    shown = masked(f"rtsp://admin:{password}@camera/1")
    assert shown == "rtsp://admin:***@camera/1"


@settings(max_examples=200, deadline=None)
@given(KEYS, ANY)
def test_no_password_of_a_query_is_shown(key: str, password: str) -> None:
    secret = marked(password)
    address = f"rtsp://camera/live?user=admin&{key}={quote(secret, safe='')}&channel=1"
    for show in (masked, redacted, without_passwords):
        assert quote(secret, safe="") not in show(f"{address}")
        assert show(address).endswith("&channel=1")
    assert quote(secret, safe="") not in redacted(f"no answer of {address}, try again")
    assume(not {"&", "#"} & set(password))
    assert secret not in masked(f"rtsp://camera/live?{key}={secret}")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["password", "camera_password", "apiToken", "secret_key", "SecretString"]), ANY)
def test_no_value_of_a_key_that_says_it_is_secret_is_shown(key: str, password: str) -> None:
    secret = marked(password)
    assert masked({key: secret, "name": "front"}) == {key: "***", "name": "front"}
    text = redacted(f"what was sent: {json.dumps({key: secret, 'name': 'front'})}")
    assert json.dumps(secret)[1:-1] not in text
    assert text.endswith('"name": "front"}')


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:12 34@camera", "rtsp://user:***@camera"),
        ("rtsp://user:1234 is my dog@camera", "rtsp://user:***@camera"),
        ("rtsp://user:hun\"t'r@camera", "rtsp://user:***@camera"),
        ("rtsp://me@example.com:hunter2@camera", "rtsp://me@example.com:***@camera"),
        ("rtsp://camera/live?user=admin&password=hunter2", "rtsp://camera/live?user=admin&password=***"),
        ("rtsp://camera/user=admin_password=hunter2", "rtsp://camera/user=admin_password=***"),
        ("rtsp://[fe80::1]:554/1 of a@b", "rtsp://[fe80::1]:554/1 of a@b"),
        ("rtsp://user:***@camera of a@b", "rtsp://user:***@camera of a@b"),
        ('password: "two words"', 'password: "***"'),
        ("password: 'it''s'", "password: '***'"),
        ("credential_duration: 1h", "credential_duration: 1h"),
        ("aws.greengrass.TokenExchangeService: latest", "aws.greengrass.TokenExchangeService: latest"),
        ("key: artifacts/x", "key: artifacts/x"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_what_is_no_text_stays_what_it_is() -> None:
    facts = {"token": None, "secret": ["a"], "seconds": 3, "passed": True, "secrets": {"arn": "arn:aws:x"}}
    assert masked(facts) == facts
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf"
    assert masked({"secret": arn, "token": "(known after apply)"}) == {"secret": arn, "token": "(known after apply)"}


@pytest.mark.parametrize("password", ["x1", "hunter2", "a much longer one, with spaces"])
@pytest.mark.parametrize("place", ["nonsense", "{", "url", "1}"])
def test_the_caret_stays_under_its_position_whatever_the_passwords_length(password: str, place: str) -> None:
    line = f'- {{url: "rtsp://user:{password}@camera", nonsense: 1}}'
    found = finding_at("f", (line,), Span(1, line.index(place) + 1, len(place)), "EM020", "wrong")
    shown, caret = found.snippet.split("\n")
    assert shown == '1 | - {url: "rtsp://user:***@camera", nonsense: 1}'
    assert shown[caret.index("^") : caret.rindex("^") + 1] == place


@pytest.fixture
def remembered() -> Iterator[Callable[[str, Any], None]]:
    yield remember_secret
    forget_secrets()


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("db_password", "hunter2", "a *** b"),
        ("DB_PASSWORD", "hunter2", "a *** b"),
        ("login", {"user": "me", "token": "hunter2"}, "a *** b"),
        ("tokens", ["other", "hunter2"], "a *** b"),
        ("user", "hunter2", "a hunter2 b"),
        ("secret", {"secret": "hunter2"}, "a hunter2 b"),
        ("token", "a h", "a hunter2 b"),
        ("token", True, "a hunter2 b"),
        ("token", None, "a hunter2 b"),
    ],
)
def test_a_variable_whose_name_says_so_is_stars_wherever_its_value_turns_up(remembered, name, value, shown) -> None:
    remembered(name, value)
    for show in (redacted, without_passwords, masked):
        assert show("a hunter2 b") == shown
    assert masked({"topic": ["a hunter2 b"]}) == {"topic": [shown]}
    assert masked("a hunter2 b", variables=False) == "a hunter2 b"


def test_the_arn_of_a_secret_is_no_secret_and_numbers_may_be(remembered) -> None:
    remembered("camera_secret", "arn:aws:secretsmanager:eu-west-1:1:secret:x")
    remembered("token", 123456)
    assert redacted("arn:aws:secretsmanager:eu-west-1:1:secret:x 123456") == (
        "arn:aws:secretsmanager:eu-west-1:1:secret:x ***"
    )


def test_each_line_of_a_secret_is_masked_and_also_what_is_left_where_a_text_was_cut() -> None:
    secret = 'multiLineS3cretOne\nlineS3cretTwo" q'
    remember_secret("password", secret)
    try:
        assert redacted("got multiLineS3cretOne") == f"got {STARS}"
        assert "S3cret" not in redacted('lineS3cretTwo" q')
        for length in range(4, 18):
            assert redacted(f"0001 {secret[:length]}\N{HORIZONTAL ELLIPSIS}") == f"0001 {STARS}\N{HORIZONTAL ELLIPSIS}"
    finally:
        forget_secrets()


@pytest.mark.parametrize(
    "written",
    [ascii, shlex.quote, quote, quote_plus, html.escape, json.dumps, lambda text: json.dumps(json.dumps(text))],
)
def test_a_secret_is_masked_however_a_program_writes_it(written: Callable[[str], str]) -> None:
    secret = "a/b c'd\"e<\u00e4\u20ac&\\f"
    remember_secret("password", secret)
    try:
        assert STARS in redacted(f"x {written(secret)} y")
        assert "b c" not in redacted(f"x {written(secret)} y")
    finally:
        forget_secrets()
