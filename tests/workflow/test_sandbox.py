"""The sandbox of all templates, as recipes use it: what they can say, and that each ends soon, small, with a reason."""

from __future__ import annotations

import re
import shutil
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from emflow.problems import Problem
from emflow.recipes.lint.findings import findings
from emflow.recipes.render import render_template
from emflow.workflow.load import check
from emflow.workflow.model import Workflow
from emflow.workflow.variables import sandbox
from emflow.workflow.variables.limits import Budget, VariableError, as_text
from emflow.workflow.variables.sandbox import Language, Sandbox

EXAMPLE = Path(__file__).parents[2] / "workflows"
VALUES = {"a": "x", "l": [3, 1, 2], "m": {"k": "v", "items": 3}, "n": 7}
DOUBLED = "{% set ns = namespace(a=[0]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}"


def rendered(template: str, **values: Any) -> str:
    return render_template(template, {**VALUES, **values}, "own.yaml.j2")


@pytest.mark.parametrize(
    ("template", "meant"),
    [
        ("{{ a | quoted }} {{ m | json }} {{ 'a' | plain }}", '"x" {"k": "v", "items": 3} a'),
        ("{% for x in l | sort %}{{ loop.index }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}", "1:1,2:2,3:3"),
        ("{% for x in l %}{{ loop.length }}{{ loop.cycle('a', 'b') }}{% endfor %}", "3a3b3a"),
        ("{% for x in [] %}x{% else %}none{% endfor %}", "none"),
        ("{% for k, v in m.items() %}{{ k }}{% endfor %}", None),
        ("{% for k, v in m | dictsort %}{{ k }}={{ v }};{% endfor %}", "items=3;k=v;"),
        ("{% for x in [[1, [2]]] recursive %}{{ x if x is number else loop(x) }}{% endfor %}", "12"),
        ("{% for x in l if x > 1 %}{{ x }}{% endfor %}", "32"),
        ("{% macro f(x, y='d') %}<{{ x }}{{ y }}>{% endmacro %}{{ f(1) }}{{ f(2, y=3) }}", "<1d><23>"),
        ("{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}in{% endcall %}", "<in>"),
        ("{% set ns = namespace(t=0) %}{% for x in l %}{% set ns.t = ns.t + x %}{% endfor %}{{ ns.t }}", "6"),
        ("{% set x %}a{{ n }}{% endset %}{{ x }}", "a7"),
        ("{% filter upper %}abc{% endfilter %}", "ABC"),
        ("{% with x = 1 %}{{ x }}{% endwith %}", "1"),
        ("{{ range(3) | join('-') }}", "0-1-2"),
        ("{{ dict(a=1).a }}", "1"),
        ("{{ '-'.join(['a', 'b']) }}", "a-b"),
        ("{{ '%02d-%s' | format(3, 'x') }}", "03-x"),
        ("{{ l | sum }} {{ [{'v': 2}, {'v': 3}] | sum(attribute='v') }}", "6 5"),
        ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
        ("{{ l | map('string') | join(',') }}", "3,1,2"),
        ("{{ 2 ** 10 }}", "1024"),
        ("{{ 'x'.rjust(3) }}|{{ 'x' | center(3) }}", "  x| x "),
        ("{{ l[1:] }}", "[1, 2]"),
        ("{{ none }}", "None"),
    ],
)
def test_what_a_template_of_a_file_can_say(template: str, meant: str | None) -> None:
    if meant is None:  # a mapping's own key is found before Python's method
        with pytest.raises(Problem):
            rendered(template)
    else:
        assert rendered(template) == meant


ENDLESS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
    "{% for a in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}",
    "{% for a in l recursive %}{% set o = loop %}{% for b in range(999) %}{{ o(range(9999)) }}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for a in range(99999) %}" + "y" * 100_000 + "{% endfor %}",
    "{% for a in range(99999) %}{{ 'y' * 100000 }}{% endfor %}",
    "{% set x %}{% for a in range(99999) %}" + "y" * 1000 + "{% endfor %}{% endset %}",
    "{% macro f() %}" + "y" * 10_000 + "{% endmacro %}{% for a in range(99999) %}{% set x = f() %}{% endfor %}",
    "{{ 'a' * 10**9 }}",
    "{{ ['a'] * 10**9 }}",
    "{{ 10**(10**8) }}",
    "{{ 10**10**10**10 }}",
    "{{ 9.9**999999 }}",
    "{% set ns = namespace(a='ab') %}{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}",
    "{% set ns = namespace(a='ab') %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}",
    "{% set ns = namespace(a=[0]) %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}",
    "{% set ns = namespace(a=9) %}{% for i in range(60) %}{% set ns.a = ns.a * ns.a %}{% endfor %}",
    DOUBLED + "{{ ns.a }}",
    DOUBLED + "{{ ns.a | json }}",
    DOUBLED + "{{ ns.a | string }}",
    "{% set ns = namespace(a={}) %}{% for i in l * 20 %}{% set ns.a = {'a': ns.a, 'b': ns.a} %}{% endfor %}{{ ns.a }}",
    "{% set ns = namespace(a=[0]) %}{% for i in range(60) %}{% set ns.a = (ns.a, ns.a) %}{% endfor %}{{ ns.a }}",
    "{% set ns = namespace(a={}) %}{% for i in range(60) %}{% set ns.a = dict(a=ns.a, b=ns.a) %}{% endfor %}{{ ns.a }}",
    DOUBLED + DOUBLED.replace("ns", "other") + "{{ ns.a == other.a }}",
    "{% set ns = namespace(a=[0]) %}{% for i in range(9999) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a }}",
    "{{ 'x' | center(10**9) }}",
    "{{ 'x'.center(10**9) }}",
    "{{ 'x'.zfill(10**9) }}",
    "{{ 'x'.ljust(width=10**9) }}",
    "{{ 'x\nx' | indent(10**9) }}",
    "{{ ('x\n' * 100000) | indent('y' * 10000) }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ '%*d' | format(1000000000, 1) }}",
    "{{ ('%(a)s' * 10000) | format(a='y' * 100000) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ [1] | batch(10**9, 'x') | list }}",
    "{{ [1] | slice(10**9, 'x') | list }}",
    "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "{{ ('b' * 100000).join(['a'] * 100000) }}",
    "{{ (['a'] * 100000) | join('b' * 100000) }}",
    "{{ range(99999) | map('string') | map('replace', '9', 'y' * 9999) | join }}",
    "{{ [[1]] | sum(start=[]) }}",
    "{% for a in range(99999) %}{{ l | sort | first }}{{ range(9999) | list | length }}{% endfor %}",
    "{% for a in range(99999) %}{% if range(99999) | select('gt', 99999) | list %}x{% endif %}{% endfor %}",
    "{% for a in range(99999) %}{% set x = ('z' * 1000000).count('y') %}{% endfor %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ [] }}" * 15_000,
    "{{ '" + "a" * 120_000 + "' | tojson(indent=10**9) }}" * 2,
]


@pytest.mark.parametrize("template", ENDLESS, ids=lambda template: template[:60])
def test_a_template_that_asks_for_too_much_ends_soon_and_small(template: str) -> None:
    rendered("{{ 1 + 1 }}")  # Jinja2 itself is no part of what is measured
    started = time.process_time()
    problem = None
    try:
        made = rendered(template)
    except Problem as raised:
        problem = raised
    took = time.process_time() - started
    if problem:
        assert problem.where.startswith("own.yaml.j2")
        assert re.search("more than|too deeply|above|only|is for|takes|Overflow|No filter|unsafe", problem.what)
    else:
        assert len(made) < 1_000_000  # Python or Jinja2 has limits of its own, as for range
    assert took < 8


@pytest.mark.parametrize("template", [ENDLESS[0], ENDLESS[7], ENDLESS[11], ENDLESS[16], DOUBLED + "{{ ns.a }}"])
def test_a_template_that_asks_for_too_much_stays_small(template: str) -> None:
    tracemalloc.start()
    with pytest.raises(Problem):
        rendered(template)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000_000


@pytest.mark.parametrize(
    ("template", "where", "limit"),
    [
        ("a\n{% for a in range(99999) %}\n{% for b in range(99999) %}\n{% endfor %}{% endfor %}", 3, "500,000 steps"),
        ("a\n\n{{ 'a' * 10**9 }}", 3, "10,000,000 characters"),
        (f"a\n{DOUBLED}", 2, "5,000,000 characters"),
    ],
)
def test_the_message_has_the_template_its_line_and_the_limit(template: str, where: int, limit: str) -> None:
    with pytest.raises(Problem) as caught:
        rendered(template)
    assert caught.value.where == f"own.yaml.j2:{where}"
    assert f"more than {limit}" in caught.value.what


def test_the_time_is_limited_even_when_there_are_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emflow.workflow.variables.limits.MAX_SECONDS", 0.2)
    with pytest.raises(Problem, match=r"take more than 0\.2 s of CPU time"):
        rendered("{% set x = 'z' * 1000000 %}{% for a in range(99999) %}{{ 'y' in x }}{% endfor %}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ a['__class__'] }}",
        "{{ workflow.__init__.__globals__ }}",
        "{{ workflow.__class__ }}",
        "{{ l.append(1) }}",
        "{{ m.update({}) }}",
        "{{ m.pop('k') }}",
        "{{ a.format }}",
        "{{ '{0.__class__}'.format(a) }}",
        "{{ a | attr('__class__') }}",
        "{{ [{'v': a}] | sum(attribute='__class__') }}",
        "{{ lipsum() }}",
        "{{ cycler('a') }}",
        "{{ [1, 2] | random }}",
        "{{ range.__class__ }}",
        "{{ workflow.metadata.__eq__(1) }}",
        "{% for x in l %}{{ loop.__class__ }}{{ loop._iterator }}{% endfor %}",
        "{% macro f() %}{% endmacro %}{{ f.__globals__ }}{{ f._func }}",
        "{% include '/etc/passwd' %}",
        "{% include '../render.py' %}",
        "{% import 'os' as os %}",
        "{{ caller }}",
        "{{ environment }}",
        "{{ nothing() }}",
    ],
)
def test_templates_of_files_reach_nothing_but_values(template: str) -> None:
    workflow = check(EXAMPLE / "demo.yaml", environ={}).workflow
    with pytest.raises(Problem, match=r"the template (fails|is wrong)"):
        rendered(template, workflow=workflow)
    assert isinstance(workflow, Workflow)


def test_an_attribute_that_is_not_safe_is_undefined_in_filters_too() -> None:
    assert rendered("{{ [a] | map(attribute='__class__') | list }}") == "[Undefined]"


ADDED = sorted(sandbox._ADDED)
BY_NAME = [
    "{{{{ ['a'] | map('{0}') | list }}}}",
    "{{{{ ['a'] | select('{0}') | list }}}}",
    "{{{{ ['a'] | reject('{0}') | list }}}}",
    "{{{{ [{{'a': 1}}] | selectattr('a', '{0}') | list }}}}",
    "{{{{ [{{'a': 1}}] | rejectattr('a', '{0}') | list }}}}",
    "{{{{ 'a' | {0} }}}}",
    "{{{{ 'a' is {0} }}}}",
    "{{{{ {0}('a') }}}}",
    "{{{{ 'a'.{0}() }}}}",
    "{{{{ ''['{0}'] }}}}",
]


@pytest.mark.parametrize("name", [*ADDED, "_keep", "_joined", "_sliced", "attr", "filter", "callable"])
@pytest.mark.parametrize("form", BY_NAME)
@pytest.mark.parametrize("statements", [False, True], ids=["expressions", "documents"])
def test_what_the_sandbox_adds_itself_has_no_name_in_a_template(form: str, name: str, statements: bool) -> None:
    sandboxed = Sandbox(Budget(), Language(statements=statements, output=as_text))
    with pytest.raises(Exception, match=r"No (filter|test) named|undefined|fails|has no|unsafe|not safe") as caught:
        sandboxed.rendered(form.format(name), {})
    assert sandboxed._captured is None, caught.value


def test_a_name_that_is_no_template_syntax_cannot_be_compiled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The added calls are nodes that Jinja2's parser never makes; a text with their names is a text."""
    sandboxed = Sandbox(Budget(), Language(statements=True, output=as_text))
    assert sandboxed.rendered("environment.capture({{ 'environment.capture(1)' }})", {}).count("capture") == 2
    assert sandboxed._captured is None


def test_the_templates_of_all_components_share_one_budget(tmp_path: Path) -> None:
    for name in ("models", "components"):
        shutil.copytree(EXAMPLE / name, tmp_path / name)
    text = (EXAMPLE / "own-component.yaml").read_text()
    slow = "Manifests: []\n{% for a in range(200000 // 2 - 1) %}{% set x = a %}{% endfor %}"
    (tmp_path / "slow.j2").write_text(slow)
    own = "".join(f"  - {{name: com.example.X{number}, recipe: slow.j2}}\n" for number in range(40))
    (tmp_path / "own.yaml").write_text(text + own)
    started = time.process_time()
    reported = [str(finding) for finding in findings(check(tmp_path / "own.yaml", environ={}))]
    assert time.process_time() - started < 20
    assert any("slow.j2:2: the templates of this workflow take more than" in each for each in reported)


def test_a_recipe_that_never_ends_is_reported_at_its_key(tmp_path: Path) -> None:
    for name in ("models", "components"):
        shutil.copytree(EXAMPLE / name, tmp_path / name)
    recipe = tmp_path / "components" / "heartbeat" / "recipe.yaml.j2"
    recipe.write_text(recipe.read_text() + "# {{ 'a' * 10**9 }}\n")
    (tmp_path / "own.yaml").write_text((EXAMPLE / "own-component.yaml").read_text())
    (reported,) = findings(check(tmp_path / "own.yaml", environ={}))
    last = recipe.read_text().count("\n")
    assert f"recipe.yaml.j2:{last}: the templates of this workflow produce more than 10,000,000" in reported.message
    assert "recipe: components/heartbeat/recipe.yaml.j2" in reported.snippet


def test_a_budget_that_is_used_up_stays_used_up() -> None:
    budget = Budget()
    sandboxed = Sandbox(budget, Language(statements=True, output=as_text))
    for _ in range(2):
        with pytest.raises(VariableError, match="steps"):
            sandboxed.rendered("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", {})
