"""What a workflow's variables are given from outside: `--var`, `--var-file`, `EMFLOW_VAR_*`; and `env`.

The file's own `vars` come last: EMFLOW_VAR_* goes before them, --var-file before that (a later file before an earlier
one), --var before everything. Values from outside are taken as they are; they are no templates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emflow.problems import Finding, UsageProblem, WorkflowProblem
from emflow.workflow.source.document import Document, parse, read
from emflow.workflow.source.yaml12 import scalar
from emflow.workflow.variables.limits import SECRET, close

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

PREFIX = "EMFLOW_VAR_"

_KINDS = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}


@dataclass(frozen=True)
class Given:
    """What comes from outside: `assignments` of --var, `files` of --var-file (the last first), the environment."""

    assignments: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Document] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


def assignments(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE`, as `--var` gives them, as a mapping; the last of a name counts.

    Raises:
        UsageProblem: one is no `NAME=VALUE`.
    """
    given = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not NAME.fullmatch(name):
            shown = text if not equals else f"{name}=…"  # a value may be a password
            raise UsageProblem(f"{shown!r} is no NAME=VALUE", where="--var", mend="for example: --var prefix=my-prefix")
        given[name] = value
    return given


def read_values(path: Path) -> Document:
    """Read a file of variables: a YAML or JSON mapping of names to values.

    Raises:
        WorkflowProblem: it cannot be read, or is none.
    """
    try:
        return read(path, tabs=path.suffix.lower() == ".json")
    except WorkflowProblem as problem:
        raise WorkflowProblem([_as_values(finding) for finding in problem.findings]) from None


def _as_values(finding: Finding) -> Finding:
    """A mistake told as one of a file of variables, not of a workflow."""
    if finding.code not in ("EM003", "EM007"):
        return finding
    message = "the file is empty" if finding.code == "EM003" else "a file of variables is a mapping of names to values"
    return replace(finding, message=message, mend="for example: prefix: my-prefix")


def overrides(document: Document, declared: Mapping[str, Any], given: Given) -> tuple[dict[str, Any], list[Finding]]:
    """The values from outside by name, each of the kind that the workflow's own value has; and what is wrong."""
    values: dict[str, Any] = {}
    findings: list[Finding] = []
    for name, own in declared.items():
        text = given.environ.get(PREFIX + name, given.environ.get(PREFIX + name.upper()))
        if text is not None:
            findings += _typed(document, values, name, text, own, f"the environment's {PREFIX}{name}")
    for file in given.files:
        for name, value in file.value.items():
            if name not in declared:
                message = f"the workflow has no variable `{name}`"
                mend = close(name, declared) or "declare it under `vars`, with its usual value"
                findings.append(file.finding("EM013", (name,), message, mend, key=True))
            elif not _fits(value, declared[name]):
                message = f"`{name}` has to be {_kind(declared[name])}, as it is in the workflow"
                mend = "put it in quotes" if isinstance(value, bool | int | float) else ""
                findings.append(file.finding("EM014", (name,), message, mend))
            else:
                values[name] = value
    for name, text in given.assignments.items():
        if name in declared:
            findings += _typed(document, values, name, text, declared[name], f"--var {name}")
            continue
        message = f"--var {name}=…: this workflow has no variable `{name}`"
        mend = close(name, declared) or "declare it under `vars`, with its usual value"
        findings.append(document.finding("EM013", ("vars",), message, mend, key=True))
    return values, findings


def _typed(document: Document, values: dict[str, Any], name: str, text: str, own: Any, where: str) -> Sequence[Finding]:
    """Put a text from outside into `values`, as what the workflow's own value is."""
    try:
        value = text if isinstance(own, str) else _read(text, own)
    except (WorkflowProblem, ValueError):
        value = None
    if _fits(value, own) and not (value is None and own is not None):
        values[name] = value
        return ()
    message = f"{where} has to be {_kind(own)}, as `{name}` is here"
    return [document.finding("EM014", ("vars", name), message, _EXAMPLES.get(type(own), ""))]


_EXAMPLES = {
    bool: "write true or false",
    int: "for example: 8554",
    float: "for example: 0.5",
    list: "for example: [a, b]",
    dict: "for example: {a: 1, b: 2}",
}


def _read(text: str, own: Any) -> Any:
    """A text as YAML reads it; in one line, so that nothing comes after it."""
    if isinstance(own, list | dict) or text.lstrip()[:1] in ("[", "{"):
        return parse("value", f"value: {' '.join(text.splitlines())}".encode()).value["value"]
    return scalar(text)


def _fits(value: Any, own: Any) -> bool:
    """Whether a value from outside is of the kind that the workflow's own is; a template may become anything."""
    if own is None or (isinstance(own, str) and "{{" in own):
        return True
    if isinstance(own, str) or (isinstance(own, dict) and set(own) == {SECRET}):
        return isinstance(value, str) or (isinstance(value, dict) and set(value) == {SECRET})
    if isinstance(own, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(own, bool)
    if isinstance(own, int | float):
        return isinstance(value, int | float)
    return isinstance(value, type(own))


def _kind(own: Any) -> str:
    return _KINDS.get(type(own), "a value")
