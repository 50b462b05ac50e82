"""The scorecard of a distillation as rows of a table; only what results.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptm.report import words
from ptm.report.inputs import RunFiles, mapping, number


def scorecard(run: RunFiles) -> tuple[list[str], list[list[str]]]:
    """(names of the models, rows: what, a value a model). Both empty when nothing was measured."""
    models = {
        words.plain(name): mapping(column)
        for name, column in mapping(run.result("scorecard").get("models")).items()
    }
    name = words.plain(run.result("scorecard").get("metric") or "accuracy").replace("_", " ")
    rows = [
        [name.capitalize(), *(words.metric(c.get("value")) for c in models.values())],
        [f"Share of the teacher's {name}", *(words.percent(c.get("kept")) for c in models.values())],
        ["Agreement with the teacher", *(words.percent(c.get("agreement")) for c in models.values())],
        ["Correlation with the teacher", *(words.metric(c.get("correlation")) for c in models.values())],
        ["Parameters", *(words.count(c.get("parameters")) for c in models.values())],
        ["Weights in memory", *(words.size(c.get("bytes")) for c in models.values())],
        ["Weights on disk", *(words.size(c.get("disk_bytes")) for c in models.values())],
        ["Evaluation speed", *(words.speed(c.get("examples_per_second")) for c in models.values())],
    ]
    for size in ("1", "32"):
        cells = [_latency(mapping(mapping(c.get("latency_ms")).get(size))) for c in models.values()]
        rows.append([f"Latency, batch {size}: median, p95", *cells])
    return list(models), [row for row in rows if any(row[1:])]


def measured_on(run: RunFiles) -> str:
    where = mapping(run.result("scorecard").get("where"))
    threads = f", {words.count(where.get('threads'))} threads" if where.get("device") == "cpu" else ""
    return f"measured on {words.plain(where['device'])}{threads}" if "device" in where else ""


def verdict(run: RunFiles) -> str:
    """The sentence of the comparison with the control."""
    return words.plain(run.result("verdict").get("sentence") or "")


def _latency(values: Mapping[str, Any]) -> str:
    median, p95 = number(values.get("median")), number(values.get("p95"))
    return f"{median:.3g} ms, {p95:.3g} ms" if median == median and p95 == p95 else ""
