"""The `emflow` command: a table of the commands, and the handling of errors.

Each command is a module that is imported when the command is called. So `emflow --help` imports none of them, and
`emflow validate` does not wait for boto3.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
from typing import Any, NoReturn

import click

from emflow import __version__
from emflow.cli.debug_option import debug_option
from emflow.problems import Problem, UsageProblem, WorkflowProblem, printable

COMMANDS = {
    "init": ("emflow.cli.init:init", "Write a commented workflow to start from."),
    "validate": ("emflow.cli.validate:validate", "Check workflow files: YAML, keys, types, rules, model."),
    "schema": ("emflow.cli.schema:schema", "Print the workflow's JSON Schema, or explain one of its keys."),
    "render": ("emflow.cli.render:render", "Write recipe, bundle, deployment and configurations to a folder."),
    "lock": (
        "emflow.cli.lock:lock",
        "Choose the board's Python packages, and write them with hashes.",
    ),
    "plan": ("emflow.cli.plan:plan", "Show what would change in AWS."),
    "apply": ("emflow.cli.apply:apply", "Make AWS match the workflow, and deploy."),
    "status": ("emflow.cli.status:status", "Show device health, deployment, components and jobs."),
    "captures": ("emflow.cli.captures:captures", "List, show and export captured tensors."),
    "destroy": ("emflow.cli.destroy:destroy", "Remove what the workflow made."),
    "package": ("emflow.cli.package:package", "Sign a model for devices that trust the key."),
    "verify": ("emflow.cli.verify:verify", "Verify a signed package of a model."),
    "unlock": ("emflow.cli.unlock:unlock", "Remove the lock left by a run that has ended."),
}
EMULATOR_COMMANDS = ("up", "local")
"""Those that the distribution `emflow-emulator` adds, by the entry points of `emflow.cli.extensions`."""


class _Lazy(click.Command):
    """A command of which only name and help are loaded; its module is imported when it is called."""

    def __init__(self, name: str, where: str, about: str) -> None:
        super().__init__(name, help=about)
        self._where = where

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> click.Context:
        # A group invokes the command of the context that this returns, which is the real command.
        return self._load().make_context(info_name, args, parent=parent, **extra)

    def _load(self) -> click.Command:
        from emflow.cli.parameters import command

        module, _, function = self._where.partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
        except ModuleNotFoundError as error:
            if error.name and error.name.startswith("emflow"):
                raise UsageProblem(f"`emflow {self.name}` is not part of this installation") from error
            raise Problem(f"`emflow {self.name}` needs the module {error.name}", mend=_install_emulator()) from error
        return found if isinstance(found, click.Command) else command(str(self.name), found)


class _Commands(click.Group):
    """The commands of the table, in its order, and those of other distributions, which are looked up when needed."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._added: dict[str, tuple[str, str]] | None = None
        # For "did you mean"; `get_command` makes its own.
        self.commands: dict[str, click.Command] = {name: _Lazy(name, *command) for name, command in COMMANDS.items()}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        command = COMMANDS.get(cmd_name) or self._look_up_added().get(cmd_name)
        if command is None and cmd_name in EMULATOR_COMMANDS:
            what = f"`emflow {cmd_name}` is a command of emflow-emulator, which is not installed"
            raise UsageProblem(what, mend=_install_emulator())
        return _Lazy(cmd_name, *command) if command else None

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [*COMMANDS, *self._look_up_added()]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None

    def _look_up_added(self) -> dict[str, tuple[str, str]]:
        from emflow.cli.extensions import added_commands

        if self._added is None:
            self._added = {name: command for name, command in added_commands().items() if name not in COMMANDS}
            self.commands.update({name: _Lazy(name, *command) for name, command in self._added.items()})
        return self._added


@click.group(cls=_Commands, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@debug_option
def app() -> None:
    """From one YAML file to a model running on a fleet of NPU boards, and its results back."""


def main() -> NoReturn:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 the workflow or the command line is wrong."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # print ? for characters that the terminal's encoding lacks
            stream.reconfigure(errors="replace")
    try:
        if any(os.environ.get(name) for name in ("EMFLOW_LOG", "EMFLOW_DEBUG")):
            from emflow.cli.log import configure_from_environment

            configure_from_environment()
        app(prog_name="emflow")
    except WorkflowProblem as problem:
        click.echo(_without_passwords(str(problem)), err=True)
        sys.exit(problem.exit_code)
    except Problem as problem:
        click.echo(f"emflow: {_without_passwords(str(problem))}", err=True)
        sys.exit(problem.exit_code)
    except BrokenPipeError:
        # The reader of standard output is gone; drop what is still in the buffer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else error.filename
        file = f"{name}: " if name else ""
        click.echo(printable(f"emflow: {file}{error.strerror or error}"), err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("emflow"):
            click.echo(f"emflow: {_internal_error(error)}", err=True)
            sys.exit(1)
        click.echo(f"emflow: {_needs(error.name)}", err=True)
        sys.exit(1)
    except Exception as error:
        logging.getLogger("emflow").debug("the traceback of this bug", exc_info=error)
        click.echo(f"emflow: {_internal_error(error)}", err=True)
        sys.exit(1)
    sys.exit(0)


def _without_passwords(text: str) -> str:
    if (
        "://" not in text and "emflow.workflow.redaction" not in sys.modules
    ):  # no workflow was loaded, so there are no secret variables
        return text
    from emflow.workflow.redaction import without_passwords

    return without_passwords(text)


def _internal_error(error: Exception) -> str:
    from emflow.workflow.redaction import redacted

    return redacted(
        f"this is a bug in emflow: {type(error).__name__}: {error}\n"
        "  Please report it, with the output of the same command run with --debug."
    )


def _needs(module: str) -> str:
    return f"this needs the module {module}\n  {_install_emulator()}"


def _install_emulator() -> str:
    from emflow_schema.installation import how_to_install

    return f"Install it with: {how_to_install('emflow-emulator')}"
