"""A file with a mistake at or below a key of a secret: the finding shows no part of it, and still says where it is."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest

from emflow.problems import WorkflowProblem
from emflow.workflow.load import build
from emflow.workflow.source.document import parse
from emflow.workflow.source.secret_lines import HIDDEN, may_hold_secret
from emflow.workflow.variables.overrides import Overrides

HEAD = "apiVersion: emflow/v1\nkind: Workflow\nmetadata: {name: x}\n"
MISTAKES = {
    "a quote in the middle": 'vars:\n  password: "{a}"{b}\n',
    "a quote that never ends": 'vars:\n  password: "{a}\n   {b}\n',
    "a quote that ends in another line": 'vars:\n  password: "{a}\n{b}" x: y\n',
    "a single quote too many": "vars:\n  password: '{a}'{b}'\n",
    "a colon": "vars:\n  password: {a}: {b}: c\n",
    "a tag": "vars:\n  password: !{a} {b}\n",
    "an unknown alias": "vars:\n  password: *{a}\n",
    "a reserved sign": "vars:\n  password: @{a}{b}\n",
    "a percent sign": "vars:\n  password: %{a} {b}\n",
    "a bracket": "vars:\n  password: [{a}, {b}\n",
    "a brace": "vars:\n  password: {{{a}: {b}\nx: y\n",
    "an escape": 'vars:\n  password: "{a}\\q{b}"\n',
    "a block without indentation": "vars:\n  password: |\n{a} {b}\nx: y\n",
    "a second line": "vars:\n  password: {a}\n    {b}: c\n",
    "a line that is a key no more": "vars:\n  password: {a}\n  {b}\n  x: y\n",
    "a list below": "vars:\n  passwords:\n  - !x {a}\n  - '{b}\n",
    "a mapping below": "vars:\n  secret:\n    one: !{a} 1\n    two: *{b}\n",
    "a tab": "vars:\n  password:\n\t{a}: {b}\n",
    "a key twice": "vars:\n  token: {a}\n  token: {b}\n",
    "one line": "vars: {{name: x, api_key: {a}{b}, password: *{a}}}\n",
    "a key with a question mark": 'vars:\n  ? password\n  : "\\q {a}{b}"\n',
    "a key with an escape": 'vars:\n  "pass\\u0077ord": "\\q {a}{b}"\n',
    "an address in two lines": 'vars:\n  camera: "rtsp://user:{a}\n    \\q{b}@host/x"\n',
    "a key twice below": "vars:\n  secret:\n    {a}: 1\n    {a}: {b}\n",
    "JSON": '{{"vars": {{"password": "{a}" "{b}"}}}}\n',
}


def words(seed: int) -> tuple[str, str]:
    chance = random.Random(seed)

    def one() -> str:
        return "".join(chance.choices(string.ascii_letters + string.digits, k=12))

    return one(), one()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_finding_shows_what_stands_at_or_below_a_secret_key(mistake: str) -> None:
    for seed in range(20):
        a, b = words(seed)
        text = MISTAKES[mistake].format(a=a, b=b)
        with pytest.raises(WorkflowProblem) as caught:
            build(parse("a.yaml", (HEAD * (mistake != "JSON") + text).encode()), Overrides(environ={}), Path())
        shown = str(caught.value)
        assert a not in shown
        assert b not in shown
        assert all(finding.line for finding in caught.value.findings)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("password: x\nname: [y", False),
        ("password: |\n  x\nname: [y", False),
        ('password: "x"\nname: [y', False),
        ("password: 'it''s'\nname: [y", False),
        ("credentials: {secret: 'arn:aws:x'}\nname: [y", False),
        ("credentials: {secret: 'arn:aws:x', b: [y", False),
        ("credentials: {secret: arn:aws:secretsmanager:us-east-1:1:secret:camera-AbCdEf}", False),
        ('{"password":"x"} y', True),
        ('password: "{{ env.X }}" y', False),
        ("passwords:\n  x: y\n  z: [y", True),
        ("password:\n  # a comment\n\n  [y", True),
        ("a:\n  password: x\n  b: [y", False),
        ("a:\n  - password: x\n    b: [y", False),
        ("a:\n  - password: >-\n      b: [y", True),
    ],
)
def test_only_lines_that_may_hold_a_secret_are_hidden(text: str, hidden: bool) -> None:
    lines = tuple(text.split("\n"))
    assert may_hold_secret(lines, len(lines)) == hidden


def test_a_mistake_elsewhere_shows_its_line() -> None:
    with pytest.raises(WorkflowProblem) as caught:
        parse("a.yaml", b"vars:\n  password: hunter2\n  name: 'x' y\n")
    assert "3 |   name: 'x' y" in str(caught.value)
    with pytest.raises(WorkflowProblem) as caught:
        parse("a.yaml", b"vars:\n  name: x\n  password: 'hunter2' y\n")
    assert f"3 | {HIDDEN}" in str(caught.value)
    assert caught.value.findings[0].line == 3
