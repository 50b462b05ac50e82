"""``ptm cache list | verify | prune``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

cache = typer.Typer(
    help="The stored outputs of teachers ($PTM_CACHE, else ~/.cache/ptm/teachers).", no_args_is_help=True
)
Store = Annotated[
    Path | None,
    typer.Option("--store", help="Another directory, as distill.store names one.", show_default=False),
]


@cache.command("list")
def cache_list(store: Store = None) -> None:
    """Say what is stored: name, size, last use, how full, teacher."""
    from ptm.cli.stores import list_stores

    _say(list_stores(store))


@cache.command("verify")
def cache_verify(store: Store = None) -> None:
    """Read everything that is stored and compare it with its checksums; exit with 3 if something is damaged."""
    from ptm.cli.stores import verify_stores

    _say(verify_stores(store))


@cache.command("prune")
def cache_prune(
    store: Store = None,
    to: Annotated[float, typer.Option("--to", metavar="GB", min=0, help="How much may stay.")] = 0.0,
) -> None:
    """Remove what was not used for longest, never what a run is using."""
    from ptm.cli.stores import prune_stores

    _say(prune_stores(store, to * 1e9))


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)
