"""What ``ptm predict`` writes of an input: a line of JSON, or a row of a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, TextIO

from ptm.errors import DataError, NotFinite

Row = dict[str, Any]  # a line of the output: the input, and a Prediction


def csv_writer(
    file: TextIO, labels: tuple[str, ...], names: Mapping[str, str] = MappingProxyType({})
) -> Callable[[Row], None]:
    """What writes rows as a table: input, prediction, a column a score, and the columns that came with the input.

    Where not every label has a score, the highest stand in pairs, ``label_1``, ``score_1``, …. What is neither a text
    nor a number is written as JSON. ``names``: what columns of inputs are called. Raises DataError for a row with
    other columns than the first.
    """
    # A carriage return must be quoted as well, which the writer does for the characters of its own line ends only.
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write_row(cells: Collection[str]) -> None:
        (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)

    header: list[str] = []

    def write(row: Row) -> None:
        cells = _cells(row, labels, names)
        if not header:
            header.extend(cells)
            write_row([guarded(name) for name in header])
        elif list(cells) != header:
            raise DataError(
                f"the columns {', '.join(cells)} are not those of the inputs before",
                where=row.get("where", row["input"]),
                expected=", ".join(header),
                cure="predict these inputs apart, or write JSON lines: --output FILE.jsonl",
            )
        write_row(cells.values())

    return write


def _cells(row: Row, labels: tuple[str, ...], names: Mapping[str, str]) -> dict[str, str]:
    """Column → content."""
    scores = row.get("scores")
    by_label = _score_cells(scores, labels) if isinstance(scores, Mapping) else {}
    apart = ("id", "where", "input", "columns", *(("scores",) if by_label else ()))
    values = {name: value for name, value in row.items() if name not in apart}
    place = {key: row[key] for key in ("id", "where") if key in row}
    by_role = row["input"] if isinstance(row["input"], dict) else {"input": row["input"]}
    taken = {*place, *values, *by_label}
    inputs = {
        f"input.{name}" if name in taken else name: value
        for name, value in ((names.get(role, role), value) for role, value in by_role.items())
    }
    own: Row = place | inputs | values | by_label
    # A column of the input that has the name of one of these keeps its values under another.
    carried = {f"input.{n}" if n in own else n: v for n, v in row.get("columns", {}).items()}
    return {name: _cell(value, row) for name, value in (own | carried).items()}


def _score_cells(scores: Mapping[str, float], labels: tuple[str, ...]) -> Row:
    if set(scores) == set(labels):
        return {f"score_{name}": scores[name] for name in labels}
    cells: Row = {}
    for place, (label, score) in enumerate(sorted(scores.items(), key=lambda pair: -pair[1]), start=1):
        cells |= {f"label_{place}": label, f"score_{place}": score}
    return cells


def _cell(value: Any, row: Row) -> str:
    return guarded(value) if isinstance(value, str) else "" if value is None else row_json(value, row)


def guarded(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: with an apostrophe before it, unless it is a number."""
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def row_json(value: Any, row: Row) -> str:
    """A value of a row, or all of it, in one line. Raises NotFinite."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise NotFinite(
            "the scores are not finite",
            where=row.get("where", row["input"]),
            expected="finite numbers",
            cure="use --set runtime.precision=fp32, or look at the weights",
        ) from None
