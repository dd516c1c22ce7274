"""Asks a person before something is changed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from emflow.problems import UsageProblem


@contextmanager
def prompting(otherwise: str) -> Iterator[None]:
    """Around a prompt: Ctrl-C ends the command with exit code 130, the end of the input with 1.

    Args:
        otherwise: what the command prints then, such as `nothing was changed`.
    """
    try:
        yield
    except click.Abort as end:  # raised for both; only its context distinguishes them
        click.echo(f"\nemflow: {otherwise}", err=True)
        raise click.exceptions.Exit(130 if isinstance(end.__context__, KeyboardInterrupt) else 1) from None


def require_terminal(command: str, *, yes: bool) -> None:
    """Check that a user can answer a prompt, unless `--yes` makes it unnecessary.

    Raises:
        UsageProblem: there is no terminal, and no `--yes`.
    """
    if not yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageProblem(
            f"emflow {command} asks before it changes anything, and there is no terminal to ask on",
            mend=f"Check the plan first (emflow plan), then: emflow {command} --yes",
        )


def confirm(question: str, *, yes: bool) -> bool:
    """Whether the person agrees; True without a question when there is `--yes`."""
    if yes:
        return True
    with prompting("nothing was changed"):
        return click.confirm(question)
