"""``ptm push`` and ``ptm card``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptm.cli.options import Json, Quiet, Verbose, new_reporter
from ptm.cli.printing import add_row, echo, echo_json, echo_table, new_table


def push(
    target: Annotated[
        Path,
        typer.Argument(metavar="RUN|EXPORT", help="A finished run, or an export.", show_default=False),
    ],
    to: Annotated[
        str,
        typer.Option("--to", metavar="OWNER/NAME", help="The repository on the hub.", show_default=False),
    ],
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            metavar="ID",
            help="The licence, as the hub calls it: mit, apache-2.0 (default: that of the base model, if its card is "
            "in the cache).",
            show_default=False,
        ),
    ] = None,
    include: Annotated[
        list[str],
        typer.Option(
            "--include",
            metavar="NAME",
            help="Another file or folder of it that is sent, as it is. Repeatable.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public; it is private otherwise.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files and their sizes, and send nothing.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Send the model of a finished run, or an export, and its card to a repository of the hub."""
    from ptm.experiment.push import plan_push
    from ptm.experiment.push import push as send

    reporter = new_reporter(quiet=quiet, verbose=verbose)
    plan = plan_push(target, to, licence=licence, include=include)
    if plan.licence is None:
        reporter.say(
            "warning: no licence is known, and without one nobody may use it; name one with --licence"
        )
    if plan.left_behind:
        from ptm.errors import listing

        reporter.say(
            f"warning: not sent, for ptm did not write it: {listing(plan.left_behind)}; --include NAME sends it"
        )
    address = None if dry_run else send(plan, private=not public, reporter=reporter)
    if json_:
        echo_json({**plan.as_dict(), "sent": address})
        return
    table = new_table()
    table.add_column("file", overflow="fold")
    table.add_column("bytes", justify="right")
    for upload in plan.uploads:
        add_row(table, upload.name, f"{upload.bytes:,}")
    echo_table(table)
    echo(f"{plan.repository}: nothing was sent" if address is None else f"sent: {address}")


def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="OWNER/NAME",
            help="The card as ptm push sends it to this repository.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Run the code that the card shows, in a process of its own, and compare with ptm predict.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write it there instead.", show_default=False),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Print the model card of a run; --check runs its code as a stranger would."""
    from ptm.experiment.card import check_card, write_card

    reporter = new_reporter(quiet=quiet, verbose=verbose)
    if check:
        done = check_card(run, reporter)
        if json_:
            echo_json(done)
        else:
            echo("the code of the card runs, and says what ptm predict says:")
            echo(done["printed"])
        return
    text = write_card(run, to, output)
    if json_:
        echo_json({"run": str(run), "card": text, "output": output and str(output)})
    elif output is None:
        echo(text.rstrip("\n"))
    else:
        echo(f"written: {output}")
