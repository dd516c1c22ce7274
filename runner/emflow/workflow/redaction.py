"""Passwords out of what people and logs get to see: those in addresses, and values of keys that say they are secret."""

from __future__ import annotations

import re

# Each in one pass without going back, because what is looked through may be megabytes that somebody made up.
_WORD = re.compile(r"[^\s\"']++")
_USER = re.compile(r"://[^:/@]*+:")
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
    if "://" in text and "@" in text:
        text = _WORD.sub(lambda word: _address(word[0]), text)
    if _KEY.search(text):
        text = _PAIR.sub(lambda pair: _value(pair) if _KEY.search(pair[1]) else pair[0], text)
    return text


def _address(word: str) -> str:
    """As far as the last @ of the word: a password may have a slash or another @ in it, against the standard."""
    user, end = _USER.search(word), word.rfind("@")
    if not user or end <= user.end():
        return word
    return word[: user.end()] + "*" * (end - user.end()) + word[end:]


def _value(pair: re.Match[str]) -> str:
    return pair[1] + pair[2] + "*" * len(pair[3])
