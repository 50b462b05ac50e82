"""``ptm track``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptm.cli.options import Json
from ptm.cli.printing import echo, echo_json


def track(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TRACKER",
            help="tensorboard, mlflow, wandb or trackio; each needs its package.",
            show_default=False,
        ),
    ],
    json_: Json = False,
) -> None:
    """Show a run that is there to a tracker: its metrics.jsonl is replayed."""
    from ptm.run.opening import require_run
    from ptm.run.trackers import replay

    require_run(run, "a directory that ptm finetune or distill wrote")
    count = replay(run, to)
    if json_:
        echo_json({"run": str(run), "to": to, "lines": count})
    else:
        echo(f"{count} lines of {run / 'metrics.jsonl'} given to {to}")
