"""Checks that an artifact that a script executes may be executed: the recipe's `Permission` says so, not the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emflow.recipes.reader.finding import RecipeFinding
from emflow.workflow.source.positions import KeyPath

# A command: at the beginning, after what separates commands, or after a word that is followed by one; variables may be
# set for it. `sh`, `python3` and `.` are not among the words: they read the file, and need no permission to execute it.
_COMMAND = re.compile(
    r"""(?:^|[\n;&|(]|\b(?:exec|then|do|else|sudo|nohup|time)[ \t])[ \t]*
        (?:[A-Za-z_]\w*=(?:"[^"\n]*"|'[^'\n]*'|[^\s"']*)[ \t]+)*
        ["']?\{artifacts:(?P<which>path|decompressedPath)\}/(?P<path>[^\s"';&|)]+)""",
    re.VERBOSE,
)
_CHANGES_MODES = re.compile(r"\bchmod\b[^\n;&|]*\{artifacts:")


def execution(steps: Any, place: KeyPath, artifacts: Any) -> Iterator[RecipeFinding]:
    """Commands of a lifecycle that are paths into an artifact without the permission to execute.

    Args:
        steps: the lifecycle, in the shape that it was written in.
        artifacts: the manifest's list of artifacts, likewise.
    """
    scripts = list(_scripts(steps, place))
    if any(_CHANGES_MODES.search(text) for _, text in scripts):
        return  # the owner of the files, as which a component runs, may give itself the permission
    known = {key: rights for each in _maps(artifacts) for key, rights in _named(each).items()}
    for where, text in scripts:
        for command in _COMMAND.finditer(text):
            name = command["path"].split("/")[0]
            execute = known.get((command["which"].lower(), name))
            if execute == "NONE":
                what = (
                    f"executes {{artifacts:{command['which']}}}/{command['path']}, which its Permission does not allow"
                )
                mend = "write Permission: {Execute: OWNER} for the artifact, or name the interpreter: sh, python3"
                yield RecipeFinding(where, what, mend)


def _named(artifact: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """How scripts name an artifact, and who may execute it."""
    read = {str(key).lower(): value for key, value in artifact.items()}
    permission = read.get("permission")
    rights = {str(key).lower(): value for key, value in permission.items()} if isinstance(permission, Mapping) else {}
    execute = str(rights.get("execute") or "NONE").upper()
    file = str(read.get("uri") or "").rpartition("/")[2]
    return {("path", file): execute, ("decompressedpath", file.rpartition(".")[0] or file): execute}


def _maps(found: Any) -> Sequence[Mapping[str, Any]]:
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _scripts(body: Any, place: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Every script in a lifecycle, with its position."""
    for key, value in (body if isinstance(body, Mapping) else {}).items():
        at = (*place, str(key))
        if isinstance(value, str) and str(key).lower() not in ("skipif", "timeout", "requiresprivilege"):
            yield at, value
        elif str(key).lower() != "setenv":
            yield from _scripts(value, at)
