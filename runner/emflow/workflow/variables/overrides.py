"""Values for a workflow's variables from outside the file: `--var`, `--var-file` and `EMFLOW_VAR_*`.

Precedence, highest first: `--var`; `--var-file`, of which a later file overrides an earlier one; `EMFLOW_VAR_*`; the
file's own `vars`. Values from outside are literal: templates in them are not evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emflow.problems import Finding, UsageProblem, WorkflowProblem, is_utf8
from emflow.workflow.source.document import Document, parse, read
from emflow.workflow.source.yaml12 import scalar
from emflow.workflow.suggestions import did_you_mean
from emflow.workflow.variables.limits import SECRET

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

PREFIX = "EMFLOW_VAR_"

_KINDS = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}

_EXAMPLES = {
    bool: "write true or false",
    int: "for example: 8554",
    float: "for example: 0.5",
    list: "for example: [a, b]",
    dict: "for example: {a: 1, b: 2}",
}

_DECLARE = "declare it under `vars`, with a default value"


@dataclass(frozen=True)
class Overrides:
    """Values from outside the workflow file.

    Attributes:
        assignments: name → text, of `--var`.
        files: the parsed files of `--var-file`; a later one overrides an earlier one.
        environ: the environment, for `EMFLOW_VAR_*` and for `env` in templates.
    """

    assignments: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Document] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


def parse_assignments(texts: Sequence[str]) -> dict[str, str]:
    """The `NAME=VALUE` texts of `--var` as a mapping; the last of several with one name counts.

    Raises:
        UsageProblem: a text is not of the form `NAME=VALUE`.
    """
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not NAME.fullmatch(name):
            shown = text if not equals else f"{name}=…"  # a value may be a password
            raise UsageProblem(
                f"{shown!r} is not NAME=VALUE", where="--var", mend="for example: --var prefix=my-prefix"
            )
        if not is_utf8(value):
            raise UsageProblem(f"the value of {name} is not UTF-8", where="--var", mend="give it in UTF-8")
        values[name] = value
    return values


def read_variable_file(path: Path) -> Document:
    """Read a file of `--var-file`: a YAML or JSON mapping of variable names to values.

    Raises:
        WorkflowProblem: it cannot be read, or is not a mapping.
    """
    try:
        return read(path, json=path.suffix.lower() == ".json")
    except WorkflowProblem as problem:
        raise WorkflowProblem([_for_variable_file(finding) for finding in problem.findings]) from None


def _for_variable_file(finding: Finding) -> Finding:
    """A finding with the wording for a file of variables instead of a workflow."""
    if finding.code not in ("EM003", "EM007"):
        return finding
    message = "the file is empty" if finding.code == "EM003" else "a file of variables is a mapping of names to values"
    return replace(finding, message=message, mend="for example: prefix: my-prefix")


def resolve_overrides(
    document: Document, declared: Mapping[str, Any], overrides: Overrides
) -> tuple[dict[str, Any], list[Finding]]:
    """The overridden values by variable name, and the findings.

    A value must have the type of the value that the workflow declares; a text is converted to it.
    """
    values: dict[str, Any] = {}
    findings: list[Finding] = []
    for name, default in declared.items():
        text = overrides.environ.get(PREFIX + name, overrides.environ.get(PREFIX + name.upper()))
        if text is not None:
            findings += _convert_text(document, values, name, text, default, f"the environment's {PREFIX}{name}")
    for file in overrides.files:
        for name, value in file.value.items():
            if name not in declared:
                message = f"the workflow has no variable `{name}`"
                mend = did_you_mean(name, declared) or _DECLARE
                findings.append(file.finding("EM013", (name,), message, mend, key=True))
            elif not _has_type_of(declared[name], value):
                message = f"`{name}` has to be {_type_name(declared[name])}, as it is in the workflow"
                mend = "put it in quotes" if isinstance(value, bool | int | float) else ""
                findings.append(file.finding("EM014", (name,), message, mend))
            else:
                values[name] = value
    for name, text in overrides.assignments.items():
        if name in declared:
            findings += _convert_text(document, values, name, text, declared[name], f"--var {name}")
            continue
        message = f"--var {name}=…: this workflow has no variable `{name}`"
        mend = did_you_mean(name, declared) or _DECLARE
        findings.append(document.finding("EM013", ("vars",), message, mend, key=True))
    return values, findings


def _convert_text(
    document: Document, values: dict[str, Any], name: str, text: str, default: Any, source: str
) -> Sequence[Finding]:
    """Put a text from outside into `values`, converted to the type of the workflow's own value."""
    if not is_utf8(text):
        return [document.finding("EM014", ("vars", name), f"{source} is not UTF-8", "give it in UTF-8")]
    try:
        value = text if isinstance(default, str) else _parse_value(text, default)
    except (WorkflowProblem, ValueError):
        value = None
    if _has_type_of(default, value) and not (value is None and default is not None):
        values[name] = value
        return ()
    message = f"{source} has to be {_type_name(default)}, as `{name}` is here"
    return [document.finding("EM014", ("vars", name), message, _EXAMPLES.get(type(default), ""))]


def _parse_value(text: str, default: Any) -> Any:
    """A text as YAML reads it; joined to one line, so that no other keys can follow the value."""
    if isinstance(default, list | dict) or text.lstrip()[:1] in ("[", "{"):
        return parse("value", f"value: {' '.join(text.splitlines())}".encode()).value["value"]
    return scalar(text)


def _has_type_of(default: Any, value: Any) -> bool:
    """Whether a value has the type of the workflow's own; a template there may evaluate to any type."""
    if default is None or (isinstance(default, str) and "{{" in default):
        return True
    if isinstance(default, str) or (isinstance(default, dict) and set(default) == {SECRET}):
        return isinstance(value, str) or (isinstance(value, dict) and set(value) == {SECRET})
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, int | float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))


def _type_name(default: Any) -> str:
    return _KINDS.get(type(default), "a value")
