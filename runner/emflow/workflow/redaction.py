"""Masks passwords in everything that is shown or logged.

Masked are: passwords in addresses; values of keys whose name says that they are secret (`password`, `api_token`); and,
wherever they occur, the values of variables whose name says so (`vars.password`, `env.DB_PASSWORD`).

When it is unclear where a password ends, too much is masked rather than too little: a password may contain an @, a
slash, a space, a quote, or only digits. In a text, a password ends with its line at the latest; in a value that is an
address as a whole, it may go on.
"""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, quote_plus

import yaml

from emflow.json_text import from_json, to_json
from emflow.problems import printable

STARS = "***"
"""Replaces every password, whatever its length, which would help an attacker to guess it."""

# Possessive quantifiers, so that each pattern takes linear time: the text may be megabytes from an attacker.
_LINE = re.compile(r"[^\r\n]++")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+://")
_USER = re.compile(r"://([^:/]*+):")
_WORD = re.compile(r"\S*+")
_REFERENCES = ("{", "$", "<")
_TEMPLATE = re.compile(r"\{\{[^{}]*+\}\}(?=@)")
_HOST = re.compile(r"://\[[0-9A-Fa-f:.%]++\](?::\d++)?(?![\w@])")
_PORT = re.compile(r"\d{1,5}(?![\w@])")
_ONLY_PORT = re.compile(r"\d++(?:[^\w@].*+)?|")
_NEXT_ADDRESS = re.compile(r"[\s,;'\"({\[][A-Za-z][A-Za-z0-9+.-]*+://")
_STARS = re.compile(r"\*++@")

_WORDS = (
    r"passw(?:or)?d|passphrase|passcode|(?<![a-z])(?:pass|pw(?![a-z]))|pwd|secret|token|credential"
    r"|(?:access|api|private)[_-]?key"
)
_SECRET_KEY = re.compile(rf"(?:{_WORDS})s?(?:[_-]?(?:key|value|string|text|\d+))*\Z", re.IGNORECASE)
_SECRET_WORD = re.compile(_WORDS, re.IGNORECASE)
_QUERY = rf"((?:{_WORDS}|auth|key|sig(?:nature)?)s?=)"
_ADDRESS = re.compile(r"://\S++")
_QUERY_SECRET = re.compile(rf"{_QUERY}([^&#\s\"'<>]++)", re.IGNORECASE)
_QUERY_SECRET_OF_ADDRESS = re.compile(rf"{_QUERY}([^&#]++)", re.IGNORECASE)
_PAIR = re.compile(
    r"""(?<!\w)(\w++)([\"']?\s*+[:=]\s*+)                 # password: | "api_token": | SECRET=
        (?:(\")((?:[^\"\\\n]|\\.)++) | (')((?:[^'\n]|'')++)     # "…" | '…'
         | (?!arn:|\{\{|[\"'{\[&*])([^\"',}\]\s]++))            # not a reference, template, group or anchor
    """,
    re.VERBOSE,
)
_NOT_SECRET = ("arn:", "{{", "(known after apply)")

MIN_LENGTH = 4
"""Characters of a secret variable's value that is searched for. Shorter values would occur by chance."""

CUT = "\N{HORIZONTAL ELLIPSIS}"
"""Stands at the end of a text that was cut."""

MAX_NESTING = 3
"""Documents inside each other for which the spelling of a secret value is known: JSON in JSON in a log, for example."""

_secret_values: set[str] = set()
"""The values of the secret variables that this process has used, in all their spellings."""


def remember_secret(name: str, value: Any) -> None:
    """Mask the value of a variable from now on, if its name, or the name of a key in it, says that it is secret."""
    match value:
        case {"secret": str()} if len(value) == 1:
            pass  # a reference to a secret, not the secret itself
        case Mapping():
            for key, item in value.items():
                remember_secret(key if _SECRET_WORD.search(key) else name, item)
        case list() | tuple():
            for item in value:
                remember_secret(name, item)
        case str() | int() | float() if not isinstance(value, bool) and _SECRET_WORD.search(name):
            text = str(value)
            if len(text) >= MIN_LENGTH and not text.startswith(_NOT_SECRET):
                # Each line of it too: a script prints them one by one.
                for part in {text, *filter(lambda line: len(line) >= MIN_LENGTH, text.splitlines())}:
                    _secret_values.update(_spellings(part))
                _secret_values_pattern.cache_clear()


def _spellings(text: str) -> set[str]:
    """How a text is written: as it is, and in JSON, YAML, Python or an address, each also inside another."""
    found = newest = {text, quote(text, safe=""), quote(text), quote_plus(text), html.escape(text), shlex.quote(text)}
    for _ in range(MAX_NESTING):
        newest = {spelling for one in newest for spelling in _quoted(one)} - found
        found = found | newest
    return {spelling for one in found for spelling in (one, printable(one))}


def _quoted(text: str) -> Iterator[str]:
    yield repr(text)[1:-1]
    yield ascii(text)[1:-1]
    yield text.replace("'", "''")
    for only_ascii in (True, False):
        yield to_json(text, ascii_only=only_ascii)[1:-1]
        dumped = yaml.safe_dump(text, default_style='"', allow_unicode=not only_ascii, width=10**9)
        yield dumped.rstrip("\n")[1:-1]


def forget_secrets() -> None:
    """Stop masking the values of variables."""
    _secret_values.clear()
    _secret_values_pattern.cache_clear()


@cache
def _secret_values_pattern() -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(_secret_values, key=len, reverse=True))))


def mask_secret_values(text: str) -> str:
    """The text with the values of secret variables masked, and nothing else."""
    if not _secret_values:
        return text
    text = _secret_values_pattern().sub(STARS, text)
    return _mask_cut_values(text) if CUT in text else text


def _mask_cut_values(text: str) -> str:
    """Mask the beginning of a secret value where a text was cut in the middle of it."""
    for value in _secret_values:
        start = value[:MIN_LENGTH]
        if start not in text:
            continue
        for length in range(len(value) - 1, MIN_LENGTH - 1, -1):
            text = text.replace(value[:length] + CUT, STARS + CUT)
    return text


def redacted(text: str) -> str:
    """The text with all passwords masked. A secret's ARN is a reference and stays.

    For everything that is shown or logged: messages, snippets, plans, events. Not for what is sent to AWS.
    """
    return _mask_patterns(mask_secret_values(text))


def without_passwords(text: str) -> str:
    """As `redacted`, but masks only the values of variables, and passwords in addresses (user part and query)."""
    return mask_addresses(mask_secret_values(text))


def _mask_patterns(text: str) -> str:
    text = mask_addresses(text)
    return _PAIR.sub(_mask_pair, text) if _SECRET_WORD.search(text) else text


def mask_addresses(text: str) -> str:
    """The text with the passwords in its addresses masked, and nothing else."""
    if "://" not in text:
        return text
    text = _LINE.sub(lambda line: _mask_userinfo(line[0]), text)
    return _ADDRESS.sub(lambda address: _QUERY_SECRET.sub(_mask_match, address[0]), text)


def is_secret_key(key: str) -> bool:
    """Whether a key's name says that its value is secret."""
    return _SECRET_KEY.search(key) is not None


def has_password(address: str) -> bool:
    """Whether the text is an address that contains a password."""
    return bool(_SCHEME.match(address)) and masked(address, variables=False) != address


def masked(value: Any, *, variables: bool = True) -> Any:
    """A value as JSON data with all passwords masked.

    Args:
        variables: also mask the values of secret variables. Without it, the result is the same in every process.
    """
    match value:
        case str():
            text = mask_secret_values(value) if variables else value
            if _SCHEME.match(text):
                return _QUERY_SECRET_OF_ADDRESS.sub(_mask_match, _mask_userinfo(text, whole_address=True))
            document = _json_document(text)
            return _mask_patterns(text) if document is None else to_json(masked(document, variables=variables))
        case Mapping():
            return {str(key): _masked_item(str(key), item, variables) for key, item in value.items()}
        case list() | tuple():
            return [masked(item, variables=variables) for item in value]
        case _:
            return value


def _json_document(text: str) -> Any:
    """What a text is as JSON, if it is a document of several values; None for any other text."""
    if text[:1] not in "{[" or text[-1:] not in "}]":
        return None
    try:
        return from_json(text)
    except ValueError:
        return None


def masked_beside(old: Any, new: Any) -> Any:
    """An old value as JSON data with its passwords masked, also those that only the new value shows to be some.

    The value of a secret variable is known only as it is now; what stood in the same place before is one as well.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return masked({str(key): masked_beside(item, new.get(key)) for key, item in old.items()})
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        secret = any(isinstance(item, str) and masked(item) != item for item in new)
        return [
            STARS if secret and isinstance(item, str) and item not in new else masked_beside(item, _at(new, index))
            for index, item in enumerate(old)
        ]
    return masked(_text_beside(old, new))


def _text_beside(old: Any, new: Any) -> Any:
    if isinstance(old, str) and isinstance(new, str) and old != new:
        before, after = _json_document(old), _json_document(new)
        if before is not None and after is not None:
            return to_json(masked_beside(before, after))
        if mask_secret_values(new) != new:
            return STARS
    return old


def _at(items: Any, index: int) -> Any:
    return items[index] if index < len(items) else None


def _masked_item(key: str, value: Any, variables: bool) -> Any:
    if isinstance(value, str) and _SECRET_KEY.search(key) and not value.startswith(_NOT_SECRET):
        return STARS
    return masked(value, variables=variables)


def _mask_userinfo(text: str, *, whole_address: bool = False) -> str:
    """The text with passwords between user and host masked, up to the last @.

    Args:
        whole_address: the text is one address, and nothing else.
    """
    last_at, shown, end_of_mask, position = text.rfind("@"), [], 0, 0
    while user := _USER.search(text, position):
        start = user.end()
        if host := _HOST.match(text, user.start()):
            position = host.end()
            continue
        if reference := _TEMPLATE.match(text, start) or _STARS.match(text, start):
            position = reference.end()
            continue
        if last_at > start:
            port = _PORT.match(text, start)
            if (
                port and not whole_address and _NEXT_ADDRESS.search(text, start, last_at)
            ):  # the @ belongs to the next address
                position = port.end()
                continue
            position = end = last_at
        else:
            word = _next_word(text, start)
            position = end = start + len(word)
            if _ONLY_PORT.fullmatch(word) or word.startswith(_REFERENCES) or re.search(r"\s", user[1]):
                continue  # a port, a template, or a later colon of a sentence
        shown += [text[end_of_mask:start], STARS]
        end_of_mask = end
    return "".join([*shown, text[end_of_mask:]])


def _next_word(text: str, start: int) -> str:
    found = _WORD.match(text, start)
    return found[0] if found else ""


def _mask_match(pair: re.Match[str]) -> str:
    return pair[1] + STARS


def _mask_pair(pair: re.Match[str]) -> str:
    value = pair[4] or pair[6] or pair[7]
    quote = pair[3] or pair[5] or ""
    if value.startswith(_NOT_SECRET):
        return pair[0]
    # A quoted text may contain further pairs, as a GStreamer pipeline does.
    shown = STARS if _SECRET_KEY.search(pair[1]) else _PAIR.sub(_mask_pair, value) if quote else value
    return pair[1] + pair[2] + quote + shown
