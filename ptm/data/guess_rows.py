"""Rows of a table as a guess reads them: leniently, whatever stands in them; and what is said of them."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptm.data.packed import is_packed, unpacked
from ptm.data.parquet import parquet_errors
from ptm.data.separated import MAX_FIELD_CHARS, SEPARATOR_LINE, separated_rows
from ptm.data.tables import json_records
from ptm.data.text_folders import text_files
from ptm.data.workbooks import cell_text, read_sheet
from ptm.errors import DataError


@dataclass
class Guess:
    """The task, the section ``data:`` without its source, and why: key → what led to it. ``entities``: whether tags, if
    there are any, name entities."""

    task: str
    kind: str
    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    train_examples: int | None = None
    entities: bool = True

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
        import pyarrow.parquet

        with parquet_errors(path):
            table = pyarrow.parquet.read_table(path)
            rows = table.to_pylist()
        return Rows(tuple(table.column_names), rows, [f"{path.name}, row {n}" for n in range(len(rows))])
    if about.kind == "xlsx":
        sheet = read_sheet(path, None)
        rows = [dict(zip(sheet.header, map(cell_text, cells), strict=True)) for _, cells in sheet.rows]
        return Rows(sheet.header, rows, [f"{path.name}, row {row}" for row, _ in sheet.rows])
    raw = path.read_bytes()
    text = _decoded(unpacked(raw, path) if is_packed(path) else raw, path, about)
    if about.kind == "json":
        pairs = list(json_records(io.StringIO(text, newline="\n"), path.name, []))
        columns = dict.fromkeys(name for _, record in pairs[:100] for name in record)
        return Rows(tuple(columns), [record for _, record in pairs], [place for place, _ in pairs])
    first = text.partition("\n")[0]
    if SEPARATOR_LINE.fullmatch(first):
        next(separated_rows([first], path.name, (), {}), None)  # which refuses it
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
        raise DataError(
            "no rows below the header",
            where=path,
            expected="at least one example",
            cure="add rows; where the first line is one, write the names of columns above it",
        )
    return Rows(tuple(header), rows, places)


def encoding_of(path: Path) -> tuple[str | None, str]:
    """(what ``data.encoding`` is to say of a file or of the files in a folder, why); None where it is UTF-8: UTF-16
    where it has its mark, and else most likely Windows-1252."""
    for file in text_files(path) if path.is_dir() else [path]:
        raw = file.read_bytes()
        found = _encoding(unpacked(raw, file) if is_packed(file) else raw, file)
        if found[0] is not None:
            return found
    return None, ""


def put_encoding(about: Guess, path: Path) -> None:
    encoding, why = encoding_of(path)
    if encoding is not None:
        about.say("encoding", encoding, why)


def _encoding(raw: bytes, path: Path) -> tuple[str | None, str]:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", f"{path.name} begins with its mark"
    try:
        raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(10, 0, error.start) + 1
        byte = f"byte 0x{raw[error.start]:02x} in {path.name}:{line} is not UTF-8"
        return "windows-1252", f"{byte}; whoever wrote the file knows"
    return None, ""


def _decoded(raw: bytes, path: Path, about: Guess) -> str:
    """The text; what is no UTF-8 is said."""
    encoding, why = _encoding(raw, path)
    if encoding is not None:
        about.say("encoding", encoding, why)
    return raw.decode(encoding or "utf-8-sig", "replace")


def longest_columns(rows: Rows) -> list[str]:
    """Columns of texts, those with the longest first."""
    lengths = {}
    for column in rows.columns:
        values = rows.values(column)[:200]
        if values and all(isinstance(v, str) for v in values) and not all(map(_is_plain, values)):
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


def _is_plain(cell: str) -> bool:
    return is_number(cell) or is_flag(cell)


def is_flag(cell: object) -> bool:
    """Whether it says yes or no of one class, as columns of ``data.labels_from`` do; or nothing."""
    return str(cell).strip().lower() in ("0", "1", "0.0", "1.0", "true", "false", "")


def is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True
