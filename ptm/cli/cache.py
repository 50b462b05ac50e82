"""``ptm cache list | verify | prune``: the stored outputs of teachers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptm.cli.printing import echo

if TYPE_CHECKING:
    from ptm.distill.cache import Entry

cache = typer.Typer(
    help="The stored outputs of teachers ($PTM_CACHE, else ~/.cache/ptm/teachers).", no_args_is_help=True
)
Store = Annotated[
    Path | None,
    typer.Option("--store", help="Another directory, as distill.store names one.", show_default=False),
]


@cache.command("list")
def list_stores(store: Store = None) -> None:
    """Say what is stored: name, size, last use, how full, teacher."""
    from ptm.distill.cache import entries
    from ptm.distill.store import size_limit

    root = _root(store)
    stored = entries(root)
    for entry in stored:
        echo(_line(entry))
    total = sum(entry.bytes for entry in stored)
    echo(f"{len(stored)} stores, {total / 1e6:.2f} MB of at most {size_limit() / 1e9:g} GB, in {root}")


@cache.command("verify")
def verify_stores(store: Store = None) -> None:
    """Read everything that is stored and compare it with its checksums; exit with 3 if something is damaged."""
    from ptm.distill.cache import entries, verify
    from ptm.errors import ModelError

    damaged = []
    for entry in entries(_root(store)):
        problems = verify(entry.path)
        echo(f"{entry.name}  {'damaged' if problems else 'as it was written'}")
        for problem in problems:
            echo(f"  {problem}")
        damaged += [entry.path] if problems else []
    if damaged:
        raise ModelError(
            f"{len(damaged)} stores of teacher outputs are damaged",
            where=", ".join(map(str, damaged)),
            cure="nothing needs to be done: what is damaged is computed anew when it is needed; or delete them",
        )


@cache.command("prune")
def prune_stores(
    store: Store = None,
    to: Annotated[float, typer.Option("--to", metavar="GB", min=0, help="How much may stay.")] = 0.0,
) -> None:
    """Remove what was not used for longest, never what a run is using."""
    from ptm.distill.cache import prune

    freed = prune(_root(store), to * 1e9, echo)
    echo(f"{freed / 1e6:.2f} MB freed")


def _root(store: Path | None) -> Path:
    from ptm.distill.store import root_directory

    return store or root_directory("auto")


def _line(entry: Entry) -> str:
    used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
    full = f"{entry.blocks_filled / entry.blocks:.0%} full" if entry.blocks else "metrics"
    return f"{entry.name}  {entry.bytes / 1e6:9.2f} MB  {used}  {entry.split:5}  {full:9}  {entry.teacher}"
