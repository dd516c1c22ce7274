"""Whatever a file holds: it becomes a workflow or a short error, in a short time, and never anything else.

The suite takes a few seconds of this. A hundred times as much: FUZZ_TIMES=100 pytest tests/workflow/test_fuzz.py
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow import Workflow, load
from emflow.workflow.load import build
from emflow.workflow.redaction import redacted
from emflow.workflow.rules.registry import CODES
from emflow.workflow.source.document import parse, read
from emflow.workflow.variables.overrides import Overrides
from emflow.workflow.variables.resolve import resolve_variables

SLOWEST = 5.0
"""Seconds of processor time that anything of this size may take; the slowest seen takes a tenth of that."""

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))


def profile(examples: int) -> settings:
    """So many examples, times FUZZ_TIMES."""
    unfit = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=examples * TIMES, deadline=None, suppress_health_check=unfit)


WORKFLOWS = Path(__file__).parents[2] / "workflows"
EXAMPLES = {path.name: path.read_bytes() for path in sorted(WORKFLOWS.glob("*.yaml"))}


@contextmanager
def soon() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < SLOWEST


def messages(data: bytes) -> Workflow | tuple[Finding, ...]:
    """The workflow, or the findings, each of them whole."""
    try:
        with soon():
            return build(parse("fuzz.yaml", data), Overrides(environ={"HOME": "/home/me"}), WORKFLOWS).workflow
    except WorkflowProblem as problem:
        findings = problem.findings
    lines = (
        data.count(b"\n") + data.count(b"\r") + data.decode(errors="replace").count("\u2028") + data.count(b"\xc2\x85")
    )
    for finding in findings:
        assert finding.code in CODES
        assert finding.message
        assert 0 <= finding.line <= lines + 1
        assert len(str(finding)) < 4_000
    assert findings
    return findings


# ------------------------------------------------------------------------------------------------------- any text

WORDS = [
    *("apiVersion: emflow/v1", "kind: Workflow", "metadata", "vars", "cloud", "edge", "streams", "imports", "name"),
    *(
        "{{ vars.a }}",
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "{{ vars.a ~ 1 }}",
        "{% if vars.a %}",
        "{{ env.HOME }}",
        "&a",
        "*a",
    ),
    *("<<", ": ", "- ", "\n", "\n  ", "\n    ", "\t", "[", "]", "{", "}", ",", "|", ">", "|2-", "? ", "!!int ", "!x "),
    *("---", "...", "%YAML 1.2", "# ", '"', "'", "\\", "\ufeff", "\u2028", "\x85", "\r", "\x00", "\x07", "\ud7ff", "~"),
    *("0x", "0o8", "1e999", ".inf", "-.nan", "1_000", "on", "yes", "=", "@", "`", "\U0001f3a5"),
]


@profile(150)
@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=3)), max_size=40).map("".join))
@example("a: " + "[" * 3000)
@example("- " * 3000)
@example("&a [*a]")
@example("a: &a {<<: *a}")
@example("a: " + "9" * 5000)
@example("vars: {a: " + "9" * 4300 + "}\nk: '{{ vars.a * vars.a }}'")
@example("%TAG ! tag:x\n---\na: !y z")
@example("%YAML 9.9\n---\na: b")
def test_any_text(text: str) -> None:
    messages(text.encode("utf-8", errors="surrogatepass"))


@profile(80)
@given(st.binary(max_size=80))
@example(b"\xef\xbb\xbf")
@example(b"\xff\xfea\x00:\x00")
@example(b"a: \xed\xa0\x80")
@example(b"\x00" * 80)
def test_any_bytes(data: bytes) -> None:
    messages(data)


# ------------------------------------------------------------------------------------------------------- any values

KEYS = st.one_of(
    st.sampled_from(
        ["apiVersion", "kind", "metadata", "vars", "cloud", "edge", "imports", "name", "streams", "<<", "a"]
    ),
    st.text(max_size=5),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["emflow/v1", "Workflow", "{{ vars.a }}", "{{ vars }}", "{{ vars.a.b }}-{{ env.HOME }}", "{{ 1 / 0 }}"]
    ),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=15
)


@profile(100)
@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_values(values: dict[str, Any]) -> None:
    messages(yaml.safe_dump(values, allow_unicode=True).encode("utf-8", errors="surrogatepass"))


@profile(60)
@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5))
def test_json_means_the_same_to_us_as_to_json(values: dict[str, Any]) -> None:
    """But for what JSON can say and YAML cannot: some characters, and numbers without end."""
    text = json.dumps(values)
    try:
        document = parse("t.json", text.encode())
    except WorkflowProblem as problem:
        codes = {finding.code for finding in problem.findings}
        assert codes <= ({"EM004", "EM009", "EM006", "EM003"})
        assert any(not character.isprintable() for character in str(values)) or "\\u" in text or not values
        return
    _same(document.value, json.loads(text))


def _same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            _same(ours[key], theirs[key])
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            _same(one, other)
    elif isinstance(theirs, float) and not math.isfinite(theirs):
        assert ours in ("NaN", "Infinity", "-Infinity")  # Python's own, in neither JSON nor YAML
    else:
        assert ours == theirs
        assert isinstance(ours, type(theirs))


# ------------------------------------------------------------------------------------------ the examples, mutilated


@profile(150)
@given(
    st.sampled_from(sorted(EXAMPLES)),
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 30), st.one_of(st.sampled_from(WORDS), st.text(max_size=4))),
        min_size=1,
        max_size=4,
    ),
)
def test_an_example_with_pieces_cut_out_and_put_in(name: str, cuts: list[tuple[float, int, str]]) -> None:
    text = EXAMPLES[name].decode()
    for where, length, put in cuts:
        at = int(where * len(text))
        text = text[:at] + put + text[at + length :]
    messages(text.encode("utf-8", errors="surrogatepass"))


def _places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        yield from _places(item, (*place, step))


TREES = {name: read(WORKFLOWS / name).value for name in EXAMPLES}
PLACES = [(name, place) for name, tree in TREES.items() for place in _places(tree) if place]


@profile(200)
@given(st.sampled_from(PLACES), st.one_of(VALUES, st.just(...)))
def test_an_example_with_one_value_replaced_or_taken_away(chosen: tuple[str, tuple[str | int, ...]], put: Any) -> None:
    name, place = chosen
    tree = json.loads(json.dumps(TREES[name]))
    inner = tree
    for step in place[:-1]:
        inner = inner[step]
    if put is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = put
    messages(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", errors="surrogatepass"))


# --------------------------------------------------------------------------------------------------- variables

PIECES = [
    *(
        "vars.a",
        "vars.l",
        "vars.m",
        "vars.n",
        "vars.none",
        "env.HOME",
        "env.NONE",
        "'x'",
        "1",
        "0",
        "10**9",
        "[1]",
        "{}",
    ),
    *(
        " ~ ",
        " + ",
        " * ",
        " - ",
        " / ",
        " // ",
        " % ",
        " ** ",
        " and ",
        " not ",
        " in ",
        " == ",
        " if ",
        " else ",
        " is ",
    ),
    *(" | upper", " | list", " | join", " | join('xx')", " | replace('x', 'yy')", " | default(1)", " | map('upper')"),
    *(
        " | sort",
        " | first",
        " | round(99)",
        " | int",
        " | string",
        ".items()",
        ".__class__",
        ".upper()",
        "[0]",
        "[::2]",
    ),
    *(
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        "}}",
        "{{",
        "{%",
        "%}",
        "if x",
        "endif",
        "for x in vars.l",
        "endfor",
        "set x = 1",
    ),
]


@profile(250)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=10).map("".join))
def test_any_template(expression: str) -> None:
    variables = {"a": "x", "l": [1, "b"], "m": {"k": "v"}, "n": 10**6}
    document = parse("t", json.dumps({"vars": variables, "k": f"{{{{ {expression} }}}}"}).encode())
    with soon():
        try:
            value = resolve_variables(document, Overrides(environ={"HOME": "/home/me"}))["k"]
        except WorkflowProblem:
            return
    json.dumps(value)  # nothing comes out but what YAML could say


@profile(60)
@given(
    st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4),
    st.dictionaries(st.sampled_from("abcde"), st.text(max_size=8)),
)
def test_any_values_from_outside(variables: dict[str, Any], outside: dict[str, str]) -> None:
    text = yaml.safe_dump({"vars": variables, "k": "{{ vars.a }}"}, allow_unicode=True)
    try:
        document = parse("t", text.encode("utf-8", errors="surrogatepass"))
        resolve_variables(
            document, Overrides(outside, (), {f"EMFLOW_VAR_{name}": value for name, value in outside.items()})
        )
    except WorkflowProblem as problem:
        findings = problem.findings
        assert findings


@profile(100)
@given(
    st.text(st.sampled_from("ab:/@ '\"{}[]=\n"), max_size=30), st.text(st.sampled_from("xyz/@"), min_size=1, max_size=8)
)
def test_a_password_in_an_address_is_never_shown(before: str, password: str) -> None:
    secret = f"S{password}S"
    assert secret not in redacted(f"{before} rtsp://user:{secret}@camera/stream")


@profile(40)
@given(
    st.lists(
        st.sampled_from(["a.yaml", "b.yaml", "c.yaml", "none.yaml", ".", "", "/", "{{ vars.x }}", "\x00", "x" * 300]),
        max_size=3,
    )
)
@example(["a.yaml"])
def test_any_imports(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "a.yaml").write_text(json.dumps({"imports": names, "metadata": {"name": "a"}}))
    (tmp_path / "b.yaml").write_text(json.dumps({"imports": ["c.yaml"], "metadata": {"name": "b"}}))
    (tmp_path / "c.yaml").write_text(json.dumps({"metadata": {"name": "c", "description": "c"}}))
    with soon(), pytest.raises(WorkflowProblem) as raised:
        load(tmp_path / "a.yaml")
    assert all(finding.code.startswith("EM") for finding in raised.value.findings)


# ------------------------------------------------------------------------------------------- files meant to do harm

HARM = """
import resource, sys, time
from pathlib import Path
from emflow.problems import WorkflowProblem
from emflow.workflow import load

resource.setrlimit(resource.RLIMIT_AS, (700_000_000, 700_000_000))
small = Path(sys.argv[1]).read_text()
folder = Path(sys.argv[1]).parent
many = int(sys.argv[2])  # under the limit of 200,000 values: all of it is looked at
half = many // 2
harm = {
    "a list of everything": "a: [" + "x," * many + "]",
    "a list without end": "a: [" + "1," * 2_000_000 + "]",
    "keys without end": small + "".join(f"key{n}: 1\\n" for n in range(half)),
    "keys inside": small.replace("  fleet:\\n", "  fleet:\\n" + "".join(f"    k{n}: 1\\n" for n in range(half))),
    "wrong devices": small.replace('["{{ vars.thing }}"]', "[" + ",".join(f"c_{n}" for n in range(many)) + "]"),
    "devices that are numbers": small.replace('["{{ vars.thing }}"]', "[" + "1," * many + "]"),
    "the same key": "key: 1\\n" * half,
    "one text": "a: " + "x" * 4_000_000,
    "one key": "? " + "x" * 4_000_000 + "\\n: 1",
    "one name": small.replace("name: small", "name: " + "a-" * 1_000_000),
    "one comment": "#" + "x" * 4_000_000,
    "one template": small.replace("name: small", 'name: "' + "{{" * 500_000 + '"'),
    "one reference, often": small.replace("name: small", 'name: "' + "{{ vars.prefix }}" * 200_000 + '"'),
    "wrong references": "vars: {a: 1}\\nk: [" + '"{{ vars.b }}",' * half + "]",
    "addresses": small.replace("name: small", "name: " + "rtsp://u:p@h/," * 100_000),
    "colons": "a: " + "a: " * 1_000_000,
    "brackets": "a: " + "[{" * 1_000_000,
    "quotes": "a: '" + "''" * 1_000_000,
    "escapes": 'a: "' + "\\\\u00e9" * 600_000 + '"',
    "anchors": "".join(f"k{n}: &a{n} x\\n" for n in range(half)),
    "aliases": "a: &a [" + "x," * 1000 + "]\\nb: [" + "*a," * 100_000 + "]",
    "tabs": "a:\\n" + "\\t" * 1_000_000,
    "spaces": "a:\\n" + " " * 4_000_000 + "b",
    "dashes": "- " * 1_000_000,
    "documents": "---\\na: 1\\n" * 100_000,
    "lines": "\\n" * 4_000_000,
    "ten megabytes": "x" * 10_000_000,
}
for name, text in harm.items():
    path = folder / "harm.yaml"
    path.write_text(text)
    started = time.process_time()
    try:
        load(path)
        sys.exit(f"{name}: taken for a workflow")
    except WorkflowProblem as problem:
        messages = len(str(problem))
    took = time.process_time() - started
    print(f"{took:6.2f} s  {messages:8}  {name}")
    if took > 10 or messages > 500_000:
        sys.exit(f"{name}: {took:.1f} s, {messages} characters")
print("most:", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MiB")
"""


def test_files_meant_to_do_harm_do_none(small: Path) -> None:
    """In a process of its own, because libyaml's stack or a runaway list would end more than a test."""
    command = [sys.executable, "-c", HARM, str(small), str(190_000 if TIMES > 1 else 30_000)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
