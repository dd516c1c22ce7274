import hashlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from emflow_edge.rtsp.auth import Authenticator, best_challenge

# RFC 7616, section 3.9.1, with its nonces; `Authenticator` makes its own client nonce, which is read from its answer.
RFC_7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def parts(header: str) -> dict[str, str]:
    return {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', header)}


def test_the_oldest_digest_is_answered_as_cameras_want_it() -> None:
    asked = best_challenge(['Digest realm="IP Camera", nonce="abc"'])
    assert asked
    answer = parts(Authenticator(asked, "admin", "secret").header("DESCRIBE", "rtsp://camera/1"))
    first = hashlib.md5(b"admin:IP Camera:secret").hexdigest()
    second = hashlib.md5(b"DESCRIBE:rtsp://camera/1").hexdigest()
    assert answer == {
        "username": "admin",
        "realm": "IP Camera",
        "nonce": "abc",
        "uri": "rtsp://camera/1",
        "response": hashlib.md5(f"{first}:abc:{second}".encode()).hexdigest(),
    }


@pytest.mark.parametrize(("name", "function"), [("MD5", hashlib.md5), ("SHA-256", hashlib.sha256)])
def test_a_digest_with_quality_of_protection_counts_its_answers(name: str, function: Callable[[bytes], Any]) -> None:
    asked = best_challenge([RFC_7616.format(name)])
    assert asked
    answers = Authenticator(asked, "Mufasa", "Circle of Life")
    answers.header("OPTIONS", "*")
    answer = parts(answers.header("GET", "/dir/index.html"))
    assert (answer["nc"], answer["qop"], answer["algorithm"]) == ("00000002", "auth", name)
    assert answer["opaque"] == "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
    first = function(b"Mufasa:http-auth@example.org:Circle of Life").hexdigest()
    second = function(b"GET:/dir/index.html").hexdigest()
    middle = f"{answer['nonce']}:00000002:{answer['cnonce']}:auth"
    assert answer["response"] == function(f"{first}:{middle}:{second}".encode()).hexdigest()


def test_the_best_of_several_challenges_is_taken_however_they_are_written() -> None:
    basic, digest = 'Basic realm="x, y"', 'Digest realm="x", nonce="n"'
    newest = 'Digest realm="x", nonce="n", algorithm=SHA-256'
    for headers, best in [
        ([basic], "Basic"),
        ([basic, digest], "MD5"),
        ([digest, newest, basic], "SHA-256"),
        ([f"{basic}, {digest}"], "MD5"),
        (['digest REALM="x",nonce=n'], "MD5"),
        (["basic"], "Basic"),
    ]:
        found = best_challenge(headers)
        assert found, headers
        assert found.algorithm == best, headers


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", 'Digest realm="x"', 'Digest nonce="x", algorithm=SHA-512', 'Digest nonce="x", qop="auth-int"'],
)
def test_what_cannot_be_answered_is_not(header: str) -> None:
    assert best_challenge([header]) is None


def test_basic_is_as_it_always_was() -> None:
    asked = best_challenge(["Basic"])
    assert asked
    assert Authenticator(asked, "Aladdin", "open sesame").header("GET", "/") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
