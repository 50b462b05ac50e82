"""Files of rows to columns, strictly: every refusal names the file and the line.

CSV, TSV and JSON are read with the standard library, not with ``datasets``: no type is guessed (a review
that reads "NA" stays a review) and a bad line has a number. 67,349 rows of SST-2 take 0.1 s. They are read row by row
into columns as Arrow lays them out (:mod:`ptm.data.arrow`); those of a large file are kept in the cache by the digest
of its bytes (:mod:`ptm.data.table_cache`), so that no cache can be stale.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ptm.base import strict_json
from ptm.base.files import file_digest
from ptm.base.growing import Growing
from ptm.data import table_cache
from ptm.data.arrow import CHUNK, join, select
from ptm.data.arrow_lists import RowBuilder
from ptm.data.columns import closest_name, require_columns
from ptm.data.parquet import parquet_errors
from ptm.data.partial import refuse_but
from ptm.data.separated import CSV, TSV, require_rows, separated_rows, told
from ptm.data.table_cache import LEAST_BYTES, Rows
from ptm.data.text_format import LINES, ROWS, TextFormat, opened_text
from ptm.errors import DataError, Gathered, Problem, refuse

RowT = TypeVar("RowT")

_NUMBERED = re.compile(r"(\d+)$")
USUAL = TextFormat()  # how files of a kind are written where nobody says otherwise


@dataclass(frozen=True)
class Place:
    """Where row i of a file stands: ``path``, ``between``, its number in the file (int64 [n]), or i."""

    path: Path
    between: str
    numbers: np.ndarray | None = None

    def __call__(self, row: int) -> str:
        return f"{self.path}{self.between}{row if self.numbers is None else self.numbers[row]}"


@dataclass(frozen=True)
class Table:
    """Some columns of some rows; ``where(i)`` says where row i stands, ``digest`` is the SHA-256 of them."""

    columns: Mapping[str, Sequence[Any]]
    where: Callable[[int], str]
    digest: str
    label_names: tuple[str, ...] | None = None
    notes: tuple[Problem, ...] = ()  # what is to be said of how it was read

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


Reader = Callable[..., Table]


def _kept(read: Reader) -> Reader:
    """A reader that finds the rows of a large file in the cache, where it has read them before."""

    @wraps(read)
    def read_once(path: Path, columns: Sequence[str], text_format: TextFormat = USUAL) -> Table:
        try:
            if path.stat().st_size < LEAST_BYTES:
                return read(path, columns, text_format)
            digest = file_digest(path)
        except OSError:  # whoever reads it says what is wrong
            return read(path, columns, text_format)
        identity = table_cache.identity_of(read.__name__, digest, columns, text_format)
        rows = table_cache.load(identity, path)
        if rows is None:
            table = read(path, columns, text_format)
            if table.digest != digest or not isinstance(table.where, Place):
                return table
            where = table.where
            rows = table_cache.kept(
                identity,
                path,
                Rows(table.columns, where.between, where.numbers, table.label_names, table.notes),
            )
        return Table(
            rows.columns, Place(path, rows.between, rows.numbers), digest, rows.label_names, rows.notes
        )

    return read_once


@_kept
def read_csv(path: Path, columns: Sequence[str], text_format: TextFormat = USUAL) -> Table:
    """Comma-separated, quoted with ``"``, with a header row."""
    return _read_separated(path, columns, CSV, text_format)


@_kept
def read_tsv(path: Path, columns: Sequence[str], text_format: TextFormat = USUAL) -> Table:
    """Tab-separated with a header row; quotes are ordinary characters, as in the GLUE files."""
    return _read_separated(path, columns, TSV, text_format)


@_kept
def read_json(path: Path, columns: Sequence[str], text_format: TextFormat = USUAL) -> Table:
    """An object a line, or one list of objects."""
    gathered, between = Gathered(), ":"
    with opened_text(path, ROWS, text_format, newline="\n") as (lines, digest):
        filled = _Filled(columns)
        for some in _chunks(_json_rows(lines, path, columns, gathered)):
            between = some[0][0]
            filled.extend([number for _, number, _ in some], [row for _, _, row in some])
        table = filled.table(path, digest, between)
    refuse_but(gathered.problems, table)
    require_rows(len(table), path)
    return table


@_kept
def read_parquet(path: Path, columns: Sequence[str], text_format: TextFormat = USUAL) -> Table:
    """Columns of a parquet file; class names come along when ``datasets`` wrote them into its metadata."""
    import pyarrow.parquet

    builders = {name: RowBuilder() for name in columns}
    with parquet_errors(path):
        digest = file_digest(path)
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            require_columns(columns, schema.names, str(path))
            for batch in file.iter_batches(CHUNK, columns=list(columns)):
                for name, builder in builders.items():
                    builder.extend(batch.column(name).to_pylist())
    values = {name: builder.column() for name, builder in builders.items()}
    require_rows(min(map(len, values.values())), path)
    names = None
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = next((names for c in columns if (names := _class_names(features.get(c, {})))), None)
    except (KeyError, TypeError, ValueError, AttributeError):
        pass  # no such metadata, or another program's
    return Table(values, Place(path, ", row "), digest, names)


@_kept
def read_lines(path: Path, columns: Sequence[str], text_format: TextFormat = USUAL) -> Table:
    """A text a line; blank lines are left out. The one column may have any name."""
    with opened_text(path, LINES, text_format) as (lines, digest):
        filled = _Filled(["text"])
        plain = ((n, line.rstrip("\r\n")) for n, line in enumerate(lines, start=1))
        for some in _chunks((n, line) for n, line in plain if line.strip()):
            filled.extend([number for number, _ in some], [[line] for _, line in some])
        table = filled.table(path, digest, ":")
    return replace(table, columns=dict.fromkeys(columns, table.columns["text"]))


class _Filled:
    """Columns that are filled row by row, and the number of each row in its file."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._builders = {name: RowBuilder() for name in columns}
        self._numbers = Growing("<i8")

    def extend(self, numbers: Sequence[int], rows: Sequence[Sequence[Any]]) -> None:
        for builder, values in zip(self._builders.values(), zip(*rows, strict=True), strict=True):
            builder.extend(values)
        self._numbers.extend(numbers)

    def table(self, path: Path, digest: str, between: str, notes: Sequence[Problem] = ()) -> Table:
        columns = {name: builder.column() for name, builder in self._builders.items()}
        return Table(columns, Place(path, between, self._numbers.array()), digest, notes=tuple(notes))


def _chunks(rows: Iterable[RowT]) -> Iterator[list[RowT]]:
    """Many rows at a time; what comes before a refusal comes before it."""
    some: list[RowT] = []
    try:
        for row in rows:
            some.append(row)
            if len(some) == CHUNK:
                yield some
                some = []
    except DataError:
        if some:
            yield some
        raise
    if some:
        yield some


def lines_of(text: str) -> list[str]:
    """Lines as every editor counts them: only ``\\n``, ``\\r\\n`` and ``\\r`` end one. ``str.splitlines`` would cut at
    form feeds, U+0085 and U+2028 as well, within a sentence."""
    return [line.rstrip("\r\n") for line in io.StringIO(text, newline="")]


def _class_names(feature: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of a ClassLabel of ``datasets``, or of a list of them."""
    names = feature.get("names") or feature.get("feature", {}).get("names")
    return tuple(map(str, names)) if names else None


READERS: Mapping[str, tuple[Callable[[Path, Sequence[str], TextFormat], Table], tuple[str, ...]]] = {
    "csv": (read_csv, (".csv",)),
    "tsv": (read_tsv, (".tsv", ".tab", ".txt")),
    "text": (read_lines, (".txt", ".text", ".tokens")),
    "json": (read_json, (".jsonl", ".json", ".ndjson")),
    "parquet": (read_parquet, (".parquet",)),
}


def by_role(table: Table, roles: Mapping[str, str]) -> Table:
    """A table of named columns as one of roles: role → name."""
    return replace(table, columns={role: table.columns[name] for role, name in roles.items()})


def select_rows(table: Table, rows: Sequence[int]) -> Table:
    """Some rows of a table; its digest stays that of the whole."""
    columns = {name: select(values, rows) for name, values in table.columns.items()}
    return replace(table, columns=columns, where=lambda row: table.where(int(rows[row])))


def join_tables(tables: Sequence[Table]) -> Table:
    """Several files of one split, one after the other."""
    if len(tables) == 1:
        return tables[0]
    first = tables[0].label_names
    for table in tables[1:]:
        if table.label_names != first:
            raise DataError(
                f"the class names are {', '.join(table.label_names or ('none',))}",
                where=table.where(0),
                expected=f"those of the split's first file: {', '.join(first or ('none',))}",
            )
    columns = {name: join([table.columns[name] for table in tables]) for name in tables[0].columns}
    ends = list(accumulate(map(len, tables)))
    digest = hashlib.sha256("".join(table.digest for table in tables).encode()).hexdigest()

    def where(row: int) -> str:
        number = bisect_right(ends, row)
        return tables[number].where(row - (ends[number - 1] if number else 0))

    notes = tuple(note for table in tables for note in table.notes)
    return Table(columns, where, digest, first, notes)


def no_source(path: Path, what: str) -> DataError:
    """For a ``data.source`` that is not there; its closest neighbour is named."""
    try:
        close = closest_name(path.name, sorted(entry.name for entry in path.parent.iterdir()))
    except OSError:
        close = ""
    hint = f"did you mean {close!r}? " if close else ""
    cure = (
        f"{hint}correct data.source; relative paths are relative to the config file, "
        "and to the working directory in --set"
    )
    return DataError(what, where=path, cure=cure)


def _read_separated(
    path: Path, columns: Sequence[str], usual: Mapping[str, Any], text_format: TextFormat
) -> Table:
    gathered, notes = Gathered(), list[Problem]()
    with opened_text(path, ROWS, text_format) as (lines, digest):
        rows = separated_rows(lines, path, columns, usual, text_format, gathered, notes)
        _, header = next(rows)
        places = [header.index(name) for name in columns]
        filled = _Filled(columns)
        with gathered.of():
            # Of what is malformed, nobody can say where it ends: the rows before it are the rest.
            for some in _chunks(rows):
                filled.extend(
                    [n for n, _ in some], [[fields[place] for place in places] for _, fields in some]
                )
    table = filled.table(path, digest, ":", notes)
    refuse_but(gathered.problems, table)
    return table


def _json_rows(
    lines: Iterable[str], path: Path, columns: Sequence[str], gathered: Gathered
) -> Iterator[tuple[str, int, list[Any]]]:
    """(what stands between the path and the number of a row, the number, its values)."""
    for place, record in json_records(lines, path, columns, gathered):
        rows: list[list[Any]] = []
        with gathered.of():
            rows.append([require_unicode(record[name], place) for name in columns])
        between, number = _NUMBERED.split(place.removeprefix(str(path)))[:2]
        yield from ((between, int(number), row) for row in rows)


def json_records(
    text: Iterable[str], name: object, columns: Sequence[str], gathered: Gathered | None = None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, object): the line, or in a list the number of the object, from 1. ``text``: lines.

    With ``gathered``, lines that cannot be used are left out and told there.
    """
    begun = False
    for place, record in _json_values(iter(text), name, gathered):
        with told(gathered):
            if not isinstance(record, dict):
                raise DataError(
                    "not a JSON object",
                    where=place,
                    expected='{"column": value, …}',
                    cure="write an object with the columns as its keys",
                )
            if begun:
                _require_keys(columns, record, place)
        if not isinstance(record, dict) or (begun and not set(columns) <= record.keys()):
            continue
        if not begun:
            require_columns(columns, list(record), place)
        begun = True
        yield place, record


def _require_keys(columns: Sequence[str], record: Mapping[str, Any], place: str) -> None:
    """For a row after the first, which had them all: so it is the row that is wrong."""
    missing = [name for name in columns if name not in record]
    closest = {name: closest_name(name, list(record)) for name in missing}
    refuse(
        Problem(
            f"no {name!r}, which the rows before have",
            place,
            f"an object with {', '.join(map(repr, columns))}",
            f"rename {closest[name]!r} in it, or remove the row"
            if closest[name]
            else "add it, or remove the row",
        )
        for name in missing
    )


def _json_values(lines: Iterator[str], name: object, gathered: Gathered | None) -> Iterator[tuple[str, Any]]:
    begun = False
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not begun and line.lstrip().startswith("["):
            yield from _json_list("\n" * (number - 1) + line + "".join(lines), name)
            return
        begun, place = True, f"{name}:{number}"
        values = []
        with told(gathered):
            values.append(_parsed(line, place))
        yield from ((place, value) for value in values)


def _parsed(line: str, place: str) -> Any:
    try:
        return strict_json.loads(line)
    except ValueError as error:
        raise DataError(
            f"not JSON: {error}",
            where=place,
            expected="an object a line",
            cure="correct the line; quotes and commas as JSON has them",
        ) from None


def _json_list(text: str, name: object) -> Iterator[tuple[str, Any]]:
    try:
        records = strict_json.loads(text)
    except ValueError as error:
        raise DataError(f"not JSON: {error}", where=name, cure="correct the file; was it cut off?") from None
    yield from ((f"{name}, record {number}", record) for number, record in enumerate(records, start=1))


def require_unicode(value: Any, where: str) -> Any:
    """JSON can write half a character as an escape; no tokenizer and no file takes that."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            what = f"half a character, \\u{ord(value[error.start]):04x}"
            raise DataError(what, where=where, expected="\\u escapes of this kind in pairs") from None
    return value
