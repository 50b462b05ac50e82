"""Rows of a table as a guess reads them: leniently, whatever stands in them; and what is said of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptm.data.packed import is_packed, unpacked
from ptm.data.separated import MAX_FIELD_CHARS
from ptm.data.tables import json_records
from ptm.data.workbooks import cell_text, read_sheet
from ptm.errors import DataError


@dataclass
class Guess:
    """The task, the section ``data:`` without its source, and why: key → what led to it."""

    task: str
    kind: str
    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    train_examples: int | None = None

    def say(self, key: str, value: Any, reason: str) -> None:
        self.data[key] = value
        self.reasons[key] = reason


@dataclass(frozen=True)
class Rows:
    """Rows of a table with the place of each."""

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]
    places: Sequence[str]

    def values(self, column: str) -> list[Any]:
        return [row[column] for row in self.rows if row.get(column) is not None]


def read_rows(path: Path, about: Guess) -> Rows:
    """All rows of a file, leniently: whoever trains on it is strict."""
    if about.kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.read_table(path)
            rows = table.to_pylist()
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise DataError(f"not a readable parquet file: {error}", where=path) from None
        return Rows(tuple(table.column_names), rows, [f"{path.name}, row {n}" for n in range(len(rows))])
    if about.kind == "xlsx":
        sheet = read_sheet(path, None)
        rows = [dict(zip(sheet.header, map(cell_text, cells), strict=True)) for _, cells in sheet.rows]
        return Rows(sheet.header, rows, [f"{path.name}, row {row}" for row, _ in sheet.rows])
    raw = path.read_bytes()
    text = (unpacked(raw, path) if is_packed(path) else raw).decode("utf-8-sig", "replace")
    if about.kind == "json":
        pairs = list(json_records(io.StringIO(text, newline="\n"), path.name, []))
        columns = dict.fromkeys(name for _, record in pairs[:100] for name in record)
        return Rows(tuple(columns), [record for _, record in pairs], [place for place, _ in pairs])
    first = text.partition("\n")[0]
    usual = "," if about.kind == "csv" else "\t"
    delimiter = usual if usual in first else max(";,\t|", key=first.count)
    if delimiter != usual and delimiter in first:
        about.say(
            "delimiter", delimiter, f"{path.name}:1 has no {usual!r}, but {first.count(delimiter)} of it"
        )
    else:
        delimiter = usual
    quoting: Any = csv.QUOTE_NONE if about.kind == "tsv" else csv.QUOTE_MINIMAL
    csv.field_size_limit(MAX_FIELD_CHARS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    rows, places = [], []
    try:
        header = [cell.strip() for cell in next(reader, [])]
        for cells in reader:
            if len(cells) == len(header):
                rows.append(dict(zip(header, cells, strict=True)))
                places.append(f"{path.name}:{reader.line_num}")
    except csv.Error as error:
        raise DataError(f"no table: {error}", where=f"{path}:{reader.line_num}") from None
    if not rows:
        raise DataError("no rows below the header", where=path, expected="at least one example")
    return Rows(tuple(header), rows, places)


def longest_columns(rows: Rows) -> list[str]:
    """Columns of texts, those with the longest first."""
    lengths = {}
    for column in rows.columns:
        values = rows.values(column)[:200]
        if values and all(isinstance(v, str) for v in values) and not all(is_number(v) for v in values):
            lengths[column] = sum(map(len, values)) / len(values)
    return sorted(lengths, key=lambda column: -lengths[column])


def put_columns(about: Guess, roles: Mapping[str, str], usual: Mapping[str, str], rows: Rows) -> None:
    for role, column in roles.items():
        sample = str(next(iter(rows.values(column)), ""))
        sample = sample if len(sample) <= 40 else sample[:39] + "…"
        reason = f"{rows.places[0]}: {sample!r}"
        if column != usual[role]:
            about.say(role, column, reason)
        else:
            about.reasons[f"column {column}"] = reason


def is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True
