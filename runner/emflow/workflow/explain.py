"""What a code means, at length: for `emflow validate --explain`, docs/rules.md and SARIF."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from emflow.problems import Severity, UsageProblem
from emflow.workflow.rules.registry import CODES, WARNINGS


@dataclass(frozen=True)
class Explanation:
    """One code. `wrong` and `right` are pieces of YAML, or of a command line; empty where none says more."""

    code: str
    title: str
    severity: Severity
    why: str = ""
    wrong: str = ""
    right: str = ""

    def __str__(self) -> str:
        parts = [f"{self.code} ({self.severity}): {self.title}"]
        parts += [self.why] if self.why else []
        for name in ("wrong", "right"):
            text = getattr(self, name)
            parts += [f"{name}:\n" + "\n".join(f"    {line}" for line in text.splitlines())] if text else []
        return "\n\n".join(parts)


def explanations() -> Iterator[Explanation]:
    """All of them, in the order of their codes."""
    texts = tomllib.loads(resources.files(__package__).joinpath("explanations.toml").read_text(encoding="utf-8"))
    for code, title in sorted(CODES.items()):
        severity: Severity = "warning" if code in WARNINGS else "error"
        yield Explanation(code, title, severity, **texts.get(code, {}))


def explain(code: str) -> Explanation:
    """One of them, whatever its capitals.

    Raises:
        UsageProblem: there is no such code.
    """
    known = {explanation.code: explanation for explanation in explanations()}
    if code.upper() not in known:
        mend = "`emflow validate --explain all` lists them"
        raise UsageProblem(f"there is no code {code!r}", where="--explain", mend=mend)
    return known[code.upper()]
