"""No text of a URL, of a secret or of a camera becomes a line of a request that nobody wrote."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from urllib.request import parse_http_list, parse_keqv_list

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge.camera.scripted_camera import ScriptedCamera, answered, tidy
from emflow_edge.camera import registry
from emflow_edge.credentials import credentials
from emflow_edge.rtsp.auth import Authenticator, Challenge, best_challenge
from emflow_edge.rtsp.errors import CameraLost
from emflow_edge.rtsp.messages import MalformedMessage, request, response, take_head
from emflow_schema.edge_config import Stream
from emflow_schema.errors import EdgeProblem
from emflow_schema.stream_url import split, why_not

Start = Callable[..., ScriptedCamera]
# What ends a line, a quoted string or a header, more often than by chance.
TEXTS = st.text(
    st.sampled_from('\r\n\0\t\x0b\x0c\x1c\x85\u2028 "\\,;:=@/?#%<>ab\u00e9') | st.characters(exclude_categories=["Cs"]),
    max_size=12,
)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
CHALLENGES = st.builds(
    Challenge,
    st.sampled_from(["Basic", "MD5", "SHA-256"]),
    TEXTS,
    TEXTS,
    st.booleans(),
    st.none() | TEXTS,
    st.booleans(),
)


def lines(message: bytes) -> list[str]:
    """As whoever is most lenient ends them."""
    head, _, rest = message.partition(b"\r\n\r\n")
    assert rest == b""
    return re.split(r"[\r\n\0\x0b\x0c\x1c-\x1e]+", head.decode())


@given(st.lists(st.tuples(st.sampled_from(["Host", "Authorization", "Session"]), TEXTS), max_size=4), TEXTS, TEXTS)
def test_a_message_has_as_many_lines_as_headers_or_is_refused(
    headers: list[tuple[str, str]], target: str, reason: str
) -> None:
    for made in (
        lambda: request("GET", target, "HTTP/1.0", headers),
        lambda: response("RTSP/1.0", "200", reason, headers),
    ):
        with contextlib.suppress(MalformedMessage):
            assert len(lines(made())) == 1 + len(headers)


@given(TEXTS, TEXTS, TEXTS, CHALLENGES)
def test_user_and_password_of_a_url_add_no_header(user: str, password: str, path: str, challenge: Challenge) -> None:
    url = f"rtsp://{quote(user, safe='')}:{quote(password, safe='')}@10.0.0.7/{path}"
    try:
        place = split(url)
    except ValueError:
        assert CONTROL.search(user + path) or "@" in path
        return
    assume(place.host == "10.0.0.7")
    assert not CONTROL.search(place.user)
    assert (place.user, place.password) == (user, password)
    authorization = Authenticator(challenge, place.user, place.password).header("DESCRIBE", place.path)
    try:
        message = request("DESCRIBE", place.path, "RTSP/1.0", [("CSeq", "1"), ("Authorization", authorization)])
    except MalformedMessage:
        # The camera's own texts.
        assert CONTROL.search(challenge.realm + challenge.nonce + (challenge.opaque or ""))
        return
    assert len(lines(message)) == 3
    head = take_head(bytearray(message))
    assert head is not None
    assert head.first == ("DESCRIBE", place.path, "RTSP/1.0")
    assert [name for name, _ in head.headers] == ["cseq", "authorization"]
    if challenge.algorithm == "Basic":
        assert base64.b64decode(authorization.partition(" ")[2]).decode() == f"{user}:{password}"
    else:
        fields = parse_keqv_list(parse_http_list(authorization.partition(" ")[2]))
        assert fields["uri"] == place.path
        assert set(fields) <= {
            *("username", "realm", "nonce", "uri", "response", "algorithm", "opaque", "qop", "nc", "cnonce")
        }
        assert fields["username"] == user


@pytest.mark.parametrize("user", ["a%0D%0AX-Evil:%201", "a%0a", "a%00", "a%7f"])
def test_a_user_with_a_control_character_is_refused_when_it_is_checked(user: str) -> None:
    for url in (f"rtsp://{user}:p@10.0.0.7/live", f"http://{user}@10.0.0.7/live"):
        assert str(why_not(url)) == (
            "holds a control character in the user name, such as the end of a line (%0D, %0A), which no camera takes;"
            " leave it out"
        )


def test_a_secret_with_a_control_character_in_the_user_is_refused_without_being_shown() -> None:
    with pytest.raises(EdgeProblem) as caught:
        credentials('{"username": "a\\r\\nX: 1", "password": "p"}', "front")
    assert str(caught.value) == (
        "the secret front holds a control character in username, such as the end of a line, which no camera takes;"
        " leave it out"
    )
    assert credentials('{"username": "a", "password": "p\\n"}', "front") == ("a", "p\n")


def test_quotes_and_backslashes_are_escaped_in_a_digest() -> None:
    asked = best_challenge(['Digest realm="x", nonce="n"'])
    assert asked
    place = split('rtsp://a%22b%5Cc:p@10.0.0.7/live"1\\2 3')
    assert place.path == "/live%221%5C2%203"
    header = Authenticator(asked, place.user, place.password).header("DESCRIBE", place.path)
    assert r'username="a\"b\\c"' in header
    assert 'uri="/live%221%5C2%203"' in header
    assert hashlib.md5(b'a"b\\c:x:p').hexdigest() not in header


@pytest.mark.parametrize("backend", ["auto", "opencv"])
def test_a_camera_that_breaks_lines_in_its_challenge_adds_no_header(scripted: Start, backend: Any) -> None:
    asked = 'WWW-Authenticate: Digest realm="x\rX-Evil: 1", nonce="n\0\x0bX-Evil: 2"\r\n'
    camera = scripted(
        lambda head: tidy(head) if head.startswith("OPTIONS") else answered(head, "401 Unauthorized", asked)
    )
    stream = Stream("front", f"rtsp://127.0.0.1:{camera.port}/live", backend=backend)
    with pytest.raises(CameraLost):
        registry.open_camera(stream, ("admin", "s3cret"), threading.Event())
    assert not any(re.search(r"(?m)^X-Evil", head.replace("\r", "\n")) for head in camera.heads)
