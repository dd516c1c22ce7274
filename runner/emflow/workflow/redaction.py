"""Passwords out of what people and logs get to see: those in addresses, and values of keys that say they are secret.

The value of a variable whose name says so (`vars.password`, `env.DB_PASSWORD`) becomes stars wherever it turns up.

Where a text leaves open how far a password goes, more of it becomes stars rather than less: a password may have an @,
a slash, a space, a quote or digits only. It ends with its line; in a value that is an address, not even there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote

from emflow.problems import printable

STARS = "***"
"""In place of every password: its length would be worth something to whoever guesses it."""

# Each in one pass without going back, because what is looked through may be megabytes that somebody made up.
_LINE = re.compile(r"[^\r\n]++")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+://")
_USER = re.compile(r"://([^:/]*+):")
_WORD = re.compile(r"\S*+")
_REFERENCES = ("{", "$", "<")
_TEMPLATE = re.compile(r"\{\{[^{}]*+\}\}(?=@)")
_HOST = re.compile(r"://\[[0-9A-Fa-f:.%]++\](?::\d++)?(?![\w@])")
_PORT = re.compile(r"\d{1,5}(?![\w@])")
_ONLY_PORT = re.compile(r"\d++(?:[^\w@].*+)?|")
_ANOTHER = re.compile(r"[\s,;'\"({\[][A-Za-z][A-Za-z0-9+.-]*+://")
_STARS = re.compile(r"\*++@")

_WORDS = (
    r"passw(?:or)?d|passphrase|passcode|(?<![a-z])(?:pass|pw(?![a-z]))|pwd|secret|token|credential"
    r"|(?:access|api|private)[_-]?key"
)
_KEY = re.compile(rf"(?:{_WORDS})s?(?:[_-]?(?:key|value|string|text|\d+))*\Z", re.IGNORECASE)
_SAYS_KEY = re.compile(_WORDS, re.IGNORECASE)
_QUERY = rf"((?:{_WORDS}|auth|key|sig(?:nature)?)s?=)"
_ADDRESS = re.compile(r"://\S++")
_IN_QUERY = re.compile(rf"{_QUERY}([^&#\s\"'<>]++)", re.IGNORECASE)
_IN_QUERY_OF_VALUE = re.compile(rf"{_QUERY}([^&#]++)", re.IGNORECASE)
_PAIR = re.compile(
    r"""(?<!\w)(\w++)([\"']?\s*+[:=]\s*+)                 # password: | "api_token": | SECRET=
        (?:(\")((?:[^\"\\\n]|\\.)++) | (')((?:[^'\n]|'')++)     # "…" | '…'
         | (?!arn:|\{\{|[\"'{\[&*])([^\"',}\]\s]++))            # no reference, template, group or anchor
    """,
    re.VERBOSE,
)
_STAYS = ("arn:", "{{", "(known after apply)")

SHORTEST = 4
"""Characters of a variable's value that is looked for: of shorter ones every text is full."""

_values: set[str] = set()
"""What the secret variables that this process has used are, in all ways to write it."""


def remember(name: str, value: Any) -> None:
    """Have the value of a variable become stars from now on, if its name, or that of a key in it, says it is secret."""
    match value:
        case {"secret": str()} if len(value) == 1:
            pass  # a reference to a secret, which is none
        case Mapping():
            for key, item in value.items():
                remember(key if _SAYS_KEY.search(key) else name, item)
        case list() | tuple():
            for item in value:
                remember(name, item)
        case str() | int() | float() if not isinstance(value, bool) and _SAYS_KEY.search(name):
            text = str(value)
            if len(text) >= SHORTEST and not text.startswith(_STAYS):
                ways = {text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
                _values.update(ways, {quote(text, safe=""), printable(text)})
                _pattern.cache_clear()


def forget() -> None:
    """Have no variable's value become stars any more."""
    _values.clear()
    _pattern.cache_clear()


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(_values, key=len, reverse=True))))


def concealed(text: str) -> str:
    """The text with stars for what secret variables were; nothing else in it is looked for."""
    return _pattern().sub(STARS, text) if _values else text


def redacted(text: str) -> str:
    """The text with stars where a password stands, as many for each; a secret's ARN, which is a reference, stays.

    For everything that is shown or logged: messages, snippets, plans, events. Not for what is sent to AWS.
    """
    return _without_patterns(concealed(text))


def without_passwords(text: str) -> str:
    """As `redacted`, but only variables' values, and passwords in addresses: before their host, and in their query."""
    return _without_addresses(concealed(text))


def _without_patterns(text: str) -> str:
    text = _without_addresses(text)
    return _PAIR.sub(_pair, text) if _SAYS_KEY.search(text) else text


def _without_addresses(text: str) -> str:
    if "://" not in text:
        return text
    text = _LINE.sub(lambda line: _users(line[0]), text)
    return _ADDRESS.sub(lambda address: _IN_QUERY.sub(_stars, address[0]), text)


def has_password(address: str) -> bool:
    """Whether a text is an address with a password in it."""
    return bool(_SCHEME.match(address)) and masked(address, variables=False) != address


def masked(value: Any, *, variables: bool = True) -> Any:
    """A value as JSON data, with stars for passwords, wherever they stand.

    `variables`: also what secret variables were. Without it the result is the same in every process.
    """
    match value:
        case str():
            text = concealed(value) if variables else value
            if _SCHEME.match(text):
                return _IN_QUERY_OF_VALUE.sub(_stars, _users(text, alone=True))
            return _without_patterns(text)
        case Mapping():
            return {str(key): _of_key(str(key), item, variables) for key, item in value.items()}
        case list() | tuple():
            return [masked(item, variables=variables) for item in value]
        case _:
            return value


def _of_key(key: str, value: Any, variables: bool) -> Any:
    if isinstance(value, str) and _KEY.search(key) and not value.startswith(_STAYS):
        return STARS
    return masked(value, variables=variables)


def _users(text: str, *, alone: bool = False) -> str:
    """Passwords between user and host, as far as the last @; `alone`: it is one address."""
    last, shown, done, at = text.rfind("@"), [], 0, 0
    while user := _USER.search(text, at):
        start = user.end()
        if host := _HOST.match(text, user.start()):
            at = host.end()
            continue
        if kept := _TEMPLATE.match(text, start) or _STARS.match(text, start):
            at = kept.end()
            continue
        if last > start:
            port = _PORT.match(text, start)
            if port and not alone and _ANOTHER.search(text, start, last):  # the @ is that one's
                at = port.end()
                continue
            at = end = last
        else:
            word = _word(text, start)
            at = end = start + len(word)
            if _ONLY_PORT.fullmatch(word) or word.startswith(_REFERENCES) or re.search(r"\s", user[1]):
                continue  # a port, a template, or a colon further on in a sentence
        shown += [text[done:start], STARS]
        done = end
    return "".join([*shown, text[done:]])


def _word(text: str, start: int) -> str:
    found = _WORD.match(text, start)
    return found[0] if found else ""


def _stars(pair: re.Match[str]) -> str:
    return pair[1] + STARS


def _pair(pair: re.Match[str]) -> str:
    value = pair[4] or pair[6] or pair[7]
    quote = pair[3] or pair[5] or ""
    if value.startswith(_STAYS):
        return pair[0]
    # What is in quotes may have pairs of its own, as a GStreamer pipeline has.
    shown = STARS if _KEY.search(pair[1]) else _PAIR.sub(_pair, value) if quote else value
    return pair[1] + pair[2] + quote + shown
