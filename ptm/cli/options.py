"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Set = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key: --set train.epochs=1. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON on standard output.")]
Locked = Annotated[
    bool, typer.Option("--locked", help="Start only if all is as ptm lock pinned it; else list what is not.")
]
