"""``ptm predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptm.base.standard_input import STANDARD_INPUT
from ptm.cli.options import Coverage, Offline, Quiet, RejectBelow, Set, Verbose, new_reporter
from ptm.cli.printing import echo_json


def predict(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="A run directory, an export, or a config (- for standard input) whose model is trained.",
            show_default=False,
        ),
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS",
            help="Texts: .txt, csv, tsv, JSON or parquet files, or - for standard input. Images: files and folders.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    text: Annotated[
        list[str],
        typer.Option("--text", metavar="SENTENCE", help="A text itself, in the place of a file. Repeatable."),
    ] = [],  # noqa: B006
    set_: Set = [],  # noqa: B006
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Write to this .jsonl or .csv file (default: JSON lines on stdout).",
        ),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option("--draw", metavar="FOLDER", help="Draw each prediction into its image, in this folder."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="SCORE",
            min=0,
            max=1,
            help="Detection: the least score of a box that is written or drawn (default: 0.05 written, 0.5 drawn).",
        ),
    ] = None,
    reject_below: RejectBelow = None,
    coverage: Coverage = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", min=1, help="Inputs computed together (default 64)."),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave out what cannot be read and empty texts, and name it."),
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="With --output: say as JSON how many and how fast.")
    ] = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what a trained model makes of new texts or images."""
    from ptm.errors import ConfigError
    from ptm.experiment.predict import run_prediction

    if str(target) == STANDARD_INPUT and STANDARD_INPUT in inputs:
        raise ConfigError(
            "the config and the texts cannot both be standard input", where="-", cure="write one into a file"
        )
    reporter = new_reporter(quiet=quiet, verbose=verbose)
    summary = run_prediction(
        target,
        inputs,
        texts=text,
        overrides=set_,
        output=output,
        draw=draw,
        skip_bad=skip_bad,
        threshold=threshold,
        reject_below=reject_below,
        coverage=coverage,
        batch_size=batch_size,
        reporter=reporter,
    )
    if output is not None and json_:
        echo_json(summary)
    places = [str(place) for place in (output, draw) if place is not None]
    destination = f": {', '.join(places)}" if places else ""
    if reject_below is not None:
        reporter.say(f"{summary['rejected']:,} of {summary['inputs']:,} kept back: below {reject_below:g}")
    reporter.say(f"{summary['inputs']:,} predicted in {summary['seconds']:.1f} s{destination}")
