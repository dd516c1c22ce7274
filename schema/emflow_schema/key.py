"""What is known of one key of a workflow or of a configuration beside its type and its default, at its field.

    read_timeout: Annotated[DeviceDuration, Key("Time between frames", "After so long without …", low=0.1)]

Everything else follows from these fields: the JSON Schemas, docs/reference.md, `emflow schema`, what the host checks,
what it writes into the component's configuration (`configuration.to_configuration`), and what the component reads and
checks there (`configuration.from_configuration`). So a new key is one field, and the code that uses it.
"""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional, Union, get_args, get_origin


@dataclass(frozen=True, eq=False)  # as typing wants it: examples may be what has no hash
class Key:
    """The argument of `Annotated[type, Key(…)]`. What is left out says nothing.

    A type that several keys share is an `Annotated` itself, with a `definition`; a key's own Key, around it, overrides.

    For people:
        title: a few words.
        help: one or more sentences.
        examples: values as they stand in a workflow, the best first.
        unit: what a number counts, or what a duration has to be a whole number of: seconds, minutes or days.

    What a value has to keep:
        pattern: of a text, the whole of it; `message` says the same in words.
        device_pattern: for a text, what the device takes where that is more than a workflow may say.
        low, high: bounds of a number, both included; of a duration, in its `unit`, or in seconds.
        above: a number has to be greater than this.
        shortest, longest: characters of a text, or items of a list or a mapping.
        host_file: whether a text is the path of a file or folder beside the workflow, which the host reads.
        short: of a section, the key that a text in the section's place stands for; it has a list of choices.

    In the component's configuration:
        wire: its name; the field's own in camelCase where there is none.
        sent: `special` when it differs from its default, `always`, or `never`, because it is not for the component.
        secret: whether the value may hold a password, so that no message repeats it.
        closed: of a section, whether the device refuses a key that the section does not have.
        flag: of the component's command line, which gives it as well.

    In the agent's configuration:
        agent: its name.
        agent_file: its name in the configuration file of the original agent's program, which has names of its own.
        agent_separator: of a list, what stands between its items.

    definition: name of a shared type, as the JSON Schema has it under `$defs`.
    """

    title: str = ""
    help: str = ""
    examples: tuple[Any, ...] = ()
    unit: str = ""
    pattern: str = ""
    message: str = ""
    device_pattern: str = ""
    low: Optional[float] = None
    high: Optional[float] = None
    above: Optional[float] = None
    shortest: Optional[int] = None
    longest: Optional[int] = None
    host_file: bool = False
    short: str = ""
    wire: str = ""
    sent: Literal["special", "always", "never"] = "special"
    secret: bool = False
    closed: bool = False
    flag: str = ""
    agent: str = ""
    agent_file: str = ""
    agent_separator: str = ""
    definition: str = ""

    def over(self, other: "Key") -> "Key":
        """This key with what it leaves out from another."""
        given = {name: value for name, value in vars(self).items() if value != _NOTHING_SAID[name]}
        return dataclasses.replace(other, **given)


_NOTHING_SAID = {field.name: field.default for field in dataclasses.fields(Key)}


@dataclass(frozen=True)
class Shape:
    """A type, taken apart.

    kind: the class, `Literal[…]`, `tuple[…]` or `Mapping[…]` that is left without `Annotated` and `Optional`.
    optional: whether None is a value. shared: the Key of the shared type that it is, if it is one. own: the Key of
    this place; key: the two together.
    """

    kind: Any
    optional: bool
    own: Key
    shared: Optional[Key]

    @property
    def key(self) -> Key:
        return self.own.over(self.shared) if self.shared else self.own

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a `Literal`; empty for other types."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def items(self) -> "Optional[Shape]":
        """The shape of a list's items; None where it is no list."""
        return shape(get_args(self.kind)[0]) if get_origin(self.kind) is tuple else None

    @property
    def pairs(self) -> "Optional[tuple[Shape, Shape]]":
        """The shapes of a mapping's keys and values; None where it is no mapping."""
        if get_origin(self.kind) is None or not issubclass(get_origin(self.kind), Mapping):
            return None
        name, value = get_args(self.kind)
        return shape(name), shape(value)

    @property
    def section(self) -> Optional[type]:
        """The dataclass that the value is; None where it is none."""
        return self.kind if isinstance(self.kind, type) and dataclasses.is_dataclass(self.kind) else None

    @property
    def pattern(self) -> str:
        """What a text has to match as a whole: its key's pattern, or that of its type; empty for none."""
        return self.key.pattern or str(getattr(self.kind, "PATTERN", ""))

    def is_a(self, kind: type) -> bool:
        return isinstance(self.kind, type) and issubclass(self.kind, kind)


def shape(kind: Any) -> Shape:
    """Take a type apart, `Annotated` and `Optional` in whatever order."""
    own, shared, optional = Key(), None, False
    while True:
        if get_origin(kind) is Annotated:
            kind, *notes = get_args(kind)
            for key in reversed([note for note in notes if isinstance(note, Key)]):
                if key.definition:
                    shared = key
                else:
                    own = own.over(key)
        elif get_origin(kind) is Union or type(kind).__name__ == "UnionType":
            kinds = [one for one in get_args(kind) if one is not type(None)]
            if len(kinds) != 1:
                raise TypeError(f"{kind}: a key has one type, or that and None")
            optional, kind = True, kinds[0]
        else:
            return Shape(kind, optional, own, shared)


@dataclass(frozen=True)
class Field:
    """One key of a section: its name in a workflow, in a configuration, its shape, and its default.

    default: `dataclasses.MISSING` where the key has to be there.
    """

    name: str
    wire: str
    shape: Shape
    default: Any

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING


_FIELDS: dict[type, tuple[Field, ...]] = {}


def fields(section: type) -> tuple[Field, ...]:
    """The keys of a section, a dataclass, in their order; those without a title are no keys."""
    if section not in _FIELDS:
        _FIELDS[section] = tuple(_fields(section))
    return _FIELDS[section]


def field_of(section: type, name: str) -> Field:
    """One key of a section, by its name in a workflow.

    Raises:
        KeyError: there is none.
    """
    for field in fields(section):
        if field.name == name:
            return field
    raise KeyError(name)


def _fields(section: type) -> Iterator[Field]:
    hints: Optional[dict[str, Any]] = None
    for field in dataclasses.fields(section):
        kind: Any = field.type
        if isinstance(kind, str):
            # Whoever declares sections leaves `from __future__ import annotations` out: this takes its time.
            hints = hints or typing.get_type_hints(section, include_extras=True)
            kind = hints[field.name]
        taken = shape(kind)
        if not taken.key.title:
            continue
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        yield Field(field.name, taken.key.wire or _camel(field.name), taken, default)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
