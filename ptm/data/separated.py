"""CSV and TSV, strictly, row by row: every refusal names the file and the line."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any

from ptm.data.columns import ColumnsMissing, require_columns
from ptm.data.text_format import TextFormat
from ptm.errors import DataError, Gathered, Problem

MAX_FIELD_CHARS = 10_000_000
CSV: Mapping[str, Any] = {"delimiter": ",", "strict": True}
TSV: Mapping[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
_KINDS = {",": "csv", "\t": "tsv"}  # by what stands between the fields
_SNIFFED = ";|"  # a tab is what tsv: says
_AROUND = " \t\ufeff\u00a0"
SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=([^\r\n"])"?\s*')  # Excel writes and reads it


def told(gathered: Gathered | None) -> AbstractContextManager[None]:
    """What is refused inside is raised, or kept by ``gathered``."""
    return nullcontext() if gathered is None else gathered.of()


def separated_rows(
    text: Iterable[str],
    name: object,
    columns: Sequence[str],
    usual: Mapping[str, Any],
    text_format: TextFormat | None = None,
    gathered: Gathered | None = None,
    notes: list[Problem] | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, fields) of the header, then of each row. ``text``: lines with their ends; ``usual``: how the
    kind of file is written, where ``text_format`` says nothing. The first is what the columns are called.

    Raises DataError, with ``name`` and the line, for a column that is not there and for whatever is malformed; with
    ``gathered``, rows of another length are left out and told there. ``notes`` is given what was found out of how the
    file is written.
    """
    csv.field_size_limit(MAX_FIELD_CHARS)
    chosen = text_format or TextFormat()
    text = _without_separator_line(iter(text), name)
    text, options = _with_sniffed_delimiter(iter(text), name, columns, chosen, usual, notes)
    text, options = _with_blanks_after_delimiters(text, columns, options)
    reader = csv.reader(text, **options)
    start = 1  # line on which the record at hand begins
    rows = 0
    try:
        first = next(reader)
        header = _header(first, columns, f"{name}:1", options, chosen)
        yield start, header
        records: Iterable[list[str]] = reader
        if not chosen.first_row_is_header:
            records = chain([first], reader)
        else:
            start = reader.line_num + 1
        for fields in records:
            if not fields:  # a blank line
                start = reader.line_num + 1
                continue
            rows += 1
            if len(fields) == len(header):
                yield start, fields
            else:
                with told(gathered):
                    raise _ragged(fields, header, f"{name}:{start}", options)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"malformed: {error}",
            where=f"{name}:{start}",
            expected="every quote closed, those in a quoted field doubled, and no field of more than "
            f"{MAX_FIELD_CHARS:,} characters",
            cure="if quotes are ordinary characters: --set data.quoting=none",
        ) from None
    require_rows(rows, name)


def _without_separator_line(text: Iterator[str], name: object) -> Iterator[str]:
    """The same lines. Raises DataError where the first one tells Excel what stands between the fields."""
    first = next(text, "")
    if (mark := SEPARATOR_LINE.fullmatch(first)) is not None:
        cure = f"remove the line; --set {shlex.quote(f'data.delimiter={json.dumps(mark[1])}')} says the same"
        what, expected = (
            f"{first.strip()!r} is a line for Excel",
            "the names of the columns in the first line",
        )
        raise DataError(what, where=f"{name}:1", expected=expected, cure=cure)
    return chain([first], text)


def _ragged(
    fields: Sequence[str], header: Sequence[str], where: str, options: Mapping[str, Any]
) -> DataError:
    cure = 'put texts that contain the separator into "quotes"'
    if options.get("quoting") == csv.QUOTE_NONE:
        cure = "tabs separate fields; quotes do not protect them in a tsv, unless data.quoting says so: "
        cure += "--set data.quoting=standard"
    return DataError(
        f"{len(fields)} fields, the header has {len(header)}",
        where=where,
        expected=f"a value each for {', '.join(header)}",
        cure=cure,
    )


def _with_sniffed_delimiter(
    text: Iterator[str],
    name: object,
    columns: Sequence[str],
    chosen: TextFormat,
    usual: Mapping[str, Any],
    notes: list[Problem] | None,
) -> tuple[Iterator[str], dict[str, Any]]:
    """Where the config names no delimiter: the one other than a comma by which the first line has all columns. It must
    be the only one, and commas must not do; every row is held against it."""
    options = chosen.dialect(usual)
    if chosen.delimiter is not None or options["delimiter"] != ",":
        return text, options
    first = next(text, "")
    whole = chain([first], text)
    if _fits(first, columns, chosen, options):
        return whole, options
    fitting = [mark for mark in _SNIFFED if _fits(first, columns, chosen, {**options, "delimiter": mark})]
    if len(fitting) != 1:
        return whole, options
    if notes is not None:
        cure = f"to say so yourself: --set {shlex.quote(f'data.delimiter={json.dumps(fitting[0])}')}"
        notes.append(
            Problem(f'fields are taken to stand between "{fitting[0]}", not ","', f"{name}:1", cure=cure)
        )
    return whole, options | {"delimiter": fitting[0]}


def _fits(first: str, columns: Sequence[str], chosen: TextFormat, options: Mapping[str, Any]) -> bool:
    """Whether the first line has all of the columns."""
    try:
        cells = next(csv.reader([first], **{**options, "strict": False}), [])
    except csv.Error:
        return False
    if chosen.columns is not None:
        return len(cells) == len(chosen.columns)
    header = (
        [cell.strip(_AROUND) for cell in cells] if chosen.first_row_is_header else map(str, range(len(cells)))
    )
    return set(columns) <= set(header)


def _with_blanks_after_delimiters(
    text: Iterator[str], columns: Sequence[str], options: dict[str, Any]
) -> tuple[Iterator[str], dict[str, Any]]:
    """Whether the header is written as ``text, label``: blanks after delimiters belong to no field then."""
    first = next(text, "")
    whole = chain([first], text)
    try:
        header = next(csv.reader([first], **{**options, "strict": False}), [])
    except csv.Error:
        return whole, options
    padded = any(cell != cell.lstrip(" ") and cell.strip(_AROUND) in columns for cell in header[1:])
    return whole, options | ({"skipinitialspace": True} if padded else {})


def _header(
    first: list[str], columns: Sequence[str], where: str, options: Mapping[str, Any], chosen: TextFormat
) -> list[str]:
    """The names of the columns: those of the first row, without blanks around them, or those that the config gives."""
    if chosen.columns is not None or not chosen.first_row_is_header:
        header = list(chosen.columns or map(str, range(len(first))))
        if len(header) != len(first):
            raise DataError(
                f"{len(first)} fields, data.columns names {len(header)}",
                where=where,
                expected="a name for each column",
                cure="correct data.columns, or data.delimiter",
            )
    else:
        stripped = [cell.strip(_AROUND) for cell in first]
        header = [plain if cell not in columns and plain in columns else cell
                  for cell, plain in zip(first, stripped, strict=True)]  # fmt: skip
    _require_header(columns, header, where, options, chosen)
    return header


def _require_header(
    columns: Sequence[str], header: Sequence[str], where: str, options: Mapping[str, Any], chosen: TextFormat
) -> None:
    """As :func:`require_columns`; a header in one piece, in quotes, or that is a row of data is told as such."""
    delimiter = options["delimiter"]
    seems = next((mark for mark in ",;\t|" if mark != delimiter and mark in "".join(header)), "")
    if len(header) == 1 and seems and not set(columns) <= set(header):
        cure = f"say so: --set {shlex.quote(f'data.delimiter={json.dumps(seems)}')}"
        if seems in _KINDS and delimiter in _KINDS and chosen.delimiter is None:
            cure = f"it is {_KINDS[seems]}: say so, in data.source or at the end of its name"
        usual = f" of {_KINDS[delimiter]}" if delimiter in _KINDS else ""
        raise DataError(
            f"no column {columns[0]!r}: the header is one field, {header[0]!r}",
            where=where,
            expected=f"{delimiter!r} between the fields{usual}, here it seems to be {seems!r}",
            cure=cure,
        )
    quoted = [cell[1:-1] for cell in header if len(cell) > 1 and cell[0] == cell[-1] == '"']
    if options.get("quoting") == csv.QUOTE_NONE and set(columns) - set(header) <= set(quoted) and quoted:
        raise DataError(
            f"no column {columns[0]!r}: the header stands in quotes, {header[0]!r}",
            where=where,
            expected="fields without quotes, as in tsv files mostly",
            cure="say that quotes protect fields: --set data.quoting=standard",
        )
    try:
        require_columns(columns, header, where)
    except ColumnsMissing as error:
        if (
            chosen.first_row_is_header
            and len(set(columns)) <= len(header)
            and not set(columns) & set(header)
            and not any(c for _, c in error.names)
        ):
            error.headerless = _names_by_length(columns, header)
        raise


def _names_by_length(columns: Sequence[str], first: Sequence[str]) -> tuple[str, ...]:
    """Names for the columns of a file without a header: the longest field of its first row for the first column that is
    asked for (the text), and so on; the last one asked for (the label) for the shortest."""
    by_length = sorted(range(len(first)), key=lambda place: -len(first[place]))
    names = {place: f"column_{place + 1}" for place in by_length}
    columns_by_length = list(dict.fromkeys(columns))[: len(first)]
    places = (
        [*by_length[: len(columns_by_length) - 1], by_length[-1]]
        if len(columns_by_length) > 1
        else by_length[:1]
    )
    names |= dict(zip(places, columns_by_length, strict=False))
    return tuple(names[place] for place in range(len(first)))


def require_rows(rows: int, where: object) -> None:
    if rows == 0:
        raise DataError(
            "no rows below the header",
            where=where,
            expected="at least one example",
            cure="add rows; where the first line is one, write the names of columns above it",
        )
