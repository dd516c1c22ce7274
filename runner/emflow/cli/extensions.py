"""Commands that other installed distributions add to `emflow`, by entry points of the group `emflow.commands`.

Looking them up reads the metadata of every installed distribution; so it is done for `--help` and for a command that
`emflow` itself does not have, and never before.
"""

from __future__ import annotations

from importlib.metadata import entry_points

GROUP = "emflow.commands"


def added_commands() -> dict[str, tuple[str, str]]:
    """Where each added command is, as `module:function`, and its line of help, by its name.

    An entry point names a pair of both, in a module that imports little: `--help` loads all of them. The function is a
    `click.Command`, or has the annotations of `emflow.cli.parameters`.
    """
    found: dict[str, tuple[str, str]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            where, about = entry.load()
        except Exception as error:  # somebody else's; the commands beside it must not suffer
            where, about = entry.value, f"(cannot be loaded: {type(error).__name__}: {error})"
        found[entry.name] = (where, about)
    return found
