"""The rows of one file that ``ptm predict`` is given, one after the other, as training reads them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptm.data import tables
from ptm.data.columns import require_columns
from ptm.data.input_lines import LeftOut, opened, text_lines
from ptm.data.parquet import parquet_errors
from ptm.data.readers import FORMATS
from ptm.data.separated import CSV, TSV, require_rows, separated_rows, told
from ptm.data.text_folders import read_textfolder
from ptm.data.text_format import LINES, ROWS, TextFormat
from ptm.errors import Problem

STANDARD_INPUT = "-"
_SEPARATED: Mapping[str, Mapping[str, Any]] = {"csv": CSV, "tsv": TSV}
_STREAMED = (*_SEPARATED, "json", "parquet", "text")  # the others are read whole

# Where it stands, value a role, value a carried column.
Row = tuple[str, Mapping[str, Any], Mapping[str, Any]]


@dataclass(frozen=True)
class File:
    """A file, what it is read as, and how it is written."""

    path: Path
    kind: str
    written: TextFormat


def gives(kind: str) -> tuple[str, ...]:
    """The roles that a kind can give; () where columns have names, so that it can be any."""
    return ("text",) if kind == "textfolder" else FORMATS[kind].inputs


def file_rows(
    file: File, columns: Mapping[str, str], piece: int, left_out: LeftOut | None, notes: list[Problem]
) -> Iterator[Row]:
    """The rows of a file as they are read. ``columns``: role → name; ``piece``: rows of a parquet file at once;
    ``notes`` gets what is to be said of how it was read. Raises as :func:`ptm.data.inputs.text_inputs`."""
    path, kind, written = file.path, file.kind, file.written
    if str(path) == STANDARD_INPUT:
        lines = text_lines(sys.stdin.buffer, "standard input", LINES, written, left_out)
        yield from _of_lines(lines, "standard input", columns)
    elif kind == "parquet":
        yield from _of_parquet(path, columns, piece)
    elif kind not in _STREAMED:
        table = _read_whole(path, kind, columns, written)
        notes += table.notes
        for row in range(len(table)):
            others = {name: cells[row] for name, cells in table.columns.items() if name not in columns}
            yield table.where(row), {role: table.columns[role][row] for role in columns}, others
    else:
        with opened(path) as stream:
            if kind == "text":
                yield from _of_lines(text_lines(stream, path, LINES, written, left_out), path, columns)
            elif kind in _SEPARATED:
                lines = text_lines(stream, path, ROWS, written, left_out)
                yield from _of_separated(lines, path, columns, _SEPARATED[kind], written, left_out, notes)
            else:
                lines = text_lines(stream, path, ROWS, written, left_out, ends="\n")
                yield from _of_json(lines, path, columns, left_out)


def _of_lines(lines: Iterable[str], name: object, columns: Mapping[str, str]) -> Iterator[Row]:
    (role,) = columns
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield f"{name}:{number}", {role: line.rstrip("\r\n")}, {}


def _of_separated(
    lines: Iterable[str],
    name: object,
    columns: Mapping[str, str],
    usual: Mapping[str, Any],
    written: TextFormat,
    left_out: LeftOut | None,
    notes: list[Problem],
) -> Iterator[Row]:
    requested = list(dict.fromkeys(columns.values()))
    rows = separated_rows(lines, name, requested, usual, written, left_out, notes)
    _, header = next(rows)
    used = {role: header.index(column) for role, column in columns.items()}
    counts = Counter(header)
    others = {
        column: place
        for place, column in enumerate(header)
        if place not in used.values() and counts[column] == 1
    }
    for line, fields in rows:
        values = {role: fields[place] for role, place in used.items()}
        yield f"{name}:{line}", values, {column: fields[place] for column, place in others.items()}


def _of_json(
    lines: Iterable[str], name: object, columns: Mapping[str, str], left_out: LeftOut | None
) -> Iterator[Row]:
    requested = list(dict.fromkeys(columns.values()))
    rows = 0
    for place, record in tables.json_records(lines, name, requested, left_out):
        rows += 1
        values: dict[str, Any] = {}
        with told(left_out):
            values = {role: tables.require_unicode(record[column], place) for role, column in columns.items()}
        if values:
            yield place, values, _others(record, requested)
    require_rows(rows, name)


def _of_parquet(path: Path, columns: Mapping[str, str], piece: int) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    requested = list(dict.fromkeys(columns.values()))
    rows = 0
    with parquet_errors(path), pyarrow.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        require_columns(requested, schema.names, str(path))
        simple = (pyarrow.types.is_string, pyarrow.types.is_integer, pyarrow.types.is_floating)
        plain = [entry.name for entry in schema if any(is_(entry.type) for is_ in simple)]
        names = list(dict.fromkeys([*requested, *plain]))
        for batch in file.iter_batches(batch_size=piece, columns=names):
            for record in batch.to_pylist():
                values = {role: record[column] for role, column in columns.items()}
                yield f"{path}, row {rows}", values, _others(record, requested)
                rows += 1
    require_rows(rows, path)


def _others(record: Mapping[str, Any], requested: Sequence[str]) -> dict[str, Any]:
    """Columns that are not asked for and hold something that a table can show."""
    return {
        name: value
        for name, value in record.items()
        if name not in requested and (value is None or isinstance(value, str | int | float))
    }


def _read_whole(path: Path, kind: str, columns: Mapping[str, str], written: TextFormat) -> tables.Table:
    if kind == "textfolder":
        return read_textfolder(path, None, columns, written)
    form = FORMATS[kind]
    return (form.texts or form.read)(path, columns, written)
