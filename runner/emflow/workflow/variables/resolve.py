"""Variables: `{{ vars.x }}` and `{{ env.X }}` in any text of the workflow, worked out when first needed.

A variable may use others. A text that is one expression and nothing else keeps the type of what it names, so
`"{{ vars.devices }}"` can be a list. Plain references, which is most, are answered here; the rest is `templates`'.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow.redaction import remember
from emflow.workflow.source.document import MOST_FINDINGS, Document
from emflow.workflow.source.positions import Place
from emflow.workflow.variables.limits import Budget, Refused, as_text, close
from emflow.workflow.variables.overrides import NAME, Given, assignments, overrides

if TYPE_CHECKING:
    from emflow.workflow.variables.templates import Templates

__all__ = ["Given", "assignments", "close", "fill"]

_REFERENCE = re.compile(r"\{\{ *(vars|env)\.([A-Za-z][A-Za-z0-9_]*) *\}\}")
_TEMPLATE = re.compile(r"\{[{%#]")

DEEPEST_CHAIN = 100
"""Variables that need each other in a row."""


def fill(document: Document, given: Given | None = None) -> dict[str, Any]:
    """The workflow's values with every template in them worked out; what is given goes before the file's own `vars`.

    Raises:
        WorkflowProblem: a variable is unknown or of another kind, uses itself, or a template cannot be worked out.
    """
    given = given or Given()
    declared = document.value.get("vars")
    declared = declared if isinstance(declared, dict) else {}
    findings = _names(document, declared)
    if not findings:
        outside, findings = overrides(document, declared, given)
    if findings:
        raise WorkflowProblem(findings[:MOST_FINDINGS])
    variables = _Variables(document, declared, outside, given.environ)
    resolved: dict[str, Any] = {}
    broken: set[str] = set()

    def tell(refused: Refused, place: Place) -> None:
        findings.append(document.finding(refused.code, place, refused.message, refused.mend))
        if len(findings) >= MOST_FINDINGS:
            raise WorkflowProblem(findings)

    for name in declared:
        try:
            resolved[name] = variables.value(name)
        except Refused as refused:
            if not broken & {refused.variable, *refused.circle}:
                tell(refused, ("vars", name))
            broken |= {name, *refused.circle}

    def text(value: str, place: Place) -> Any:
        try:
            return variables.render(value)
        except Refused as refused:
            if refused.variable not in broken:  # its own line has been told already
                tell(refused, place)
            return value

    filled = {key: _each(value, (key,), text) for key, value in document.value.items() if key != "vars"}
    if findings:
        raise WorkflowProblem(findings)
    if "vars" in document.value:
        filled["vars"] = resolved if isinstance(document.value["vars"], dict) else document.value["vars"]
    return filled


class _Variables:
    """The variables of one workflow, each worked out when it is first needed."""

    def __init__(
        self, document: Document, declared: Mapping[str, Any], outside: Mapping[str, Any], environ: Mapping[str, str]
    ) -> None:
        self._document = document
        self._declared = declared
        self._outside = outside
        self._environ = environ
        self._done: dict[str, Any] = {}
        self._rendered: dict[str, Any] = {}
        self._under_way: list[str] = []
        self._budget = Budget()
        self._templates: Templates | None = None

    def value(self, name: str) -> Any:
        if name not in self._declared:
            mend = close(name, self._declared) or "declare it under `vars`"
            raise Refused("EM010", f"there is no variable `{name}`", mend)
        if name in self._under_way:
            circle = self._under_way[self._under_way.index(name) :]
            message = f"the variables need each other: {' → '.join([*circle, name])}"
            raise Refused("EM011", message, "give one of them a value", circle)
        if len(self._under_way) >= DEEPEST_CHAIN:
            raise Refused("EM012", f"a chain of more than {DEEPEST_CHAIN} variables", "give one of them a value")
        if name not in self._done:
            self._under_way.append(name)
            try:
                self._done[name] = self._work_out(name)
                remember(name, self._done[name])
            except Refused as refused:
                refused.variable = refused.variable or name
                raise
            finally:
                self._under_way.pop()
        return self._done[name]

    def environment(self, name: str) -> str:
        if name not in self._environ:
            mend = close(name, self._environ) or f"set it, or write {{{{ env.{name} | default('…') }}}}"
            raise Refused("EM015", f"the environment variable `{name}` is not set", mend)
        remember(name, self._environ[name])
        return self._environ[name]

    def _work_out(self, name: str) -> Any:
        if name in self._outside:
            return self._outside[name]
        return _each(self._declared[name], (), lambda text, _: self.render(text))

    def render(self, text: str) -> Any:
        """A text with its templates worked out."""
        if not _TEMPLATE.search(text):
            return text
        sole = _REFERENCE.fullmatch(text)
        if sole:
            value = self._referred(sole)
        elif not _TEMPLATE.search(_REFERENCE.sub("", text)):
            value = self._text(text)
        else:
            value = self._templated(text)
        if isinstance(value, list | dict):
            self._budget.charge_values(value)
        return value

    def _text(self, text: str) -> str:
        """A text with nothing but references and words in it."""
        parts, end = [], 0
        for match in _REFERENCE.finditer(text):
            value = as_text(self._referred(match))
            self._lossless(match, value)
            self._budget.charge(len(value) + 1)
            parts += [text[end : match.start()], value]
            end = match.end()
        return "".join([*parts, text[end:]])

    def _referred(self, match: re.Match[str]) -> Any:
        return self.environment(match[2]) if match[1] == "env" else self.value(match[2])

    def _lossless(self, match: re.Match[str], value: str) -> None:
        """1.10 is the number 1.1, and nobody who writes a version like that wants it in a text."""
        if match[1] == "env" or match[2] in self._outside:
            return
        written = self._document.written(("vars", match[2]))
        if isinstance(self._declared[match[2]], int | float) and written.lower() != value:
            mend = f'write "{written}", with quotes, where `{match[2]}` is defined'
            raise Refused("EM012", f"the number {written} would become {value} in a text", mend)

    def _templated(self, text: str) -> Any:
        if text not in self._rendered:
            if self._templates is None:
                from emflow.workflow.variables.templates import Templates

                names = {"vars": _Names(self._paid), "env": _Names(self._environment_or_undefined)}
                self._templates = Templates(names, self._budget)
            self._rendered[text] = self._templates.render(text)
        return self._rendered[text]

    def _paid(self, name: str) -> Any:
        """A variable inside a template, which may do to it what takes long for a long one."""
        value = self.value(name)
        self._budget.charge(len(value) if isinstance(value, str) else self._budget.size(value))
        return value

    def _environment_or_undefined(self, name: str) -> Any:
        from emflow.workflow.variables.templates import undefined

        try:
            return self.environment(name)
        except Refused as refused:
            return undefined(refused)  # `default` may take its place


class _Names:
    """`vars` or `env` inside a template. No mapping: a variable may be called `items` or `keys`."""

    def __init__(self, get: Callable[[str], Any]) -> None:
        self.__get = get

    def __getattr__(self, name: str) -> Any:
        if not NAME.fullmatch(name):
            raise AttributeError(name)
        return self.__get(name)

    def __getitem__(self, name: str) -> Any:
        return self.__get(str(name))


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
