"""Files of rows to columns, strictly: every refusal names the file and the line.

CSV, TSV and JSON are read with the standard library, not with ``datasets``: no type is guessed (a review
that reads "NA" stays a review), a bad line has a number, and no cache can be stale. 67,349 rows of SST-2 take
0.1 s.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptm.base import strict_json
from ptm.base.files import file_digest
from ptm.data.columns import closest_name, require_columns
from ptm.data.partial import refuse_but
from ptm.data.separated import CSV, TSV, require_rows, separated_rows, told
from ptm.data.text_format import LINES, ROWS, TextFormat, read_text
from ptm.errors import DataError, Gathered, Problem, refuse

USUAL = TextFormat()  # how files of a kind are written where nobody says otherwise


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


def read_csv(path: Path, columns: Sequence[str], text_format: TextFormat = USUAL) -> Table:
    """Comma-separated, quoted with ``"``, with a header row."""
    return _read_separated(path, columns, CSV, text_format)


def read_tsv(path: Path, columns: Sequence[str], text_format: TextFormat = USUAL) -> Table:
    """Tab-separated with a header row; quotes are ordinary characters, as in the GLUE files."""
    return _read_separated(path, columns, TSV, text_format)


def read_json(path: Path, columns: Sequence[str], text_format: TextFormat = USUAL) -> Table:
    """An object a line, or one list of objects."""
    text, digest = read_text(path, ROWS, text_format)
    values: dict[str, list[Any]] = {name: [] for name in columns}
    places: list[str] = []
    gathered = Gathered()
    for place, record in json_records(io.StringIO(text, newline="\n"), path, columns, gathered):
        with gathered.of():
            row = [require_unicode(record[name], place) for name in columns]
            for column, value in zip(values.values(), row, strict=True):
                column.append(value)
            places.append(place)
    table = Table(values, lambda row: places[row], digest)
    refuse_but(gathered.problems, table)
    require_rows(len(places), path)
    return table


def read_parquet(path: Path, columns: Sequence[str], text_format: TextFormat = USUAL) -> Table:
    """Columns of a parquet file; class names come along when ``datasets`` wrote them into its metadata."""
    import pyarrow
    import pyarrow.parquet

    try:
        digest = file_digest(path)
        schema = pyarrow.parquet.read_schema(path)
        require_columns(columns, schema.names, str(path))
        table = pyarrow.parquet.read_table(path, columns=list(columns))
        values = {name: table.column(name).to_pylist() for name in columns}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"not a readable parquet file: {error}", where=path) from None
    require_rows(table.num_rows, path)
    names = None
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = next((names for c in columns if (names := _class_names(features.get(c, {})))), None)
    except (KeyError, TypeError, ValueError, AttributeError):
        pass  # no such metadata, or another program's
    return Table(values, lambda row: f"{path}, row {row}", digest, names)


def read_lines(path: Path, columns: Sequence[str], text_format: TextFormat = USUAL) -> Table:
    """A text a line; blank lines are left out. The one column may have any name."""
    text, digest = read_text(path, LINES, text_format)
    rows = [(number, line) for number, line in enumerate(lines_of(text), start=1) if line.strip()]
    values = [line for _, line in rows]
    return Table(dict.fromkeys(columns, values), lambda row: f"{path}:{rows[row][0]}", digest)


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
    columns = {name: [values[row] for row in rows] for name, values in table.columns.items()}
    return replace(table, columns=columns, where=lambda row: table.where(rows[row]))


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
    columns = {name: [v for table in tables for v in table.columns[name]] for name in tables[0].columns}
    places = [(table, row) for table in tables for row in range(len(table))]
    digest = hashlib.sha256("".join(table.digest for table in tables).encode()).hexdigest()

    def where(row: int) -> str:
        table, inner = places[row]
        return table.where(inner)

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
    text, digest = read_text(path, ROWS, text_format)
    gathered, notes = Gathered(), list[Problem]()
    rows = separated_rows(io.StringIO(text, newline=""), path, columns, usual, text_format, gathered, notes)
    _, header = next(rows)
    values: dict[str, list[str]] = {name: [] for name in columns}
    places = [(values[name], header.index(name)) for name in columns]
    lines: list[int] = []
    with gathered.of():  # of what is malformed, nobody can say where it ends: the rows before it are the rest
        for line, fields in rows:
            for column, place in places:
                column.append(fields[place])
            lines.append(line)
    table = Table(values, lambda row: f"{path}:{lines[row]}", digest, notes=tuple(notes))
    refuse_but(gathered.problems, table)
    return table


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
                raise DataError("not a JSON object", where=place, expected='{"column": value, …}')
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
        raise DataError(f"not JSON: {error}", where=place, expected="an object a line") from None


def _json_list(text: str, name: object) -> Iterator[tuple[str, Any]]:
    try:
        records = strict_json.loads(text)
    except ValueError as error:
        raise DataError(f"not JSON: {error}", where=name) from None
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
