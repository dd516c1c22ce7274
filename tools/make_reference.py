"""Write docs/reference.md and docs/rules.md from the schema and the rules. Run it after every change of either.

The schema itself is made by tools/make_schemas.py, which has to run first.

A test compares the two, so neither can be wrong for long.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from emflow.workflow.schema_docs import Explanation, Key, explanations, keys

DOCS = Path(__file__).parents[1] / "docs"

NOTE = "<!-- Made by tools/make_reference.py: change {source}, not this file. -->"


def reference(known: Iterable[Key]) -> str:
    """Every key of a workflow: what it means, its type, its limits, its default, an example."""
    lines = [
        NOTE.format(source="the classes in runner/emflow/workflow/model and schema/emflow_schema/edge_config.py"),
        "",
        "# Workflow reference",
        "",
        "Every key of a workflow file. `emflow schema KEY.PATH` says the same in a terminal, and an editor with a YAML",
        "language server while you type: `emflow schema --header` prints the line to put at the top of a file.",
        "",
        "A key without a default has to be there where its section is. `[]` stands for each item of a list.",
    ]
    for key in known:
        lines += [
            "",
            f"{'#' * min(6, 2 + key.path.count('.'))} `{key.path}`",
            "",
            f"**{key.title}.** {key.description}",
            "",
        ]
        lines += _facts(key)
    return "\n".join(lines) + "\n"


def _facts(key: Key) -> Iterator[str]:
    yield f"- Type: {key.kind}{f' ({key.limits})' if key.limits else ''}"
    if key.required:
        yield "- Required"
    if key.default is not None:
        yield f"- Default: `{key.default}`"
    yield f"- Example: `{key.example}`"
    if key.holds:
        yield f"- Holds: {', '.join(f'`{name}`' for name in key.holds)}"


def rules(known: Iterable[Explanation]) -> str:
    """Every code that a finding can carry: why, what is wrong, what is right."""
    lines = [
        NOTE.format(source="runner/emflow/workflow/rules/registry.py and explanations.toml"),
        "",
        "# What `emflow validate` checks",
        "",
        "Each finding carries one of these codes; `emflow validate --explain EM030` says the same in a terminal.",
        "A warning does not make a workflow wrong: the exit code stays 0, unless `--strict` is given.",
    ]
    for each in known:
        mark = " (warning)" if each.severity == "warning" else ""
        lines += ["", f"## {each.code}{mark}: {each.title}"]
        lines += ["", each.why] if each.why else []
        for name, text in (("Wrong", each.wrong), ("Right", each.right)):
            lines += ["", f"{name}:", "", "```yaml", *text.splitlines(), "```"] if text else []
    return "\n".join(lines) + "\n"


def documents() -> dict[str, str]:
    """File name in docs/ to content."""
    return {"reference.md": reference(keys()), "rules.md": rules(explanations())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DOCS, help="folder to write to (default: %(default)s)")
    target = parser.parse_args().output
    for name, content in documents().items():
        (target / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
