"""What commands print on standard output: a table for people, JSON for programs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptm.base.printable import printable
from ptm.cli.printing import add_row, echo, echo_json, echo_table, new_table
from ptm.config.evaluation import shown_metric

if TYPE_CHECKING:
    from ptm.experiment.reproduce import Reproduction
    from ptm.run.results import Results, TrainSummary


def show_results(results: Results, *, as_json: bool) -> None:
    """Results on standard output: JSON for programs, a table and what to do next for people."""
    if as_json:
        echo_json(results.as_dict())
        return
    assert results.model is not None and results.eval is not None
    # A table's title would be broken to the width of the table, within a path too.
    test = results.test
    counted = f"{results.eval.examples} examples" + ("" if test is None else f", {test.examples} of the test")
    echo(f"{results.model.name} on {counted}")
    constants = results.constant if test is None else test.constant
    table = new_table()
    table.add_column("metric")
    table.add_column("value" if test is None else "eval", justify="right")
    if test is not None:
        table.add_column("test", justify="right")
    if constants:
        table.add_column("constant answer", justify="right")
    of_test = {} if test is None else test.metrics
    for name in dict.fromkeys((*results.metrics, *of_test)):
        cells = [results.metrics.get(name), *([] if test is None else [of_test.get(name)])]
        cells += [constants.get(name)] if constants else []
        displayed_name = shown_metric(name, results.positive_label)
        add_row(table, displayed_name, *("" if value is None else f"{value:.4f}" for value in cells))
    echo_table(table)
    _show_slices(results)
    for warning in results.warnings if test is None else test.warnings:
        echo(f"warning: {warning}")
    if results.train is not None and results.output is not None:
        _show_training(results, results.train, results.output)


def _show_slices(results: Results) -> None:
    """A line a slice of what is judged: how many examples, and the metrics of expectations, else the chief one."""
    rows = results.slices if results.test is None else results.test.slices
    if not rows:
        return
    expected = [e.metric.partition("[")[0] for e in results.expect if "[" in e.metric]
    chief = [
        name for name in (results.best.metric if results.best else "", *rows[0].metrics) if name != "loss"
    ]
    names = [name for name in dict.fromkeys((*expected, *chief)) if any(name in r.metrics for r in rows)]
    names = names[: max(1, len(set(expected)))]
    table = new_table()
    table.add_column("slice")
    for name in ("examples", *(shown_metric(name, results.positive_label) for name in names)):
        table.add_column(name, justify="right")
    for row in rows:
        cells = (f"{row.metrics[name]:.4f}" if name in row.metrics else "" for name in names)
        add_row(table, f"{row.slice}={row.value}", str(row.examples), *cells)
    echo_table(table)


def _show_training(results: Results, train: TrainSummary, output: str) -> None:
    """How long it took, how it stands beside its teacher, and where everything is."""
    echo(f"{train.steps} steps in {train.seconds:.1f} s, {train.examples_per_second or 0:.0f} examples/s")
    teacher, student = results.teacher, results.model
    if teacher is not None and student is not None:
        name = _compared_by(results, teacher.metrics)
        sides = (("teacher", teacher, teacher.metrics), ("student", student, results.metrics))
        texts = (
            f"{role}: {size.parameters:,} parameters, {name} {metrics[name]:.4f}"
            for role, size, metrics in sides
        )
        echo("; ".join(texts))
    place = os.path.relpath(output)
    report = os.path.join(place, "report.html")  # noqa: PTH118
    echo(f"run: {shlex.quote(place)}   report: {shlex.quote(report)}")
    echo(f"next: ptm eval {shlex.quote(place)} --split …")


def _compared_by(results: Results, teacher: Mapping[str, float]) -> str:
    """The metric by which teacher and student are compared: that of ``best:``, or the first but the loss."""
    best = results.best.metric if results.best else None
    names = [best, *(name for name in results.metrics if name != "loss"), "loss"]
    return next(name for name in names if name in teacher and name in results.metrics)


def show_config(config: Path, changes: Sequence[str], *, as_json: bool, output: str | None) -> None:
    """A config with all defaults and where each value comes from: YAML that is a config itself, or JSON.

    ``output``: the change that stands for ``--output``.
    """
    from ptm.config.load import load_with_tree
    from ptm.config.origins import annotated, origins

    spec, tree = load_with_tree(config, changes)
    places = origins(spec, tree)
    if output is not None:
        places["output",] = places["output",].replace(f"--set {output}", "--output")
    if as_json:
        echo_json(
            {"config": asdict(spec), "origins": {".".join(path): place for path, place in places.items()}}
        )
    else:
        echo(annotated(spec, places).rstrip("\n"))


def show_verdict(verdict: dict[str, Any], output: Path, *, as_json: bool) -> None:
    """The two arms side by side, and what the difference is worth."""
    if as_json:
        echo_json(verdict)
        return
    lower = "" if verdict["higher_is_better"] else ", lower is better"
    of_test = " of the test" if verdict.get("split") == "test" else ""
    title = f"{verdict['metric']} on {verdict['examples']} examples{of_test}{lower}"
    table = new_table(title)
    exact = all("p_mcnemar" in row for row in verdict["seeds"])
    for column in ("seed", "distilled", "control", "gain", *(["p (McNemar)"] if exact else [])):
        table.add_column(column, justify="right")
    for row in verdict["seeds"]:
        numbers = (f"{row['distilled']:.4f}", f"{row['control']:.4f}", f"{row['gain']:+.4f}")
        add_row(table, str(row["seed"]), *numbers, *([f"{row['p_mcnemar']:.2g}"] if exact else []))
    echo_table(table)
    echo(verdict["sentence"])
    echo(f"runs and verdict.json: {os.path.relpath(output)}")


def show_reproduction(reproduction: Reproduction, *, kept: bool, as_json: bool) -> None:
    """How far a run is from its record. ``kept``: whether the directory it was run in is still there."""
    if as_json:
        place = {} if kept else {"output": None}
        echo_json(reproduction.as_dict() | place)
        return
    echo(reproduction.verdict)
    for metric, distance in reproduction.distances.items():
        *split, name = metric.split(": ")
        name = ": ".join([*split, shown_metric(name, reproduction.positive_label)])
        echo(f"  {name}: {distance:.6f} off" if distance else f"  {name}: the same")
    if reproduction.first_difference is not None:
        echo(f"first different step: {reproduction.first_difference}")
    for change in reproduction.changed:
        echo(f"changed: {change}")


def show_scorecard(card: dict[str, Any]) -> None:
    models = card["models"]
    table = new_table("scorecard")
    table.add_column("")
    for name in models:
        table.add_column(printable(name), justify="right")
    for key, name, pattern in (
        ("value", card["metric"], "{:.4f}"),
        ("kept", "kept of the teacher's", "{:.1%}"),
        ("agreement", "same answers as the teacher", "{:.1%}"),
        ("correlation", "correlation with the teacher", "{:.3f}"),
        ("parameters", "parameters", "{:,}"),
        ("bytes", "bytes in memory", "{:,}"),
        ("disk_bytes", "bytes on disk", "{:,}"),
        ("examples_per_second", "examples/s", "{:.1f}"),
    ):
        cells = [pattern.format(m[key]) if m.get(key) is not None else "" for m in models.values()]
        if any(cells):
            add_row(table, name, *cells)
    for size in ("1", "32"):
        timed = [m["latency_ms"].get(size) for m in models.values()]
        if any(timed):  # fewer than 32 examples to evaluate on make no batch of 32
            times = [f"{c['median']:.2f} / {c['p95']:.2f}" if c else "" for c in timed]
            add_row(table, f"ms, batch {size}: median / p95", *times)
    echo_table(table)
