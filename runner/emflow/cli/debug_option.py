"""The option `--debug`, taken before a command and after it; EMFLOW_LOG does the same, see `emflow.cli.log`."""

from __future__ import annotations

import click


def _debug(_: click.Context, __: click.Parameter, on: bool) -> None:
    if on:
        from emflow.cli.log import log_to_standard_error

        log_to_standard_error()


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_debug,
    help="Show AWS calls, templates, rules and locks on standard error.",
)
