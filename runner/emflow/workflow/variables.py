"""Variables: `vars:` of the file, `--var` of the command line, and `{{ vars.x }}` in any text of the workflow.

Jinja2, sandboxed and strict. A variable may use others. A text that is one expression and nothing else keeps the
type of what it names, so `"{{ vars.devices }}"` can be a list.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.sandbox import SandboxedEnvironment

from emflow.problems import Finding, UsageProblem, WorkflowProblem
from emflow.workflow.document import Document
from emflow.workflow.places import Place
from emflow.workflow.yaml12 import scalar

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def assignments(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE`, as `--var` gives them, as a mapping; the last of a name counts.

    Raises:
        UsageProblem: one is no `NAME=VALUE`.
    """
    given = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not NAME.fullmatch(name):
            raise UsageProblem(f"{text!r} is no NAME=VALUE", where="--var", mend="for example: --var prefix=my-prefix")
        given[name] = value
    return given


def fill(document: Document, given: Mapping[str, str]) -> dict[str, Any]:
    """The workflow's values with every template in them worked out; `given` goes before the file's own `vars`.

    Raises:
        WorkflowProblem: a variable is unknown, uses itself, or a template cannot be worked out.
    """
    declared = document.value.get("vars")
    declared = declared if isinstance(declared, dict) else {}
    findings = [*_names(document, declared), *_unknown(document, declared, given)]
    if findings:
        raise WorkflowProblem(findings)
    variables = _Variables(declared, given)
    resolved: dict[str, Any] = {}
    broken: set[str] = set()
    for name in declared:
        try:
            resolved[name] = variables.value(name)
        except _Refused as refused:
            if not broken & {refused.variable, *refused.circle}:
                findings.append(document.finding(refused.code, ("vars", name), refused.message, refused.mend))
            broken |= {name, *refused.circle}

    def text(value: str, place: Place) -> Any:
        try:
            return variables.render(value)
        except _Refused as refused:
            if refused.variable not in broken:  # its own line has been told already
                findings.append(document.finding(refused.code, place, refused.message, refused.mend))
            return value

    filled = {key: _each(value, (key,), text) for key, value in document.value.items() if key != "vars"}
    if findings:
        raise WorkflowProblem(findings)
    if "vars" in document.value:
        filled["vars"] = resolved if isinstance(document.value["vars"], dict) else document.value["vars"]
    return filled


class _Refused(Exception):
    """One template that cannot be worked out. `variable`: in which variable, if in one; `circle`: in which ones."""

    def __init__(self, code: str, message: str, mend: str = "", circle: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.mend = mend
        self.variable = ""
        self.circle = circle


class _Variables:
    """The variables of one workflow, each worked out when it is first needed."""

    def __init__(self, declared: Mapping[str, Any], given: Mapping[str, str]) -> None:
        self._declared = declared
        self._given = given
        self._done: dict[str, Any] = {}
        self._under_way: list[str] = []
        self._jinja = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
        self._jinja.globals.clear()

    def value(self, name: str) -> Any:
        if name not in self._declared:
            mend = close(name, self._declared) or "declare it under `vars`"
            raise _Refused("EM010", f"there is no variable `{name}`", mend)
        if name in self._under_way:
            circle = self._under_way[self._under_way.index(name) :]
            message = f"the variables need each other: {' → '.join([*circle, name])}"
            raise _Refused("EM011", message, "give one of them a value", circle)
        if name not in self._done:
            self._under_way.append(name)
            try:
                self._done[name] = self._work_out(name)
            except _Refused as refused:
                refused.variable = refused.variable or name
                raise
            finally:
                self._under_way.pop()
        return self._done[name]

    def _work_out(self, name: str) -> Any:
        declared = self._declared[name]
        if name in self._given:  # taken as it is typed, and as what the file's own value is
            return self._given[name] if isinstance(declared, str) else scalar(self._given[name])
        return _each(declared, (), lambda text, _: self.render(text))

    def render(self, text: str) -> Any:
        """A text with its templates worked out."""
        if "{{" not in text and "{%" not in text and "{#" not in text:
            return text
        try:
            expression = self._sole_expression(text)
            if expression is None:
                return self._jinja.from_string(text).render(vars=_Names(self))
            value = self._jinja.compile_expression(expression, undefined_to_none=False)(vars=_Names(self))
            if isinstance(value, Undefined):
                str(value)  # raises, with the reason
        except _Refused:
            raise
        except TemplateSyntaxError as error:
            raise _Refused("EM012", f"the template is wrong: {error.message}") from None
        except TemplateError as error:
            message = re.sub(r"^'(\w+)' is undefined$", r"there is no `\1`", error.message or "")
            raise _Refused(
                "EM012", f"the template fails: {message}", "templates know `vars`, as in {{ vars.x }}"
            ) from None
        except Exception as error:  # whatever an expression can do wrong: 1 / 0, "a" + 1, …
            raise _Refused("EM012", f"the template fails: {type(error).__name__}: {error}") from None
        if isinstance(value, str | int | float | dict | list | None):
            return value
        raise _Refused("EM012", "the template comes to nothing that a YAML file could say")

    def _sole_expression(self, text: str) -> str | None:
        """`a` of `{{ a }}`; None where the text has more in it than one expression."""
        body = self._jinja.parse(text).body
        if len(body) != 1 or not isinstance(body[0], nodes.Output) or len(body[0].nodes) != 1:
            return None
        if isinstance(body[0].nodes[0], nodes.TemplateData):
            return None
        match = re.fullmatch(r"\{\{[-+]?(.*?)[-+]?\}\}", text, re.DOTALL)
        return match[1] if match else None


class _Names:
    """`vars` inside a template. No mapping: a variable may be called `items` or `keys`."""

    def __init__(self, variables: _Variables) -> None:
        self.__variables = variables

    def __getattr__(self, name: str) -> Any:
        return self.__variables.value(name)

    __getitem__ = __getattr__


def _each(value: Any, place: Place, text: Callable[[str, Place], Any]) -> Any:
    """The value with every text in it replaced by `text(it, its place)`."""
    if isinstance(value, str):
        return text(value, place)
    if isinstance(value, dict):
        return {key: _each(item, (*place, key), text) for key, item in value.items()}
    if isinstance(value, list):
        return [_each(item, (*place, index), text) for index, item in enumerate(value)]
    return value


def _names(document: Document, declared: Mapping[str, Any]) -> list[Finding]:
    mend = "begin with a letter; go on with letters, digits and underscores"
    return [
        document.finding("EM010", ("vars", name), f"`{name}` is no name for a variable", mend, key=True)
        for name in declared
        if not NAME.fullmatch(name)
    ]


def _unknown(document: Document, declared: Mapping[str, Any], given: Mapping[str, str]) -> list[Finding]:
    return [
        document.finding(
            "EM013",
            ("vars",),
            f"--var {name}=…: this workflow has no variable `{name}`",
            close(name, declared) or "declare it under `vars`, with its usual value",
            key=True,
        )
        for name in given
        if name not in declared
    ]


def close(name: str, known: Mapping[str, Any]) -> str:
    """ "did you mean `x`?", or nothing where nothing is near; `-`, `_` and capitals are no difference."""
    plain = {re.sub(r"[-_]", "", other).lower(): other for other in known}
    near = difflib.get_close_matches(re.sub(r"[-_]", "", name).lower(), plain, 1, 0.6)
    return f"did you mean `{plain[near[0]]}`?" if near else ""
