"""What a run's exports came to, as a table: the model first, then a column an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptm.report import words
from ptm.report.inputs import mapping, number


def export_table(exports: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """``exports``: name → content of its export.json. Names of the columns, and rows: what, a value a column; both
    empty where there is no export."""
    records = {words.plain(name): mapping(record) for name, record in exports.items()}
    if not records:
        return [], []
    last = list(records.values())[-1]
    sides = [mapping(last.get("before")), *(mapping(record.get("after")) for record in records.values())]
    compared = [mapping(record.get("comparison")) for record in records.values()]
    names = dict.fromkeys(mapping(c).get("metric") for c in compared)
    rows = [
        [words.plain(name), *(_metric(mapping(side.get("metrics")).get(name)) for side in sides)]
        for name in names
        if isinstance(name, str)
    ]
    rows += [
        ["Same answers as the model", "", *(words.percent(c.get("equal_answers")) for c in compared)],
        [
            "Largest difference of an output",
            "",
            *(words.decimal(c.get("largest_difference")) for c in compared),
        ],
        ["Tokens in the vocabulary", *_tokens(last, list(records.values()))],
        ["On disk", *(words.size(side.get("bytes")) for side in sides)],
    ]
    for size in ("1", "32"):
        times = [mapping(mapping(side.get("latency_ms")).get(size)) for side in sides]
        rows.append([f"Latency, batch {size}: median, p95", *map(_latency, times)])
    for size in ("1", "32"):
        peaks = [mapping(side.get("peak_bytes")).get(size) for side in sides]
        rows.append([f"Memory, batch {size}", *map(words.size, peaks)])
    rows.append(["Threads", *[words.count(last.get("threads"))] * len(sides)])
    return ["model", *records], [row for row in rows if any(row[1:])]


def _tokens(last: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Empty for those that have it as it was."""
    after = [mapping(record.get("vocabulary")).get("after") for record in records]
    return [words.count(mapping(last.get("vocabulary")).get("before")), *map(words.count, after)]


def _metric(value: Any) -> str:
    return "" if value is None else words.metric(value)


def _latency(values: Mapping[str, Any]) -> str:
    median, p95 = number(values.get("median")), number(values.get("p95"))
    known = median == median and p95 == p95
    return f"{words.milliseconds(median)}, {words.milliseconds(p95)}" if known else ""
