"""Which lines of a file may hold a secret: those of a key whose name says so, and those below it.

A file with a mistake cannot be read as YAML, so the lines themselves are looked at. In doubt a line counts as secret: a
mistake can be found without it, by its line and column.
"""

from __future__ import annotations

import re
from functools import lru_cache

from emflow.workflow.redaction import STARS, is_secret_key

MAX_LINE = 10_000
"""Characters of a line that are looked at; longer lines were generated."""

HIDDEN = "(not shown: it may hold a secret)"

_KEY = re.compile(r"""(?<![\w.-])(["']?)([\w.-]++)\1\s*+:(?=[\s"'\[{]|\Z)""")
_QUESTION = re.compile(r"""[\s-]*+\?\s++(["']?)([\w.-]++)\1\s*+(?:#.*)?\Z""")
_ESCAPED = re.compile(r"""(?<!\S)"[^"]*\\[^"]*"\s*+:""")
_REFERENCE = re.compile(r"""\s*+(?:["']?(?:arn:|\{\{)|\{\s*+["']?secret["']?\s*+:)""")
_WORD = re.compile(r"[^\s\"',\[\]{}]+")
_IS_KEY = re.compile(r"[A-Za-z_][\w-]*:")
_MARKS = "!&*@%`|>\\"
"""Signs that mean something in YAML before a word; a message names the word without them."""


def may_hold_secret(lines: tuple[str, ...], number: int) -> bool:
    """Whether line `number`, counted from 1, is that of a secret key, or below one."""
    line, secret = lines[number - 1], _secret_keys(lines)
    if number - 1 in secret and not _is_reference(line):
        return True
    above = [index for index in secret if index < number - 1]
    if not above:
        return False
    if any(_is_open(lines[index], secret[index]) for index in above):
        return True
    indent, continues = _indent(line), not _has_key(line)
    for index in range(number - 2, above[0] - 1, -1):
        text = lines[index]
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        if index in secret and (_column(text, secret[index]) < indent or continues):
            return True
        indent, continues = min(indent, _indent(text)), continues and not _has_key(text)
        if indent == 0 and not continues:
            return False
    return False


def without_words_of(line: str, message: str) -> str:
    """A message without what it repeats of a line that may hold a secret."""
    words = {word.strip(_MARKS) for word in _WORD.findall(line)} | {line.strip()}
    if any(is_secret_key(key[2]) for key in _KEY.finditer(line)):
        words = {word for word in words if not _IS_KEY.fullmatch(word)}
    # Below a secret key, the keys are a part of the secret.
    words |= {word.rstrip(":") for word in words}
    for word in sorted(words, key=len, reverse=True):
        if len(word) > 1:
            message = message.replace(word, STARS)
    return message


@lru_cache(maxsize=8)
def _secret_keys(lines: tuple[str, ...]) -> dict[int, int]:
    """Index of each line with a secret key → where its first one begins."""
    found = {}
    for index, line in enumerate(lines):
        start = _secret_start(line[:MAX_LINE])
        if start is not None:
            found[index] = start
    return found


def _secret_start(line: str) -> int | None:
    """Where the first secret key of a line begins; also that of a key which is written with escapes, and so unknown,
    and that of an address which goes on in the next line."""
    question = _QUESTION.match(line)
    if question and is_secret_key(question[2]):
        return question.start(2)
    if ":" not in line:
        return None
    keys = list(_KEY.finditer(line))
    secret = next((key.start() for key in keys if is_secret_key(key[2])), None)
    if secret is None and (escaped := _ESCAPED.search(line)):
        secret = escaped.start()
    if secret is None and keys and "://" in line and _is_open(line, keys[-1].start()):
        secret = keys[-1].start()
    return secret


def _is_reference(line: str) -> bool:
    """Whether each secret key of the line has a reference as its value: an ARN or a variable."""
    keys = [key for key in _KEY.finditer(line) if is_secret_key(key[2])]
    return bool(keys) and all(_REFERENCE.match(line, key.end()) for key in keys)


def _has_key(line: str) -> bool:
    return _KEY.match(line, len(line) - len(line.lstrip(" \t-"))) is not None


def _is_open(line: str, start: int) -> bool:
    """Whether the value of the secret key that begins there has a quote or a bracket that the line does not close."""
    value = re.sub(r"\\.", "", line[start:].partition(":")[2].strip())
    if value[:1] in ("'", '"'):
        return value.count(value[0]) % 2 == 1
    return value[:1] in ("[", "{") and not value.endswith(("]", "}"))


def _indent(line: str) -> int:
    return _column(line, len(line) - len(line.lstrip(" \t-")))


def _column(line: str, index: int) -> int:
    """The column of a character, where a tab counts as it is usually shown."""
    return len(line[:index].expandtabs())
