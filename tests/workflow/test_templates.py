"""The template language: what it can say, what it cannot reach, and that it always ends soon."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow.source.document import parse
from emflow.workflow.variables import templates
from emflow.workflow.variables.overrides import Overrides
from emflow.workflow.variables.resolve import resolve_variables

VARIABLES = {
    "a": "x",
    "csv": "a,b",
    "l": [3, 1, 2],
    "m": {"k": "v", "items": 3},
    "n": 7,
    "f": 1.5,
    "b": True,
    "z": None,
}


def value(template: str) -> object:
    text = json.dumps({"vars": VARIABLES, "k": template})
    return resolve_variables(parse("t", text.encode()), Overrides(environ={"HOME": "/home/me"}))["k"]


def refused(template: str) -> Finding:
    with pytest.raises(WorkflowProblem) as raised:
        value(template)
    (finding,) = raised.value.findings
    return finding


@pytest.mark.parametrize(
    ("template", "meant"),
    [
        ("{{ vars.n * 6 }}", 42),
        ("{{ vars.f + 1 }}", 2.5),
        ("{{ 1 if vars.b else 2 }}", 1),
        ("{{ vars.a ~ 1 ~ true }}", "x1true"),
        ("{{ vars.a | upper }}-{{ vars.n }}", "X-7"),
        ("{{ vars.a.upper() }}", "X"),
        ("{{ vars.csv.split(',') }}", ["a", "b"]),
        ("{{ vars.csv.split(',') + ['c'] }}", ["a", "b", "c"]),
        ("{{ vars.csv.split(',') | map('upper') | list }}", ["A", "B"]),
        ("{{ vars.l | sort | join('-') }}", "1-2-3"),
        ("{{ vars.l[0] }}", 3),
        ("{{ vars.l[::-1] }}", [2, 1, 3]),
        ("{{ vars.csv[:1] }}", "a"),
        ("{{ vars.m['k'] }}", "v"),
        ("{{ vars.m.k }}", "v"),
        ("{{ vars.m.items }}", 3),
        ("{{ vars.m.get('none', 'd') }}", "d"),
        ("{{ {'a': (1, 2)} }}", {"a": [1, 2]}),
        ("{% if vars.b %}yes{% else %}no{% endif %}", "yes"),
        ("{{ vars.csv.replace(',', ';') }}", "a;b"),
        ("{{ vars.csv | replace(',', ';') }}", "a;b"),
        ("{{ 2.345 | round(1) }}", 2.3),
        ("{{ vars.m.none | default('d') }}", "d"),
        ("{{ env.HOME }}", "/home/me"),
        ("{{ env.NONE | default('d') }}", "d"),
        ("{{ env['HOME'] }}/x", "/home/me/x"),
        ("{# a comment #}", ""),
        ("{{ '{{ vars.a }}' }}", "{{ vars.a }}"),
    ],
)
def test_what_a_template_can_say(template: str, meant: object) -> None:
    made = value(template)
    assert made == meant
    assert type(made) is type(meant)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ [].__class__.__base__.__subclasses__() }}",
        "{{ (1).__class__ }}",
        "{{ vars.__class__ }}",
        "{{ vars.__init__.__globals__ }}",
        "{{ vars._Namespace__get }}",
        "{{ vars._Namespace__get('a') }}",
        "{{ env.__init__ }}",
        "{{ vars.a.upper.__self__ }}",
        "{{ vars.a.format }}",
        "{{ '{0.__class__}'.format(vars) }}",
        "{{ '{0.__class__}'.format_map({'0': 1}) }}",
        "{{ vars.a | attr('__class__') }}",
        "{{ vars.l | map(attribute='__class__') | list }}",
        "{{ vars.l.append(1) }}",
        "{{ vars.m.update({}) }}",
        "{{ self }}",
        "{{ self.__init__ }}",
        "{{ vars }}",
        "a{{ vars }}",
        "{{ lipsum }}",
        "{{ cycler.__init__ }}",
        "{{ namespace(x=1) }}",
        "{{ range(3) | list }}",
        "{{ dict(a=1) }}",
        "{{ [1, 2] | random }}",
        "{{ vars.a | _joined }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% extends 'x' %}",
        "{% set x = 1 %}",
        "{% macro x() %}{% endmacro %}",
        "{% block x %}{% endblock %}",
    ],
)
def test_templates_reach_nothing_but_values(template: str) -> None:
    assert refused(template).code == "EM012"


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 1000000000 }}",
        "{{ 1000000000 * 'a' }}",
        "{{ [1] * 1000000000 }}",
        "{{ ('a' * 10000) * 10000 }}",
        "{{ range(10**9) | list }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{{ 9" + "*9999999999999999" * 100 + " }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ 'x'.center(1000000000) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 'x'.zfill(1000000000) }}",
        "{{ 'x' | indent(1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ [1] | batch(1000000000, 'x') | list }}",
        "{{ 1.5 | round(999999999, 'ceil') }}",
        "{{ 5 | round(-999999999) }}",
        "{{ ('a' * 1000000).replace('a', 'b' * 1000) }}",
        "{{ ('a' * 1000000) | replace('a', 'b' * 1000) }}",
        "{{ ('a' * 1000000) | replace('', 'b' * 1000) }}",
        "{{ ('a' * 1000000) | list | join('b' * 1000) }}",
        "{{ ['a' * 1000000] | map('replace', 'a', 'b' * 1000) | list }}",
        "{{ " + " ~ ".join(["('a' * 1000000)"] * 20) + " }}",
        "{{ [" + "('a' * 1000000)," * 20 + "] }}",
        "{% for a in 'aaaa' %}{% for b in 'bbbb' %}{{ a }}{% endfor %}{% endfor %}",
        "{{ " + "(" * 1500 + "1" + ")" * 1500 + " }}",
        "{{ " + "not " * 900 + "1 }}",
        "{{ " + "1+" * 1900 + "1 }}",
        "{{ " + "-" * 3900 + "1 }}",
        "{{ 1 }}" * 10_000,
        "{{" * 100_000,
        "{{ 1 " + "9" * 5000,
    ],
    ids=lambda template: template[:40],
)
def test_a_template_that_asks_for_too_much_is_refused_soon_and_small(template: str) -> None:
    value("{{ 1 + 1 }}")  # Jinja2 itself is no part of what is measured
    tracemalloc.start()
    started = time.process_time()
    finding = refused(template)
    took, (_, most) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert finding.code == "EM012"
    assert took < 3
    assert most < 64_000_000


def test_the_number_of_templates_that_have_to_be_compiled_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MAX_TEMPLATES", 20)
    text = json.dumps({"k": [f"{{{{ 1 + {number} }}}}" for number in range(30)]})
    with pytest.raises(WorkflowProblem, match="more than 20 different templates"):
        resolve_variables(parse("t", text.encode()))


def test_the_same_template_is_worked_out_once() -> None:
    text = json.dumps({"k": ["{{ 1 + 1 }}"] * 20_000})
    started = time.process_time()
    assert set(resolve_variables(parse("t", text.encode()))["k"]) == {2}
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "template", ["{{ env.NONE }}", "a{{ env.NONE }}", "{{ env.NONE | upper }}", "{{ env.NONE ~ 1 }}"]
)
def test_an_environment_variable_that_is_not_set_is_reported(template: str) -> None:
    finding = refused(template)
    assert (finding.code, finding.message) == ("EM015", "the environment variable `NONE` is not set")
    assert "default" in finding.mend
