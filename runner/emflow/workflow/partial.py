"""A workflow of which a part is wrong, so that everything else can be checked in the same run.

What is wrong or missing has no value. Code that reads it ends there, with `Unknown`: a rule reports what it has found
until then, and nothing that depends on a value that is not known.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from emflow.workflow.model import Workflow, long_forms
from emflow.workflow.source.positions import KeyPath, format_path
from emflow_schema.key import Shape, fields


class Unknown(BaseException):
    """A value of a workflow was read that is wrong or missing. No `Exception`: it is not to be reported as an error."""


def partial_workflow(values: Mapping[str, Any], wrong: Collection[KeyPath]) -> Workflow:
    """Values of which some have the wrong shape, as a workflow.

    Args:
        wrong: key paths of values that are not to be used, whatever their shape.
    """
    above = {key_path[:length] for key_path in wrong for length in range(len(key_path) + 1)}
    made = _section(long_forms(values), Workflow, (), above, set(wrong))
    for name in ("folder", "root"):  # no keys of the file
        object.__setattr__(made, name, values.get(name, ""))
    workflow: Workflow = made
    return workflow


def _section(
    values: Mapping[str, Any], kind: type, key_path: KeyPath, above: Collection[KeyPath], wrong: Collection[KeyPath]
) -> Any:
    """A section; of a class of its own, whose attributes raise `Unknown`, where a value is wrong or missing.

    Args:
        above: the key paths of wrong values, and of all that they are in.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    misspelt = bool(values.keys() - hints.keys())  # an unknown key may be meant as one that is absent
    known, unknown = {}, {}
    for field in fields(kind):
        at = (*key_path, field.name)
        try:
            if at in wrong or (field.name not in values and (field.required or misspelt)):
                raise _Wrong
            if field.name not in values:
                known[field.name] = field.default
            else:
                known[field.name] = _value(values[field.name], field.shape, hints[field.name], at, above, wrong)
        except (_Wrong, msgspec.ValidationError):
            unknown[field.name] = _unknown(at)
    if not unknown:
        return kind(**known)
    # Whether it equals another one is not known either.
    made: Any = object.__new__(type(kind.__name__, (kind,), {**unknown, "__eq__": _unknown_equality, "__hash__": None}))
    for name, value in known.items():
        object.__setattr__(made, name, value)
    return made


class _Wrong(Exception):
    """A value cannot be used."""


def _value(
    value: Any, shape: Shape, hint: Any, at: KeyPath, above: Collection[KeyPath], wrong: Collection[KeyPath]
) -> Any:
    if shape.section and isinstance(value, dict):
        return _section(value, shape.section, at, above, wrong)
    inner = shape.items.section if shape.items else None
    if inner and isinstance(value, list):
        if not all(isinstance(item, dict) and (*at, index) not in wrong for index, item in enumerate(value)):
            raise _Wrong
        return tuple(_section(item, inner, (*at, index), above, wrong) for index, item in enumerate(value))
    if at in above:
        raise _Wrong
    return msgspec.convert(value, hint, dec_hook=lambda kind, item: kind(item))


def _unknown_equality(_: Any, __: Any) -> bool:
    raise Unknown


def _unknown(key_path: KeyPath) -> property:
    def read(_: Any) -> Any:
        raise Unknown(format_path(key_path))

    return property(read)
