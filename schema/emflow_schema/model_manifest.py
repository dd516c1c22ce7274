"""The manifest of a model package, `emflow-model.json`: what the format of signed models does not say about a model.

    {"format": 1, "name": "scenes", "version": "1.2.0", "notBefore": "2026-11-30T00:00:00Z",
     "notAfter": "2027-11-30T23:59:59Z", "floor": "1.1.0", "lowersFloor": "2.0.0"}

Only `format`, `name` and `version` have to be there. The manifest is a file of the package like the model, so the
signature covers it. A key that is not known is refused: it might be a restriction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from emflow_schema.json_text import json_text

MANIFEST = "emflow-model.json"
FORMAT = 1
MAX_MANIFEST_BYTES = 1 << 14

MAX_NAME_LENGTH, MAX_VERSION_LENGTH = 256, 64
NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
"""The rule of the agent's interface for model names."""

_NUMBER = "(?:0|[1-9][0-9]*)"
_IDENTIFIER = "(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
)
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_TIME_TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?")


class BadManifest(ValueError):
    """It is no valid manifest; the text is the end of a sentence that begins with the file's name."""


@dataclass(frozen=True)
class ModelManifest:
    """What a package says about its model.

    name: under which clients load it. version: semantic (https://semver.org).
    not_before, not_after: the first and the last moment at which it may be loaded, in UTC; None for no limit.
    floor: the lowest version of this model that a device loads after this one has proved itself; empty for no change.
    lowers_floor: this package may be loaded below the floor of a device, if that is not above this version; its own
        floor then replaces the device's. Empty for a package that lowers nothing.
    """

    name: str
    version: str
    not_before: datetime | None = None
    not_after: datetime | None = None
    floor: str = ""
    lowers_floor: str = ""

    def __post_init__(self) -> None:
        """Raises: BadManifest."""
        if len(self.name) > MAX_NAME_LENGTH or not NAME.fullmatch(self.name):
            raise BadManifest(f"has the name {self.name[:50]!r}; a name has letters, digits and dashes between them")
        for what, version in (("version", self.version), ("floor", self.floor), ("lowersFloor", self.lowers_floor)):
            if (version or what == "version") and not is_version(version):
                raise BadManifest(f"has the {what} {version[:50]!r}, which is no semantic version such as 1.2.0")
        if self.floor and precedence(self.floor) > precedence(self.version):
            raise BadManifest(f"has the floor {self.floor}, above its own version {self.version}")
        if self.lowers_floor and not self.floor:
            raise BadManifest(f"lowers the floor {self.lowers_floor}, and does not say to which")
        if self.lowers_floor and precedence(self.lowers_floor) <= precedence(self.floor):
            raise BadManifest(f"has the floor {self.floor}, which is not below the {self.lowers_floor} that it lowers")
        if self.not_before and self.not_after and self.not_before > self.not_after:
            raise BadManifest(f"is valid until {written(self.not_after)}, before {written(self.not_before)}")

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def encoded(self) -> bytes:
        """The file's content; the same values give the same bytes."""
        document = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "notBefore": written(self.not_before) if self.not_before else "",
            "notAfter": written(self.not_after) if self.not_after else "",
            "floor": self.floor,
            "lowersFloor": self.lowers_floor,
        }
        said = {key: value for key, value in document.items() if value}
        return json_text(said, indent=2, ascii_only=True).encode() + b"\n"


def read_manifest(content: bytes) -> ModelManifest:
    """
    Raises:
        BadManifest: it is not a valid manifest.
    """
    try:
        document = read_json(content)
    except ValueError as error:
        raise BadManifest(f"is damaged: {error}") from None
    if document.get("format") != FORMAT or isinstance(document["format"], bool):
        raise BadManifest(f"has format {str(document.get('format'))[:20]!r}; this version knows {FORMAT}")
    texts = {key: value for key, value in document.items() if key != "format"}
    unknown = texts.keys() - {"name", "version", "notBefore", "notAfter", "floor", "lowersFloor"}
    if unknown:
        raise BadManifest(f"has a key that this version does not know: {min(unknown)[:50]!r}")
    for key, value in texts.items():
        if not isinstance(value, str):
            raise BadManifest(f"has {key} that is no text")
    try:
        not_before, not_after = (parse_time(texts[key]) if key in texts else None for key in ("notBefore", "notAfter"))
    except ValueError as error:
        raise BadManifest(f"has a time that is none: {error}") from None
    return ModelManifest(
        texts.get("name", ""),
        texts.get("version", ""),
        not_before,
        not_after,
        texts.get("floor", ""),
        texts.get("lowersFloor", ""),
    )


def read_json(content: bytes) -> dict[str, Any]:
    """A JSON object from an untrusted source: in UTF-8, every key once, small numbers, nested as far as Python can.

    Raises:
        ValueError: it is none.
    """
    try:
        document = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_int=_small_number,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    return document


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Readers of JSON disagree about which of two values of a key counts."""
    listed = list(pairs)
    unique = dict(listed)
    if len(unique) != len(listed):
        raise ValueError("a key is there twice")
    return unique


def _small_number(text: str) -> int:
    """Python before 3.11 takes minutes for a number of a million digits."""
    return int(text) if len(text) < 10 else _no_number(text)


def _no_number(text: str) -> Any:
    raise ValueError(f"the number {text[:20]} has no meaning here")


def is_version(text: str) -> bool:
    """Whether a text is a semantic version of at most `MAX_VERSION_LENGTH` characters."""
    return len(text) <= MAX_VERSION_LENGTH and _VERSION.fullmatch(text) is not None


def precedence(version: str) -> tuple[Any, ...]:
    """For comparing versions: of two, the older one has the smaller value (https://semver.org/#spec-item-11).

    Raises:
        ValueError: it is no semantic version.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ValueError(f"{version[:50]!r} is no semantic version such as 1.2.0")
    numbers = tuple(int(match[part]) for part in (1, 2, 3))
    # A release comes after its pre-releases. Of their parts, numbers come before words.
    parts = tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in (match[4] or "").split(".") if part
    )
    return (*numbers, not parts, parts)


def parse_time(text: str, *, end_of_day: bool = False) -> datetime:
    """A moment in UTC: `2027-01-31T12:00:00Z`, or `2027-01-31` for the first second of the day.

    Args:
        end_of_day: a day alone means its last second.

    Raises:
        ValueError: it is none.
    """
    if _TIME_TEXT.fullmatch(text):
        whole = text if "T" in text else f"{text}T{'23:59:59' if end_of_day else '00:00:00'}Z"
        try:
            return datetime.strptime(whole, _TIME).replace(tzinfo=timezone.utc)
        except ValueError:
            pass
    raise ValueError(f"{text[:50]!r} is no time in UTC, such as 2027-01-31 or 2027-01-31T12:00:00Z")


def written(moment: datetime) -> str:
    """A moment as text: `2027-01-31T12:00:00Z`."""
    return moment.astimezone(timezone.utc).strftime(_TIME)
