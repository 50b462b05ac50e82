"""The one way in which commands print: whatever they print is cleaned of what a terminal obeys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from ptm.base.printable import json_text, printable

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


def echo(text: object, *, err: bool = False) -> None:
    """A line on standard output, or on standard error."""
    typer.echo(printable(text), err=err)


def echo_json(value: Any, indent: int | None = 2) -> None:
    """JSON on standard output."""
    typer.echo(json_text(value, indent))


def new_table(title: str = "") -> Table:
    """A table for :func:`echo_table`."""
    from rich.table import Table

    return Table(title=printable(title) or None, title_justify="left")


def add_row(table: Table, *cells: str) -> None:
    table.add_row(*map(printable, cells))


def echo_table(table: Table) -> None:
    """A table on standard output. Brackets and colons in its cells are text, not markup."""
    from rich.console import Console

    Console(highlight=False, markup=False, emoji=False).print(table)


def new_live() -> Live:
    """A place on standard error, a terminal, where a table is drawn again and again."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    return Live(console=console, refresh_per_second=4, transient=True)
