"""Recipe templates: Jinja2, sandboxed and strict, and the same text from the same values every time."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml
from jinja2 import PackageLoader, StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from emflow.problems import Problem

NOT_THE_SAME_TWICE = ("random",)
"""Filters of Jinja's that give another text each time."""
KEPT = ("range", "dict", "namespace")
"""Jinja's globals that are of use; `lipsum` is one that is not."""


def fill(text: str, values: Mapping[str, Any], where: str) -> str:
    """A template with its values.

    Args:
        where: the template's name, for messages.

    Raises:
        Problem: with the template's line, what is wrong with it.
    """
    environment = _environment()
    try:
        return environment.from_string(text).render(**values)
    except TemplateSyntaxError as error:
        raise Problem(f"the template is wrong: {error.message}", where=f"{where}:{error.lineno}") from None
    except TemplateError as error:
        mend = f"a template knows: {', '.join(sorted(values))}"
        raise Problem(f"the template fails: {error.message}", where=_line(where, error), mend=mend) from None
    except Exception as error:  # whatever an expression can do wrong: 1 / 0, "a" + 1, …
        what = f"the template fails: {type(error).__name__}: {error}"
        raise Problem(what, where=_line(where, error)) from None


def quoted(text: str) -> str:
    """A YAML double-quoted string on one line."""
    made: str = yaml.safe_dump(str(text), default_style='"', allow_unicode=True, width=10**9)
    return made.rstrip("\n")


def plain(text: str) -> str:
    """A YAML string, without quotes where nobody could take it for anything else."""
    bare = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*(://[A-Za-z0-9_.:/-]*[A-Za-z0-9/])?", text)
    return text if bare and yaml.safe_load(text) == text else quoted(text)


def as_json(value: Any) -> str:
    """A value as JSON on one line, which is YAML too."""
    return json.dumps(value, ensure_ascii=False, default=dict)


@cache
def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        loader=PackageLoader("emflow.recipes"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    for name in [name for name in environment.globals if name not in KEPT]:
        del environment.globals[name]
    for name in NOT_THE_SAME_TWICE:
        del environment.filters[name]
    environment.filters.update(quoted=quoted, plain=plain, json=as_json)
    return environment


def _line(where: str, error: BaseException) -> str:
    """The template's line in which it failed, which stands in the traceback only."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return f"{where}:{lines[-1]}" if lines else where
