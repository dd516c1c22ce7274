"""Variables: `{{ vars.x }}` and `{{ env.X }}` in any text of the workflow, evaluated on first use.

A variable may use others. A text that is one expression and nothing else keeps the type of its value, so
`"{{ vars.devices }}"` can be a list. Plain references, the usual case, are resolved here; other templates by
`templates`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emflow.problems import Finding, WorkflowProblem, is_utf8
from emflow.timing import timed
from emflow.workflow.redaction import remember_secret
from emflow.workflow.source.document import MAX_FINDINGS, Document
from emflow.workflow.source.positions import KeyPath, format_path
from emflow.workflow.suggestions import did_you_mean
from emflow.workflow.variables.limits import Budget, VariableError, as_text
from emflow.workflow.variables.overrides import NAME, Overrides, resolve_overrides

if TYPE_CHECKING:
    from emflow.workflow.variables.templates import Templates

_log = logging.getLogger("emflow.templates")

_REFERENCE = re.compile(r"\{\{ *(vars|env)\.([A-Za-z][A-Za-z0-9_]*) *\}\}")
_TEMPLATE = re.compile(r"\{[{%#]")

MAX_CHAIN = 100
"""Length of a chain of variables, each of which uses the next."""


@dataclass(frozen=True)
class Resolved:
    """The workflow's values with all templates evaluated, and what went wrong.

    Attributes:
        unknown: the key paths of values that could not be evaluated; they are None.
    """

    values: dict[str, Any]
    findings: tuple[Finding, ...]
    unknown: frozenset[KeyPath]


def resolve_variables(document: Document, overrides: Overrides | None = None) -> dict[str, Any]:
    """The workflow's values with all templates evaluated; `overrides` override the file's own `vars`.

    Raises:
        WorkflowProblem: a variable is unknown, has the wrong type or uses itself, or a template cannot be evaluated.
    """
    resolved = resolve_as_far_as_possible(document, overrides or Overrides())
    if resolved.findings:
        raise WorkflowProblem(resolved.findings)
    return resolved.values


def resolve_as_far_as_possible(document: Document, overrides: Overrides) -> Resolved:
    """As `resolve_variables`, but goes on after an error.

    Raises:
        WorkflowProblem: there are `MAX_FINDINGS` errors.
    """
    declared = document.value.get("vars")
    declared = declared if isinstance(declared, dict) else {}
    findings = _name_findings(document, declared)
    unknown: set[KeyPath] = {("vars", name) for name in declared if not NAME.fullmatch(name)}
    overridden, found = resolve_overrides(document, declared, overrides)
    findings += found
    if len(findings) >= MAX_FINDINGS:
        raise WorkflowProblem(findings[:MAX_FINDINGS])
    variables = _Variables(document, declared, overridden, overrides.environ)
    resolved: dict[str, Any] = {}
    broken: set[str] = set()

    def report(error: VariableError, key_path: KeyPath) -> None:
        findings.append(document.finding(error.code, key_path, error.message, error.mend))
        if len(findings) >= MAX_FINDINGS:
            raise WorkflowProblem(findings)

    def render(value: str, key_path: KeyPath) -> Any:
        if not _TEMPLATE.search(value):
            return value
        with timed(_log, "template at %s rendered", format_path(key_path)):
            return variables.render(value)

    for name in declared:
        try:
            resolved[name] = variables.value(name)
        except VariableError as error:
            if not broken & {error.variable, *error.cycle}:
                report(error, ("vars", name))
            broken |= {name, *error.cycle}
            unknown.add(("vars", name))

    def text(value: str, key_path: KeyPath) -> Any:
        try:
            return render(value, key_path)
        except VariableError as error:
            if error.variable not in broken:  # reported already, at the variable's own line
                report(error, key_path)
            unknown.add(key_path)
            return None  # not the text as written, which may be long and is no value

    filled = {key: _map_texts(value, (key,), text) for key, value in document.value.items() if key != "vars"}
    if "vars" in document.value:
        filled["vars"] = resolved if isinstance(document.value["vars"], dict) else document.value["vars"]
    return Resolved(filled, tuple(findings), frozenset(unknown))


class _Variables:
    """The variables of one workflow, each evaluated on first use."""

    def __init__(
        self, document: Document, declared: Mapping[str, Any], overridden: Mapping[str, Any], environ: Mapping[str, str]
    ) -> None:
        self._document = document
        self._declared = declared
        self._overridden = overridden
        self._environ = environ
        self._resolved: dict[str, Any] = {}
        self._rendered: dict[str, Any] = {}
        self._evaluating: list[str] = []
        self._budget = Budget()
        self._templates: Templates | None = None

    def value(self, name: str) -> Any:
        """The value of `vars.<name>`. Raises VariableError."""
        if name not in self._declared:
            mend = did_you_mean(name, self._declared) or "declare it under `vars`"
            raise VariableError("EM010", f"there is no variable `{name}`", mend)
        if name in self._evaluating:
            cycle = self._evaluating[self._evaluating.index(name) :]
            message = f"the variables depend on each other: {' → '.join([*cycle, name])}"
            raise VariableError("EM011", message, "give one of them a value", cycle)
        if len(self._evaluating) >= MAX_CHAIN:
            raise VariableError("EM012", f"a chain of more than {MAX_CHAIN} variables", "give one of them a value")
        if name not in self._resolved:
            self._evaluating.append(name)
            try:
                with timed(_log, "variable %s evaluated", name):
                    self._resolved[name] = self._evaluate(name)
                remember_secret(name, self._resolved[name])
            except VariableError as error:
                error.variable = error.variable or name
                raise
            finally:
                self._evaluating.pop()
        return self._resolved[name]

    def environment(self, name: str) -> str:
        """The value of `env.<name>`. Raises VariableError."""
        if name not in self._environ:
            mend = did_you_mean(name, self._environ) or f"set it, or write {{{{ env.{name} | default('…') }}}}"
            raise VariableError("EM015", f"the environment variable `{name}` is not set", mend)
        if not is_utf8(self._environ[name]):
            raise VariableError("EM015", f"the environment variable `{name}` is not UTF-8", "set it in UTF-8")
        remember_secret(name, self._environ[name])
        return self._environ[name]

    def _evaluate(self, name: str) -> Any:
        if name in self._overridden:
            return self._overridden[name]
        return _map_texts(self._declared[name], (), lambda text, _: self.render(text))

    def render(self, text: str) -> Any:
        """A text with its templates evaluated. Raises VariableError."""
        if not _TEMPLATE.search(text):
            return text
        single = _REFERENCE.fullmatch(text)
        if single:
            value = self._referenced_value(single)
        elif not _TEMPLATE.search(_REFERENCE.sub("", text)):
            value = self._substitute(text)
        else:
            value = self._render_template(text)
        if isinstance(value, list | dict):
            self._budget.charge_values(value)
        return value

    def _substitute(self, text: str) -> str:
        """A text that has plain references in it, and no other templates."""
        parts, end = [], 0
        for match in _REFERENCE.finditer(text):
            value = as_text(self._referenced_value(match))
            self._refuse_lossy_number(match, value)
            self._budget.charge(len(value) + 1)
            parts += [text[end : match.start()], value]
            end = match.end()
        return "".join([*parts, text[end:]])

    def _referenced_value(self, match: re.Match[str]) -> Any:
        return self.environment(match[2]) if match[1] == "env" else self.value(match[2])

    def _refuse_lossy_number(self, match: re.Match[str], value: str) -> None:
        """Refuse a number that changes when it becomes text: 1.10 is the number 1.1, but was meant as a version."""
        if match[1] == "env" or match[2] in self._overridden:
            return
        source_text = self._document.source_text(("vars", match[2]))
        if isinstance(self._declared[match[2]], int | float) and source_text.lower() != value:
            mend = f'write "{source_text}", with quotes, where `{match[2]}` is defined'
            raise VariableError("EM012", f"the number {source_text} would become {value} in a text", mend)

    def _render_template(self, text: str) -> Any:
        if text not in self._rendered:
            if self._templates is None:
                from emflow.workflow.variables.templates import Templates

                names = {"vars": _Namespace(self._charged_value), "env": _Namespace(self._environment_or_undefined)}
                self._templates = Templates(names, self._budget)
            self._rendered[text] = self._templates.render(text)
        return self._rendered[text]

    def _charged_value(self, name: str) -> Any:
        """A variable inside a template, charged by its size: operations on a long value take long."""
        value = self.value(name)
        self._budget.charge(len(value) if isinstance(value, str) else self._budget.size(value))
        return value

    def _environment_or_undefined(self, name: str) -> Any:
        from emflow.workflow.variables.templates import undefined

        try:
            return self.environment(name)
        except VariableError as error:
            return undefined(error)  # the filter `default` may replace it


class _Namespace:
    """`vars` or `env` inside a template. Not a mapping, because a variable may be named `items` or `keys`."""

    def __init__(self, get: Callable[[str], Any]) -> None:
        self.__get = get

    def __getattr__(self, name: str) -> Any:
        if not NAME.fullmatch(name):
            raise AttributeError(name)
        return self.__get(name)

    def __getitem__(self, name: str) -> Any:
        return self.__get(str(name))


def _map_texts(value: Any, key_path: KeyPath, text: Callable[[str, KeyPath], Any]) -> Any:
    """The value with every text in it replaced by `text(<the text>, <its key path>)`."""
    if isinstance(value, str):
        return text(value, key_path)
    if isinstance(value, dict):
        return {key: _map_texts(item, (*key_path, key), text) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_texts(item, (*key_path, index), text) for index, item in enumerate(value)]
    return value


def _name_findings(document: Document, declared: Mapping[str, Any]) -> list[Finding]:
    mend = "begin with a letter; go on with letters, digits and underscores"
    return [
        document.finding("EM010", ("vars", name), f"`{name}` is not a valid name for a variable", mend, key=True)
        for name in declared
        if not NAME.fullmatch(name)
    ]
