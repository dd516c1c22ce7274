"""Whether a text is a part of a workflow. Messages quote a file only when it is: another one may hold secrets."""

from __future__ import annotations

import re

KEYS = ("metadata", "imports", "vars", "aws", "cloud", "edge", "components")
"""The keys at the top of a workflow. `apiVersion` and `kind` are not among them: files of Kubernetes have those too."""

ENDINGS = (".yaml", ".yml", ".json")

_BEFORE, _BEFORE_IN_BRACES = rb"^[\"']?", rb"^[ \t{,]*[\"']?"
_KEY = rb"(apiVersion|kind|%b)[\"']?[ \t]*:(?:[ \t]*[\"']?(emflow/))?" % "|".join(KEYS).encode()


def is_workflow(text: bytes) -> bool:
    """Whether a line begins with a key of a workflow, and none with the `apiVersion` of another program."""
    text = text.removeprefix(b"\xef\xbb\xbf")
    before = _BEFORE_IN_BRACES if text.lstrip().startswith(b"{") else _BEFORE
    found = dict(re.findall(before + _KEY, text, re.MULTILINE))
    if b"apiVersion" in found:
        return bool(found[b"apiVersion"])
    ours = found.keys() - {b"kind"}
    return bool(ours - {b"metadata"}) if b"kind" in found else bool(ours)
