"""``ptm models``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptm.cli.options import Json
from ptm.cli.printing import add_row, echo, echo_json, echo_table, new_table

if TYPE_CHECKING:
    from ptm.experiment.measure import Cost
    from ptm.models.catalogue import Choice, Family


def models(
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="Only models for this task.")
    ] = None,
    names: Annotated[
        str | None, typer.Option("--names", metavar="A,B,…", help="Only these, in this order.")
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Build each of --names and measure its latency and memory here."),
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", min=1, help="With --measure: CPU threads (default: all)."),
    ] = None,
    json_: Json = False,
) -> None:
    """List models by task, the cheapest first, with parameters, size, and published quality."""
    from ptm.config.tasks import TASKS
    from ptm.errors import ConfigError

    if task is not None and task not in TASKS:
        raise ConfigError(f"there is no task {task!r}", where="--task", expected=f"one of {', '.join(TASKS)}")
    only = tuple(part.strip() for part in names.split(",") if part.strip()) if names else ()
    if measure and not only:
        raise ConfigError(
            "measuring takes up to a minute a model",
            where="--measure",
            cure="say which ones: --names resnet18,resnet50",
        )
    from ptm.experiment.catalogue import choices, choose, families

    selection = choose(only, task) if only else choices(task)
    more = [] if only else families(task)
    costs: dict[str, Cost] = {}
    if measure:
        from ptm.experiment.footprint import measure_trained
        from ptm.experiment.measure import measure as measure_cost

        for choice in selection:
            echo(f"measuring {choice.name}", err=True)
            costs[choice.name] = (
                measure_trained(Path(choice.name), threads=threads)
                if choice.trained
                else measure_cost(choice, threads=threads)
            )
    if json_:
        echo_json(_as_json(selection, more, costs))
    elif sys.stdout.isatty():
        _show(selection, more, costs)
    else:
        for line in _lines(selection, more, costs):
            echo(line)


def _as_json(
    selection: Sequence[Choice], more: Sequence[Family], costs: Mapping[str, Cost]
) -> dict[str, list[dict[str, object]]]:
    rows = [
        choice.as_dict() | ({"cost": costs[choice.name].as_dict()} if choice.name in costs else {})
        for choice in selection
    ]
    return {"models": rows, "families": [family.as_dict() for family in more]}


def _lines(selection: Sequence[Choice], more: Sequence[Family], costs: Mapping[str, Cost]) -> list[str]:
    """Fields apart by tabs, a heading first, families last."""
    heading = [
        "task",
        "name",
        "parameters",
        "file",
        "GMACs",
        "quality",
        "published in",
        *_measured_heading(costs),
    ]
    rows = [[choice.task, *_cells(choice), *_measured(choice, costs)] for choice in selection]
    rows += [["/".join(family.tasks), *_family(family)] for family in more]
    return ["\t".join(row) for row in (heading, *rows)]


def _show(selection: Sequence[Choice], more: Sequence[Family], costs: Mapping[str, Cost]) -> None:
    """A table a task."""
    for task in dict.fromkeys(choice.task for choice in selection):
        table = new_table(task)
        for column in ("name", "parameters", "file", "GMACs", "quality", "published in"):
            table.add_column(column, justify="right" if column in ("parameters", "file", "GMACs") else "left")
        for column in _measured_heading(costs):
            table.add_column(column, justify="right")
        for choice in selection:
            if choice.task == task:
                add_row(table, *_cells(choice), *_measured(choice, costs))
        echo_table(table)
        for family in more:
            if task in family.tasks:
                echo("  ".join(part for part in _family(family) if part))


def _cells(choice: Choice) -> list[str]:
    missing = {None: "", True: "  (installed)", False: "  (not installed)"}[choice.here]
    quality = "" if choice.value is None else f"{choice.value:.4g} {choice.metric}"
    return [
        choice.name + missing,
        "" if choice.parameters is None else _millions(choice.parameters),
        "" if choice.file_bytes is None else f"{choice.file_bytes / 1e6:.1f} MB",
        "" if choice.giga_operations is None else f"{choice.giga_operations:g}",
        quality,
        choice.source,
    ]


def _family(family: Family) -> list[str]:
    count = "" if family.count is None else f"{family.count:,} names"
    return [family.pattern, family.example, count, family.missing and f"not installed: {family.missing}"]


def _measured_heading(costs: Mapping[str, Cost]) -> list[str]:
    if not costs:
        return []
    return ["ms, 1: median / p95", "ms, 32: median / p95", "memory, 1", "memory, 32", "measured on"]


def _measured(choice: Choice, costs: Mapping[str, Cost]) -> list[str]:
    if not costs:
        return []
    cost = costs[choice.name]
    if cost.problem:
        return ["", "", "", "", f"not measured: {cost.problem}"]
    times = [cost.latency_ms.get(size) for size in ("1", "32")]
    peaks = [cost.peak_bytes.get(size) for size in ("1", "32")]
    return [
        *(f"{time['median']:.1f} / {time['p95']:.1f}" if time else "" for time in times),
        *(f"{peak / 1e6:.0f} MB" if peak is not None else "" for peak in peaks),
        f"{cost.input}; {cost.device}, {cost.threads} threads",
    ]


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"
