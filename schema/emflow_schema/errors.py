"""What can go wrong in front of a person: one clear line and an exit code, never a traceback."""

from __future__ import annotations


class EdgeProblem(Exception):
    """Something that this component cannot go on with. The message is one sentence, without credentials."""

    exit_code = 1


class ConfigProblem(EdgeProblem):
    """The configuration or the command line is wrong; the message names the key."""

    exit_code = 2
