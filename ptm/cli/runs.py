"""Commands about a run that is there: ``ptm reproduce`` and ``ptm report``."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from ptm.cli.options import Json
from ptm.cli.printing import echo
from ptm.cli.show import show_reproduction, show_scorecard


def reproduce(
    run: Annotated[
        Path, typer.Argument(help="A finished run directory; it is only read.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Where to run it again and leave it (default: a temporary folder)."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", min=0, help="How far a final metric may be off, if not bit-identical."),
    ] = 0.005,
    processes: Annotated[
        int | None,
        typer.Option("--nproc", min=1, help="Processes that share the work, as many as the record says."),
    ] = None,
    json_: Json = False,
) -> None:
    """Run a recorded experiment again and say how far the result is from the record."""
    from ptm.base.console import reporter_for
    from ptm.experiment.reproduce import reproduce as run_again

    with ExitStack() as stack:
        target = output or Path(stack.enter_context(TemporaryDirectory(prefix="ptm-reproduce-"))) / "run"
        reproduction = run_again(run, target, tolerance, reporter_for(sys.stderr), processes=processes)
    show_reproduction(reproduction, kept=output is not None, as_json=json_)
    if not reproduction.good:
        raise typer.Exit(4)


def report(
    run: Annotated[Path, typer.Argument(help="A run directory.", show_default=False)],
    measure: Annotated[
        bool,
        typer.Option(help="A distilled run: measure teacher and student on this machine for the scorecard."),
    ] = True,
) -> None:
    """Write a run's report.html and README.md again; of a distilled run, with its scorecard."""
    from ptm.errors import PtmError
    from ptm.report.page import write_report
    from ptm.run.directory import RunDirectory, require_run

    require_run(run, "a directory that ptm finetune or distill wrote")
    results = RunDirectory(run).read_results()
    if measure and results is not None and results.teacher is not None:
        from ptm.base.console import reporter_for
        from ptm.experiment.scorecard import measure_scorecard

        try:
            show_scorecard(measure_scorecard(run, reporter_for(sys.stderr)))
        except PtmError as error:  # the teacher or the data are gone: the report is made all the same
            echo(f"no scorecard: {error}", err=True)
    write_report(run)
    echo(str(run / "report.html"))
