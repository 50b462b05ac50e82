"""Commands about a run that is there: ``ptm reproduce`` and ``ptm report``."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from ptm.cli.options import Json, Quiet, Verbose, new_reporter, parse_processes
from ptm.cli.printing import echo, echo_json
from ptm.cli.show import show_reproduction, show_scorecard


def reproduce(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A finished run directory; it is only read.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FOLDER",
            help="Where to run it again and leave it (default: a temporary folder).",
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="DISTANCE",
            help="How far a final metric may be off, if not bit-identical.",
        ),
    ] = 0.005,
    processes: Annotated[
        str,
        typer.Option(
            "--nproc",
            metavar="N|auto",
            help="Processes that share the work; auto: as many as the record says.",
        ),
    ] = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Run a recorded experiment again and say how far the result is from the record."""
    from ptm.errors import ConfigError

    if not 0 <= tolerance < math.inf:  # 0 and more: NaN is not below 0 either
        raise ConfigError(
            f"{tolerance} is no distance", where="--tolerance", expected="a finite number from 0 up"
        )
    reporter = new_reporter(quiet=quiet, verbose=verbose)
    count = parse_processes(processes)
    from ptm.base.allocator import keep_freed_memory
    from ptm.experiment.reproduce import reproduce as run_again

    keep_freed_memory()  # as the recorded training did
    with ExitStack() as stack:
        target = output or Path(stack.enter_context(TemporaryDirectory(prefix="ptm-reproduce-"))) / "run"
        reproduction = run_again(run, target, tolerance, reporter, processes=count)
    show_reproduction(reproduction, kept=output is not None, as_json=json_)
    if not reproduction.good:
        raise typer.Exit(4)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)],
    measure: Annotated[
        bool,
        typer.Option(
            "--measure/--no-measure",
            help="A distilled run: measure teacher and student on this machine for the scorecard.",
        ),
    ] = True,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Write a run's report.html and README.md again; of a distilled run, with its scorecard."""
    from ptm.errors import PtmError
    from ptm.report.page import write_report
    from ptm.run.directory import RunDirectory
    from ptm.run.opening import require_run

    require_run(run, "a directory that ptm finetune or distill wrote")
    reporter = new_reporter(quiet=quiet, verbose=verbose)
    card, problems = None, []
    results = RunDirectory(run).read_results()
    if measure and results is not None and results.teacher is not None:
        from ptm.experiment.scorecard import measure_scorecard

        try:
            card = measure_scorecard(run, reporter)
        except PtmError as error:  # the teacher or the data are gone: the report is made all the same
            problems = [asdict(problem) for problem in error.problems]
            echo(f"no scorecard: {error}", err=True)
    write_report(run)
    page, readme = str(run / "report.html"), str(run / "README.md")
    if json_:
        echo_json({"report": page, "readme": readme, "scorecard": card, "problems": problems})
        return
    if card is not None:
        show_scorecard(card)
    echo(page)
