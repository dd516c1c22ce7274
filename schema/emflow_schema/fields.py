"""Reading one checked value out of a configuration: every bad one becomes a sentence that names its key."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from emflow_schema.errors import ConfigProblem

Channels = tuple[float, float, float]

_FRAMES = re.compile(r"(\d{1,9})\s*frames?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)")
_LONGEST = 366 * 86400.0
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigProblem(f"{key}: has to be an object")
    return value


def text(one: Mapping[str, Any], key: str, default: str = "", *, required: str = "", prefix: str = "") -> str:
    """A text; empty counts as not given. `required`: the flag or key that would have given it."""
    value = one.get(key)
    if value is None or value == "":
        if required:
            raise ConfigProblem(f"{prefix}{key}: is missing{f' ({required})' if required.startswith('-') else ''}")
        return default
    if not isinstance(value, str):
        raise ConfigProblem(f"{prefix}{key}: has to be text, not {_kind(value)}")
    wrong = _not_text(value)
    if wrong:
        # Without the value: it may be a URL with a password.
        raise ConfigProblem(f"{prefix}{key}: holds {wrong}")
    return value


def choice(one: Mapping[str, Any], key: str, choices: tuple[str, ...], prefix: str) -> str:
    value = text(one, key, choices[0], prefix=prefix).lower()
    if value not in choices:
        raise ConfigProblem(f"{prefix}{key}: {value!r} is none of {', '.join(choices)}")
    return value


def whole(one: Mapping[str, Any], key: str, default: int, *, low: int, high: int, prefix: str = "") -> int:
    value = _number(one.get(key, default), f"{prefix}{key}")
    if value != int(value) or not low <= value <= high:
        raise ConfigProblem(f"{prefix}{key}: {one[key]!r} is no whole number from {low} to {high}")
    return int(value)


def number(one: Mapping[str, Any], key: str, default: float, *, low: float, high: float, prefix: str = "") -> float:
    """A number from `low` to `high`, both included."""
    value = _number(one.get(key, default), f"{prefix}{key}")
    if not low <= value <= high:
        raise ConfigProblem(f"{prefix}{key}: {one[key]!r} is not from {low:g} to {high:g}")
    return value


def channels(one: Mapping[str, Any], key: str, prefix: str, above: float = -math.inf) -> Channels | None:
    """One number for all three channels, or three separated by commas (or in a list), in the model's order."""
    given: str | float | list[Any] | None = one.get(key)
    if given is None or given == "":
        return None
    parts = given if isinstance(given, list) else str(given).split(",")
    values = [_number(part, f"{prefix}{key}") for part in parts]
    values = values * 3 if len(values) == 1 else values
    if len(values) != 3 or min(values) <= above:
        raise ConfigProblem(f"{prefix}{key}: {given!r} is not one number or three{' above 0' if above == 0 else ''}")
    return values[0], values[1], values[2]


def truth(one: Mapping[str, Any], key: str) -> bool:
    value = one.get(key, "False")
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise ConfigProblem(f"{key}: {value!r} is neither True nor False")


def seconds(one: Mapping[str, Any], key: str, default: str, prefix: str = "") -> float:
    """A duration with its unit, such as `1s` or `250ms`, in seconds. Nothing needs no unit: `0`."""
    value = str(one[key]) if one.get(key) == 0 else text(one, key, default, prefix=prefix)
    if value in ("0", "0.0"):
        return 0.0
    match = _DURATION.fullmatch(value.strip())
    if not match:
        raise ConfigProblem(f"{prefix}{key}: {value!r} is no duration; write it with its unit, as in 1s or 250ms")
    found = float(match.group(1)) * _SECONDS[match.group(2)]
    if found > _LONGEST:
        raise ConfigProblem(f"{prefix}{key}: is longer than a year")
    return found


def every(one: Mapping[str, Any], key: str, default: str, prefix: str = "") -> tuple[float, int]:
    """How often: a duration in seconds and 0, or 0 and a number of frames, as in `5 frames`."""
    value = one.get(key)
    match = _FRAMES.fullmatch(value.strip()) if isinstance(value, str) else None
    if match and int(match.group(1)) > 0:
        return 0.0, int(match.group(1))
    try:
        return seconds(one, key, default, prefix), 0
    except ConfigProblem as error:
        if "no duration" in str(error):
            raise ConfigProblem(
                f"{prefix}{key}: {value!r} is no duration and no number of frames; write 1s, 250ms or 5 frames"
            ) from None
        raise


def _not_text(value: str) -> str:
    """What no path, topic or message can have: JSON's escapes and the bytes of a command line can make both."""
    if "\0" in value:
        return "a NUL character"
    # Half of a surrogate pair, which is no character and has no UTF-8.
    return "what is no text" if any("\ud800" <= sign <= "\udfff" for sign in value) else ""


def _number(value: Any, place: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise ConfigProblem(f"{place}: {value!r} is no number")
    return number


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return names.get(type(value), type(value).__name__)
