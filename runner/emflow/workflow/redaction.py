"""Passwords out of what people and logs get to see: those in addresses, and values of keys that say they are secret."""

from __future__ import annotations

import re

# Each in one pass without going back, because what is looked through may be megabytes that somebody made up.
_TEXT = re.compile(r"[^\n\"']++")
_USER = re.compile(r"://([^:/@]*+):")
_WORD = re.compile(r"\S*+")
_REFERENCES = ("{", "$", "<")
_PORT = re.compile(r"\d++(?:[^\w@].*+)?|")
_PAIR = re.compile(
    r"""(?<!\w)(\w++)([\"']?\s*+[:=]\s*+[\"']?)    # password: | "api_token": " | SECRET=
        (?!arn:|\{\{|[\"'{\[&*])([^\"',}\]\s]++)    # no reference, template, group or anchor
    """,
    re.VERBOSE,
)
_KEY = re.compile(r"passw|passphrase|(?:\b|_)pass(?:\b|_)|pwd|secret|token|credential", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text with as many stars where a password stands; a secret's ARN, which is a reference, stays.

    For everything that is shown or logged: messages, snippets, plans, events. Not for what is sent to AWS.
    """
    text = without_passwords(text)
    if _KEY.search(text):
        text = _PAIR.sub(lambda pair: _value(pair) if _KEY.search(pair[1]) else pair[0], text)
    return text


def without_passwords(text: str) -> str:
    """As `redacted`, for what programs read on: only the passwords in addresses."""
    return _TEXT.sub(lambda part: _addresses(part[0]), text) if "://" in text else text


def _addresses(text: str) -> str:
    """As far as the last @: against the standard, a password may have a slash, a space or another @ in it."""
    last, shown, done, at = text.rfind("@"), [], 0, 0
    while user := _USER.search(text, at):
        start = user.end()
        word = _word(text, start)
        at = end = start + len(word)
        port = "@" not in word and (user[1].startswith("[") or _PORT.fullmatch(word))
        if word.startswith("{{") or (port and word):
            continue  # a template, a port, or the rest of an IPv6 address
        if last > start:
            at = end = last
        elif port or word.startswith(_REFERENCES) or re.search(r"\s", user[1]):
            continue  # a colon further on in a sentence
        shown += [text[done:start], "*" * (end - start)]
        done = end
    return "".join([*shown, text[done:]])


def _word(text: str, start: int) -> str:
    found = _WORD.match(text, start)
    return found[0] if found else ""


def _value(pair: re.Match[str]) -> str:
    return pair[1] + pair[2] + "*" * len(pair[3])
