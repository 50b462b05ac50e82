"""``ptm compare`` and ``ptm runs``: runs side by side, and those that there are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ptm.cli.options import Json
from ptm.cli.printing import add_row, echo, echo_json, echo_table, new_table
from ptm.cli.streams import reader_may_go

_MOST_LINES = 12  # of a kind of difference


def compare(
    sides: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUNS",
            help="The baseline, then the others: each a finished run, or a folder of runs that differ in their seed.",
            show_default=False,
        ),
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            help="By which they are judged (default: the task's); of a slice: accuracy[source=mobile].",
        ),
    ] = None,
    fail_if_worse: Annotated[
        str | None,
        typer.Option(
            "--fail-if-worse",
            metavar="POINTS|significant",
            help="Exit with 4 if one is worse than the baseline by more points than these (a point is 0.01), or "
            "by the paired test.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with the examples on which they differ."),
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures",
            help="With --html: put the pictures of these examples on the page, from wherever the runs say they are.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Say how runs differ: in metrics, with a paired test, and in what they were made of."""
    from ptm.errors import ExpectationMissed, Problem
    from ptm.experiment.compare import check_limit, compare_sides, worse_than
    from ptm.experiment.side import read_side

    if fail_if_worse is not None:
        check_limit(fail_if_worse)
    if html is not None:
        from ptm.experiment.outputs import require_report_file
        from ptm.report.comparison import PAGE_MARK

        require_report_file(html.absolute(), "--html", PAGE_MARK)
    record = compare_sides([read_side(side) for side in sides], metric)
    lines = [] if fail_if_worse is None else worse_than(record, fail_if_worse)
    if html is not None:
        from ptm.base import files
        from ptm.report.comparison import comparison_page

        require_report_file(html.absolute(), "--html", PAGE_MARK)  # put there meanwhile
        files.write_file(html.absolute(), files.utf8(comparison_page(record, pictures=pictures)))
    with reader_may_go():
        if json_:
            echo_json({**record, "worse": lines})
        else:
            _show(record)
            if html is not None:
                echo(f"page: {html}")
    if lines:
        raise ExpectationMissed([Problem(line) for line in lines])


def _show(record: Mapping[str, Any]) -> None:
    from ptm.report.batch import spread_text
    from ptm.report.comparison import shown_name

    table = new_table()
    table.add_column("metric" if record["split"] == "eval" else f"metric on {record['split']}")
    for side in record["sides"]:
        table.add_column(os.path.relpath(side["name"]), justify="right", overflow="fold")
    for name in dict.fromkeys(name for side in record["sides"] for name in side["metrics"]):
        add_row(
            table,
            shown_name(record, name),
            *(spread_text(side["metrics"].get(name)) for side in record["sides"]),
        )
    echo_table(table)
    for row in record["comparisons"]:
        echo(f"{os.path.relpath(row['candidate'])} against {os.path.relpath(record['sides'][0]['name'])}:")
        if row["verdict"] is not None:
            echo(f"  {row['verdict']['sentence']}")
        if row["not_tested"]:
            echo(f"  {'' if row['verdict'] else 'not tested: '}{row['not_tested']}")
        if row["flips"] is not None:
            ours, theirs = (
                row["flips"][name]["count"] for name in ("only_candidate_right", "only_baseline_right")
            )
            seeds = row["flips"]["only_candidate_right"]["of"]
            only = f"it got right in more of the {seeds} seeds" if seeds > 1 else "only it got right"
            echo(
                f"  examples that {only}: {ours}; that {'' if seeds > 1 else 'only '}the baseline did: {theirs}"
            )
        for name, lines in row["differences"].items():
            for line in lines[:_MOST_LINES]:
                echo(f"  {name}: {line}")
            if len(lines) > _MOST_LINES:
                echo(f"  {name}: and {len(lines) - _MOST_LINES} more")


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds them.")] = Path(
        "runs"
    ),
    json_: Json = False,
) -> None:
    """List runs: status, task, metric, when, of which commit."""
    from ptm.config.evaluation import shown_metric
    from ptm.experiment.runs import list_runs

    rows = list_runs(folder)
    with reader_may_go():
        if json_:
            echo_json({"runs": rows})
            return
        if not rows:
            echo(f"no runs below {folder}")
            return
        table = new_table()
        for column in ("run", "status", "task", "metric", "value", "created", "commit"):
            table.add_column(column, overflow="fold")
        for row in rows:
            value = "" if row["value"] is None else f"{row['value']:.4f}"
            value += " (test)" if row["split"] == "test" else ""
            missed = f"{row['status']}, missed {', '.join(row['expectations_missed'])}"
            status = missed if row["expectations_missed"] else row["status"]
            texts = (
                row["task"] or "",
                shown_metric(row["metric"] or "", row["positive_label"]),
                value,
                (row["created"] or "")[:16],
                (row["commit"] or "")[:8],
            )
            add_row(table, os.path.relpath(row["run"]), status, *texts)
        echo_table(table)
