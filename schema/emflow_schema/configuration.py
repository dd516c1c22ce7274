"""A section of a workflow into the component's configuration, and back: both go by the `Key` of each field.

In the configuration every value is a text, because Greengrass turns numbers into floats; a section in a section is an
object. What is as the component has it anyway is left out, so that a deployment shows what is special about it. The
device takes more than the host writes: numbers, lists, and words in capitals, because people write configurations too.

A section is a dataclass whose fields have a `Key`. Where values have to fit each other, it has a method `faults`, which
host and device ask alike.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, Union

from emflow_schema import values
from emflow_schema.errors import ConfigProblem
from emflow_schema.key import Key, Shape, field_of, fields
from emflow_schema.units import YEAR, DeviceDuration, Duration, Interval

Section = TypeVar("Section")

_UNITS = {"": 1.0, "seconds": 1.0, "minutes": 60.0, "days": 86400.0}
_LOWEST, _HIGHEST = -(2**31), 2**31 - 1


@dataclass(frozen=True)
class Fault:
    """Two values of a section that do not fit each other.

    key: the field that is reported. message: what is wrong, mend: what to do about it; neither repeats a password.
    tolerated: a setting that says nothing where it stands. The host refuses it, because somebody meant something by it;
    the device passes over it, because it did so before, and a device that runs has to go on.
    """

    key: str
    message: str
    mend: str = ""
    tolerated: bool = False

    def __str__(self) -> str:
        return f"{self.message}; {self.mend}" if self.mend else self.message


class Channels(tuple[float, ...]):
    """One number for all three channels of a pixel, or one for each, in the model's order.

    Always three (any other number is a mistake in a workflow); `written` is how it stands in a configuration.
    """

    written: str

    def __new__(cls, given: Any) -> "Channels":
        single = not isinstance(given, (list, tuple))
        numbers = (given,) * 3 if single else tuple(given)
        made = super().__new__(cls, numbers)
        made.written = ",".join(map(values.plain, numbers[:1] if single else numbers))
        return made


def to_configuration(section: Any) -> dict[str, Any]:
    """A section of a workflow, as it stands in the component's configuration."""
    made: dict[str, Any] = {}
    for field in fields(type(section)):
        value, key = getattr(section, field.name), field.shape.key
        if key.sent == "never":
            continue
        text = written(value)
        if field.required or key.sent == "always" or text != written(field.default):
            made[field.wire] = text
    return made


def written(value: Any) -> Any:
    """One value as it stands in a configuration: a text, or an object for a section; empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return values.plain(value)
    if isinstance(value, Channels):
        return value.written
    if isinstance(value, (list, tuple)):
        parts = [written(part) for part in value]
        return parts if any(isinstance(part, dict) for part in parts) else ",".join(parts)
    return to_configuration(value) if dataclasses.is_dataclass(value) else str(value)


def from_configuration(section: type[Section], given: Any, place: str, *, closed: bool = False) -> Section:
    """A section of the component's configuration, checked and typed.

    Args:
        section: its class.
        given: what stands in the configuration; None counts as an empty section.
        place: where it stands, for messages: `publish`, `streams[0]`; empty for the whole of it.
        closed: whether a key that the section does not have is a mistake. Otherwise it is passed over.

    Raises:
        ConfigProblem: a value is missing or wrong. The message begins with its place, and repeats no password.
    """
    if given is None:
        given = {}
    known = [field for field in fields(section) if field.shape.key.sent != "never"]
    names = ", ".join(field.wire for field in known)
    if not isinstance(given, Mapping):
        raise ConfigProblem(f"{place}: has to be an object with {names}")
    if closed and set(given) - {field.wire for field in known}:
        # Without the key: somebody may have written a password for one.
        raise ConfigProblem(f"{place}: has to hold {names} and nothing else")
    taken, prefix = {}, f"{place}." if place else ""
    for field in known:
        value, key = given.get(field.wire), field.shape.key
        # An empty text, and an empty object where there need not be one, count as nothing.
        if value is None or value == "" or (value == {} and field.shape.optional):
            if field.required:
                raise ConfigProblem(f"{prefix}{field.wire}: is missing{f' ({key.flag})' if key.flag else ''}")
            continue
        taken[field.name] = read(field.shape, value, f"{prefix}{field.wire}")
    made = section(**taken)
    for fault in getattr(made, "faults", tuple)():
        if not fault.tolerated:
            raise ConfigProblem(f"{prefix}{field_of(section, fault.key).wire}: {fault}")
    return made


def read(shape: Shape, value: Any, place: str) -> Any:
    """One value of a configuration, checked and typed.

    Raises:
        ConfigProblem: it is wrong; the message begins with the place.
    """
    if shape.section:
        return from_configuration(shape.section, value, place, closed=shape.key.closed)
    if shape.items and shape.items.section:
        if not isinstance(value, list):
            raise ConfigProblem(f"{place}: has to be a list")
        return tuple(read(shape.items, one, f"{place}[{number}]") for number, one in enumerate(value))
    try:
        return _read(shape, value)
    except values.Unfit as error:
        shown = "" if shape.key.secret or error.whole else f"{value!r} "
        raise ConfigProblem(f"{place}: {shown}{error}") from None


def _read(shape: Shape, value: Any) -> Any:
    key = shape.key
    if shape.choices:
        return _choice(shape.choices, value)
    if shape.kind is bool:
        return values.truth(value)
    if shape.kind is int:
        low, high = (_LOWEST if key.low is None else key.low), (_HIGHEST if key.high is None else key.high)
        return values.whole(value, int(low), int(high))
    if shape.kind is float:
        return _number(value, key)
    if shape.is_a(Channels):
        return _channels(value, key)
    if shape.items:
        parts = value if isinstance(value, list) else values.text(value).split(",")
        return tuple(_read(shape.items, part.strip() if isinstance(part, str) else part) for part in parts)
    if shape.is_a(Duration) or shape.is_a(Interval):
        # Nothing needs no unit, and is a number in JSON that people write.
        text = "0" if value == 0 and not isinstance(value, bool) else values.text(value).strip()
    else:
        text = values.text(value)
    check_text(shape, shape.kind(text))
    return shape.kind(text)


def check_text(shape: Shape, value: str) -> None:
    """Check a text, a duration or an interval against its key, as far as the device goes.

    Raises:
        Unfit: it is not as its key wants it.
    """
    key = shape.key
    pattern = key.device_pattern or shape.pattern
    if pattern and not re.fullmatch(pattern, value):
        raise values.Unfit(_NO_DURATION.get(shape.kind) or f"is not valid: {key.message or pattern}")
    if isinstance(value, (Duration, Interval)):
        wrong = limit(value, key)
        if wrong:
            raise values.Unfit(wrong)


_NO_DURATION: dict[Any, str] = {
    DeviceDuration: "is no duration; write it with its unit, as in 1s or 250ms",
    Interval: "is no duration and no number of frames; write 1s, 250ms or 5 frames",
}


def _choice(choices: tuple[Any, ...], value: Any) -> Any:
    if all(isinstance(one, int) for one in choices):
        return values.whole(value, min(choices), max(choices))
    return values.choice(values.text(value), choices)


def _number(value: Any, key: Key) -> float:
    found = values.number(value)
    if key.low is not None and key.high is not None and not key.low <= found <= key.high:
        raise values.Unfit(f"is not from {key.low:g} to {key.high:g}")
    if key.low is not None and found < key.low:
        raise values.Unfit(f"is not {key.low:g} or more")
    if key.high is not None and found > key.high:
        raise values.Unfit(f"is not {key.high:g} or less")
    if key.above is not None and found <= key.above:
        raise values.Unfit(f"is not above {key.above:g}")
    return found


def _channels(value: Any, key: Key) -> Channels:
    parts = value if isinstance(value, list) else str(value).split(",")
    numbers = [_number(part, key) for part in parts]
    if len(numbers) not in (1, 3):
        raise values.Unfit("is not one number or three")
    return Channels(numbers[0] if len(numbers) == 1 else numbers)


def limit(value: Union[Duration, Interval], key: Key) -> str:
    """What limit of its key a duration breaks, as the end of a sentence that names the value; empty when it keeps all.

    Raises:
        ValueError: it is no duration.
    """
    if isinstance(value, Interval) and value.frames:
        return ""
    count = value.seconds / _UNITS[key.unit]
    low, high = key.low or 0.0, YEAR if key.high is None else key.high
    if not low <= count <= high:
        if _UNITS[key.unit] > 1:
            return f"has to be between {low:g} and {high:g} {key.unit}"
        most = f"{high:g}s" if high <= 30 * 86400 else f"{high / 86400:g}d"
        return f"has to lie between {low:g}s and {most}"
    if key.unit and count != int(count):
        return f"has to be whole {key.unit}"
    return ""
