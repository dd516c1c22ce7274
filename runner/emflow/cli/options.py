"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Var = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME=VALUE", help="Set a variable of the workflow; may be given again."),
]
