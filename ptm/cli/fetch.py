"""``ptm fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptm.cli.options import Json, Quiet, Set, Verbose, new_reporter
from ptm.cli.printing import add_row, echo, echo_json, echo_table, new_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ptm.experiment.fetch import Download


def fetch(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="CONFIGS", help="Config files; - for standard input.", show_default=False),
    ],
    set_: Set = [],  # noqa: B006
    list_: Annotated[bool, typer.Option("--list", help="List what they need, and download nothing.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Download what configs need ahead: models, weights, data sets; --offline then starts without a network."""
    from ptm.errors import MissingDownload
    from ptm.experiment.fetch import fetch_all, needs

    reporter = new_reporter(quiet=quiet, verbose=verbose)
    downloads = needs(files, set_)
    problems = [] if list_ else fetch_all(downloads, reporter)
    if problems:
        raise MissingDownload(problems)
    if json_:
        rows = [download.as_dict() | ({} if list_ else {"here": True}) for download in downloads]
        echo_json({"downloads": rows, "bytes": sum(download.bytes or 0 for download in downloads)})
    else:
        _show(downloads, fetched=not list_)


def _show(downloads: Sequence[Download], *, fetched: bool) -> None:
    if not downloads:
        echo("nothing to download")
        return
    table = new_table()
    for column in ("what", "size", "licence", "commit", "state"):
        table.add_column(column, overflow="fold")
    for download in downloads:
        size = "" if download.bytes is None else f"{download.bytes / 1e6:.1f} MB"
        state = "here" if download.here else "fetched" if fetched else "to be fetched"
        add_row(table, download.where, size, download.licence or "", (download.commit or "")[:12], state)
    echo_table(table)
    for download in downloads:
        if download.pin is not None:
            echo(
                f"to stay with this commit of {download.name}: --set {download.pin}, or ptm lock, which pins all"
            )
