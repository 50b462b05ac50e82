"""``ptm export``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ptm.cli.options import Json, Quiet, Verbose, new_reporter
from ptm.cli.printing import add_row, echo, echo_json, echo_table, new_table

if TYPE_CHECKING:
    from ptm.export.record import ExportRecord


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run directory.", show_default=False)],
    format_: Annotated[
        Literal["onnx", "torch"],
        typer.Option(
            "--format",
            metavar="onnx|torch",
            help="onnx, for ONNX Runtime; torch: a .pt2 file of torch.export.",
        ),
    ] = "onnx",
    quantize: Annotated[
        Literal["int8", "bf16"] | None,
        typer.Option(
            "--quantize",
            metavar="int8|bf16",
            help="int8: weights and arithmetic. bf16: weights are stored in 16 bits.",
        ),
    ] = None,
    opset: Annotated[
        int, typer.Option("--opset", metavar="N", help="Version of ONNX's operators, 18 to 23.")
    ] = 18,
    calibrate: Annotated[
        int | None,
        typer.Option(
            "--calibrate",
            metavar="N",
            min=0,
            help="int8: training examples that scales are found with; 0: found anew in each pass "
            "(default: 128 for images, 0 for texts).",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="X",
            min=0,
            help="By how much the metric may get worse (default: 0.001; 0.01 with --quantize). Of losses a fraction.",
        ),
    ] = None,
    trim_vocabulary: Annotated[
        int | None,
        typer.Option(
            "--trim-vocabulary",
            metavar="N",
            min=0,
            help="Leave out tokens that neither training nor evaluation texts use, but the N most frequent of these.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FOLDER", help="The new directory (default: RUN-FORMAT, beside the run)."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the export that is there.")] = False,
    measure: Annotated[
        bool, typer.Option(help="Measure latency and memory of the model and of its export.")
    ] = True,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json_: Json = False,
) -> None:
    """Write a run's model as a graph that runs without ptm and torch, and check that it answers the same."""
    from ptm.run.opening import require_run

    require_run(run, "a finished run")
    reporter = new_reporter(quiet=quiet, verbose=verbose)
    from ptm.experiment.export import ExportOptions, default_output, run_export

    options = ExportOptions(
        format=format_,
        quantize=quantize,
        opset=opset,
        calibrate=calibrate,
        tolerance=tolerance,
        trim=trim_vocabulary,
        measure=measure,
    )
    place = output or default_output(run, options)
    record = run_export(run, place, options, overwrite=overwrite, reporter=reporter)
    if json_:
        echo_json({**record.as_dict(), "output": str(place)})
        return
    _show(record, place)


def _show(record: ExportRecord, place: Path) -> None:
    from ptm.report.exports import export_table

    columns, rows = export_table({"export": record.as_dict()})
    table = new_table()
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for row in rows:
        add_row(table, *row)
    echo_table(table)
    path_text = shlex.quote(os.path.relpath(place))
    echo(f"export: {path_text}")
    if record.format == "onnx":
        echo(f"next: ptm eval {path_text}, ptm predict {path_text} …; without ptm: {path_text}/predict.py")
