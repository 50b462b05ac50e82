"""``ptm cache list | verify | prune``: stored outputs of teachers, tokens, rows of large files, decoded images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptm.cli.help import Command
from ptm.cli.options import Json
from ptm.cli.printing import echo, echo_json
from ptm.errors import Problem

if TYPE_CHECKING:
    from ptm.base.cache import Entry

cache = typer.Typer(
    help="Stored outputs of teachers, tokens, rows of large files, and decoded images "
    "($PTM_CACHE, else ptm/teachers in $XDG_CACHE_HOME or ~/.cache).",
    no_args_is_help=True,
)
Store = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="FOLDER",
        help="Another directory, as distill.store names one.",
        show_default=False,
    ),
]


@cache.command("list", cls=Command)
def list_stores(store: Store = None, json_: Json = False) -> None:
    """Say what is stored: name, size, last use, how full, teacher."""
    from ptm.base.cache import entries, size_limit

    root = _root(store)
    stored = entries(root)
    if json_:
        rows = [{**asdict(entry), "path": str(entry.path), "name": entry.name} for entry in stored]
        echo_json({"folder": str(root), "limit_bytes": size_limit(), "stores": rows})
        return
    for entry in stored:
        echo(_line(entry))
    total = sum(entry.bytes for entry in stored)
    echo(f"{len(stored)} stores, {total / 1e6:.2f} MB of at most {size_limit() / 1e9:g} GB, in {root}")


@cache.command("verify", cls=Command)
def verify_stores(store: Store = None, json_: Json = False) -> None:
    """Read everything that is stored and compare it with its checksums; exit with 3 if something is damaged."""
    from ptm.base.cache import entries, verify
    from ptm.errors import ModelError

    damaged, rows = [], []  # problems, and what there is
    for entry in entries(_root(store)):
        problems = verify(entry.path)
        rows.append({"name": entry.name, "path": str(entry.path), "problems": problems})
        damaged += [_damage(entry.path, problems)] if problems else []
        if not json_:
            echo(f"{entry.name}  {'damaged' if problems else 'as it was written'}")
            for problem in problems:
                echo(f"  {problem}")
    if json_ and not damaged:
        echo_json({"stores": rows})
    if damaged:
        raise ModelError(damaged)


def _damage(path: Path, problems: Sequence[str]) -> Problem:
    return Problem(
        f"what is stored is damaged: {'; '.join(problems)}",
        where=str(path),
        cure="nothing needs to be done: what is damaged is computed anew when it is needed; or delete them",
    )


@cache.command("prune", cls=Command)
def prune_stores(
    store: Store = None,
    to: Annotated[
        float | None, typer.Option("--to", metavar="GB", min=0, help="How much may stay.", show_default=False)
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Nothing may stay but what a run is using.")
    ] = False,
    json_: Json = False,
) -> None:
    """Remove what was not used for longest, never what a run is using; exit with 3 if something cannot be removed."""
    from ptm.errors import ConfigError, StorageError, shorten

    if (to is None) != everything:
        what = "nothing says how much may stay" if to is None else "--to and --all contradict each other"
        raise ConfigError(
            f"{what}; nothing was removed",
            where="ptm cache prune",
            expected="either --to GB or --all",
            cure="ptm cache list says what there is; then ptm cache prune --to 5, or ptm cache prune --all",
        )
    from ptm.base.cache import prune

    lines: list[str] = []
    left: list[Problem] = []
    freed = prune(_root(store), (to or 0.0) * 1e9, lines.append if json_ else echo, left.append)
    if not json_:
        echo(f"{freed / 1e6:.2f} MB freed")
    elif not left:
        echo_json({"freed_bytes": freed, "lines": lines})
    if left:
        raise StorageError(shorten(left, "stores"))


def _root(store: Path | None) -> Path:
    from ptm.base.cache import root_directory

    return store or root_directory("auto")


def _line(entry: Entry) -> str:
    used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
    full = f"{entry.blocks_filled / entry.blocks:.0%} full" if entry.blocks else "metrics"
    return f"{entry.name}  {entry.bytes / 1e6:9.2f} MB  {used}  {entry.split:5}  {full:9}  {entry.what}"
