"""The arguments and options of a command, from the annotations of its function.

    def render(file: Annotated[Path, Argument(metavar="FILE", help="The workflow file.")],
               component: Annotated[str | None, Option(metavar="NAME", help="Only this component.")] = None) -> None:

Click parses. Typer writes commands in this way too, but it loads Pydantic for every command line, which is a quarter
of the CPU time of `emflow validate`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import click

from emflow.cli.debug_option import debug_option

_MISSING = inspect.Parameter.empty


@dataclass(frozen=True)
class Argument:
    """A positional argument; a list takes all that are there. Required when the parameter has no default."""

    metavar: str
    help: str

    def parameter(self, name: str, kind: Any, many: bool, default: Any) -> click.Parameter:
        required = default is _MISSING
        shown = self.metavar if required else f"[{self.metavar}]"
        return click.Argument(
            [name],
            type=kind,
            nargs=-1 if many else 1,
            required=required,
            metavar=f"{shown}..." if many else shown,
            help=self.help,
            **({} if required or many else {"default": default}),
        )


class Option:
    """An option; a list may be given again, a bool is a flag. Required when the parameter has no default.

    Args:
        names: as they are written; `--` and the parameter's name where there is none.
        help: one line for `--help`.
        metavar: what stands for the value; the type's own where it is empty.
        min, max: limits of a number, inclusive.
    """

    def __init__(
        self,
        *names: str,
        help: str,  # noqa: A002 the word of the option's own help
        metavar: str | None = None,
        min: float | None = None,  # noqa: A002
        max: float | None = None,  # noqa: A002
    ) -> None:
        self.names = names
        self.help = help
        self.metavar = metavar
        self.limits: tuple[Any, Any] | None = None if min is None and max is None else (min, max)

    def parameter(self, name: str, kind: Any, many: bool, default: Any) -> click.Parameter:
        written = [each for each in self.names if each.startswith("-")] or [f"--{name.replace('_', '-')}"]
        if self.limits is not None:
            kind = (click.IntRange if kind is click.INT else click.FloatRange)(*self.limits)
            kind.name = "whole number" if isinstance(kind, click.IntRange) else "number"  # in messages
        if isinstance(default, Enum):
            default = default.value
        if default is _MISSING:
            # A default, even None, would be taken for a value that was given.
            given: dict[str, Any] = {"required": True}
        else:
            # What no value and an empty text mean is in the help. 0 equals False, but is shown.
            shown = default is not None and default is not False and default != ""
            given = {"default": None if many else default, "show_default": shown}
        return click.Option(
            [*written, name],
            type=None if kind is click.BOOL else kind,
            is_flag=kind is click.BOOL,
            multiple=many,
            metavar=self.metavar,
            help=self.help,
            **given,
        )


def command(name: str, function: Callable[..., None]) -> click.Command:
    """The command that calls a function; its docstring is the help.

    Raises:
        TypeError: a parameter's annotation has neither `Argument` nor `Option`.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters, convert = [], {}
    for each in inspect.signature(function).parameters.values():
        annotation, *marks = get_args(hints[each.name])
        mark = next((mark for mark in marks if isinstance(mark, Argument | Option)), None)
        if mark is None:
            raise TypeError(f"{function.__name__}: the parameter {each.name} is no argument and no option")
        kind, many = _type_of(annotation)
        parameters.append(mark.parameter(each.name, _click_type(kind), many, each.default))
        convert[each.name] = list if many else kind if issubclass(kind, Enum) else None
    call = _converting(function, convert)
    return debug_option(click.Command(name, params=parameters, callback=call, help=inspect.getdoc(function)))


def _converting(
    function: Callable[..., None], convert: Mapping[str, Callable[[Any], Any] | None]
) -> Callable[..., None]:
    """Call a function with what Click parsed: an option that was not given is None, also where it is a list."""

    def call(**values: Any) -> None:
        function(
            **{
                name: None if value is None or value == () else how(value) if (how := convert[name]) else value
                for name, value in values.items()
            }
        )

    return call


def _type_of(annotation: Any) -> tuple[Any, bool]:
    """The type of one value, and whether there may be many: of `str`, `Path | None`, `list[str] | None`."""
    if type(None) in get_args(annotation):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    return (get_args(annotation)[0], True) if get_origin(annotation) is list else (annotation, False)


def _click_type(kind: Any) -> click.ParamType[Any]:
    if issubclass(kind, Enum):
        return click.Choice([each.value for each in kind])
    if kind is Path:
        return click.Path(path_type=Path)
    return {str: click.STRING, bool: click.BOOL, int: click.INT, float: click.FLOAT}[kind]
