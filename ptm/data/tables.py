"""Files of rows to columns, strictly: every refusal names the file and the line.

CSV, TSV and JSON are read with the standard library, not with ``datasets``: no type is guessed (a review
that reads "NA" stays a review), a bad line has a number, and no cache can be stale. 67,349 rows of SST-2 take
0.1 s.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import hashlib
import io
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptm.base.files import file_digest
from ptm.errors import DataError, Gathered, Problem, listing, refuse

MAX_FIELD_CHARS = 10_000_000
CSV: Mapping[str, Any] = {"delimiter": ",", "strict": True}
TSV: Mapping[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
ROWS, LINES = "a header row and rows, or JSON objects", "a text a line"  # what is expected of a file


@dataclass(frozen=True)
class Table:
    """Some columns of some rows; ``where(i)`` says where row i stands, ``digest`` is the SHA-256 of them."""

    columns: Mapping[str, Sequence[Any]]
    where: Callable[[int], str]
    digest: str
    label_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def read_csv(path: Path, columns: Sequence[str]) -> Table:
    """Comma-separated, quoted with ``"``, with a header row."""
    return _read_separated(path, columns, CSV)


def read_tsv(path: Path, columns: Sequence[str]) -> Table:
    """Tab-separated with a header row; quotes are ordinary characters, as in the GLUE files."""
    return _read_separated(path, columns, TSV)


def read_json(path: Path, columns: Sequence[str]) -> Table:
    """An object a line, or one list of objects."""
    text, digest = _read_text(path)
    values: dict[str, list[Any]] = {name: [] for name in columns}
    places: list[str] = []
    gathered = Gathered()
    for place, record in json_records(io.StringIO(text, newline="\n"), path, columns, gathered):
        places.append(place)
        for name in columns:
            with gathered.of():
                values[name].append(require_unicode(record[name], place))
    gathered.refuse("rows")
    require_rows(len(places), path)
    return Table(values, lambda row: places[row], digest)


def read_parquet(path: Path, columns: Sequence[str]) -> Table:
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


def read_lines(path: Path, columns: Sequence[str]) -> Table:
    """A text a line; blank lines are left out. The one column may have any name."""
    text, digest = _read_text(path, LINES)
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


READERS: Mapping[str, tuple[Callable[[Path, Sequence[str]], Table], tuple[str, ...]]] = {
    "csv": (read_csv, (".csv",)),
    "tsv": (read_tsv, (".tsv", ".tab", ".txt")),
    "text": (read_lines, (".txt", ".text", ".tokens")),
    "json": (read_json, (".jsonl", ".json", ".ndjson")),
    "parquet": (read_parquet, (".parquet",)),
}


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

    return Table(columns, where, digest, first)


class ColumnsMissing(DataError):
    """Columns that a config names, or a default does. ``names``: (column, one that is there and may be meant)."""

    def __init__(self, names: Sequence[tuple[str, str]], present: Sequence[str], where: str) -> None:
        expected = f"one of the columns there: {listing(map(repr, present), most=30)}"
        super().__init__(
            [
                Problem(
                    f"no column {column!r}",
                    where,
                    expected,
                    f"did you mean {close!r}?" if close else "name the right column in data:",
                )
                for column, close in names
            ]
        )
        self.names = tuple(names)


def require_columns(requested: Sequence[str], present: Sequence[str], where: str) -> None:
    """ColumnsMissing naming all missing columns, those that are there, and the closest of them."""
    missing = [name for name in dict.fromkeys(requested) if name not in present]
    if missing:
        raise ColumnsMissing([(name, _closest(name, present)) for name in missing], present, where)
    refuse(
        Problem(f"the column {name!r} stands there twice", where, cure="rename one of them")
        for name in dict.fromkeys(requested)
        if present.count(name) > 1
    )


def _closest(name: str, present: Sequence[str]) -> str:
    return next(iter(difflib.get_close_matches(name, present, n=1)), "")


@contextmanager
def naming_keys(columns: Mapping[str, str]) -> Iterator[None]:
    """A missing column's cure names the key of a config that names columns. ``columns``: role → name."""
    try:
        yield
    except ColumnsMissing as error:
        problems = zip(error.problems, error.names, strict=True)
        raise DataError(
            [replace(problem, cure=_naming_cure(columns, name, close)) for problem, (name, close) in problems]
        ) from None


def _naming_cure(columns: Mapping[str, str], missing: str, close: str) -> str:
    """``columns``: role → name."""
    role = next((role for role, name in columns.items() if name == missing), "text")
    key = f"data.{'text' if role == 'words' else role.partition(' ')[0]}"
    name = yaml_text(close or "COLUMN")
    if key == "data.labels_from":
        others = [column for role, column in columns.items() if role.startswith("labels_from ")]
        name = json.dumps([close or "COLUMN" if column == missing else column for column in others])
    lead = f"did you mean {close!r}? " if close else ""
    more = "; where each label has a column: data.labels_from" if role == "label" and not close else ""
    return f"{lead}name the right column in {key}: --set {shlex.quote(f'{key}={name}')}{more}"


def yaml_text(text: str) -> str:
    """A text as the value of a key: in quotes where YAML would take it for something else."""
    return (
        text
        if text.replace("-", "_").isidentifier() and text.isascii()
        else json.dumps(text, ensure_ascii=False)
    )


_KINDS = {",": "csv", "\t": "tsv"}  # by what stands between the fields


def _require_header(columns: Sequence[str], header: Sequence[str], where: str, delimiter: str) -> None:
    """As :func:`require_columns`; a header in one piece is one of another kind of file."""
    seems = next((mark for mark in ",;\t" if mark != delimiter and mark in "".join(header)), "")
    if len(header) == 1 and seems and not set(columns) <= set(header):
        cure = f"save it again with {delimiter!r} between the fields"
        if seems in _KINDS:
            cure = f"it is {_KINDS[seems]}: say so, in data.source or at the end of its name"
        raise DataError(
            f"no column {columns[0]!r}: the header is one field, {header[0]!r}",
            where=where,
            expected=f"{delimiter!r} between the fields of {_KINDS[delimiter]}, here it seems to be {seems!r}",
            cure=cure,
        )
    require_columns(columns, header, where)


def _read_text(path: Path, holds: str = ROWS) -> tuple[str, str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise is_utf16(path)
    raw_text = raw.removeprefix(codecs.BOM_UTF8)
    try:
        text = raw_text.decode()
    except UnicodeDecodeError as error:
        line = raw_text[: error.start].count(b"\n") + 1
        raise not_utf8(raw_text[error.start], path, line) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise has_nul(path, line)
    if not text.strip():
        raise is_empty(path, holds)
    return text, hashlib.sha256(raw).hexdigest()


def no_source(path: Path, what: str) -> DataError:
    """For a ``data.source`` that is not there; its closest neighbour is named."""
    try:
        close = _closest(path.name, sorted(entry.name for entry in path.parent.iterdir()))
    except OSError:
        close = ""
    hint = f"did you mean {close!r}? " if close else ""
    cure = (
        f"{hint}correct data.source; relative paths are relative to the config file, "
        "and to the working directory in --set"
    )
    return DataError(what, where=path, cure=cure)


def is_utf16(path: object) -> DataError:
    return _wrong_encoding("the file is in UTF-16", path, path, "UTF-16")


def not_utf8(byte: int, path: object, line: int) -> DataError:
    return _wrong_encoding(f"byte 0x{byte:02x} is not UTF-8", f"{path}:{line}", path, "ISO-8859-1")


def has_nul(path: object, line: int) -> DataError:
    cure = "is this a text file?"
    return DataError("a NUL character", where=f"{path}:{line}", expected="plain text", cure=cure)


def is_empty(path: object, expected: str) -> DataError:
    """``path``: of a file, or the name of a stream."""
    what = "the file is empty" if isinstance(path, Path) else "it is empty"
    return DataError(what, where=path, expected=expected)


def _wrong_encoding(what: str, where: object, path: object, encoding: str) -> DataError:
    name = Path(str(path)).name
    cure = f"convert it: iconv -f {encoding} -t UTF-8 {name} > utf8_{name}"
    return DataError(what, where=where, expected="text in UTF-8", cure=cure)


def _read_separated(path: Path, columns: Sequence[str], dialect: Mapping[str, Any]) -> Table:
    text, digest = _read_text(path)
    gathered = Gathered()
    rows = separated_rows(io.StringIO(text, newline=""), path, columns, dialect, gathered)
    _, header = next(rows)
    values: dict[str, list[str]] = {name: [] for name in columns}
    places = [(values[name], header.index(name)) for name in columns]
    lines: list[int] = []
    for line, fields in rows:
        for column, place in places:
            column.append(fields[place])
        lines.append(line)
    gathered.refuse("rows")
    return Table(values, lambda row: f"{path}:{lines[row]}", digest)


def separated_rows(
    text: Iterable[str],
    name: object,
    columns: Sequence[str],
    dialect: Mapping[str, Any],
    gathered: Gathered | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, fields) of the header, then of each row. ``text``: lines with their ends.

    Raises DataError, with ``name`` and the line, for a column that is not there and for whatever is malformed; with
    ``gathered``, rows of another length are left out and told there.
    """
    csv.field_size_limit(MAX_FIELD_CHARS)
    reader = csv.reader(text, **dialect)
    start = 1  # line on which the record at hand begins
    rows = 0
    try:
        header = next(reader)
        _require_header(columns, header, f"{name}:1", dialect["delimiter"])
        yield start, header
        start = reader.line_num + 1
        for fields in reader:
            if len(fields) != len(header):
                if not fields:  # a blank line
                    start = reader.line_num + 1
                    continue
                with _told(gathered):
                    raise DataError(
                        f"{len(fields)} fields, the header has {len(header)}",
                        where=f"{name}:{start}",
                        expected=f"a value each for {', '.join(header)}",
                        cure='put texts that contain the separator into "quotes"'
                        if dialect["delimiter"] == ","
                        else "tabs separate fields; quotes do not protect them in a tsv",
                    )
                start = reader.line_num + 1
                rows += 1
                continue
            yield start, fields
            rows += 1
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"malformed: {error}",
            where=f"{name}:{start}",
            expected="every quote closed, those in a quoted field doubled, and no field of more than "
            f"{MAX_FIELD_CHARS:,} characters",
        ) from None
    require_rows(rows, name)


def _told(gathered: Gathered | None) -> AbstractContextManager[None]:
    """What is refused inside is raised, or kept by ``gathered``."""
    return nullcontext() if gathered is None else gathered.of()


def json_records(
    text: Iterable[str], name: object, columns: Sequence[str], gathered: Gathered | None = None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, object): the line, or in a list the number of the object, from 1. ``text``: lines.

    With ``gathered``, lines that cannot be used are left out and told there.
    """
    begun = False
    for place, record in _json_values(iter(text), name, gathered):
        with _told(gathered):
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
    closest = {name: _closest(name, list(record)) for name in missing}
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
        with _told(gathered):
            values.append(_parsed(line, place))
        yield from ((place, value) for value in values)


def _parsed(line: str, place: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON: {error}", where=place, expected="an object a line") from None


def _json_list(text: str, name: object) -> Iterator[tuple[str, Any]]:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
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


def require_rows(rows: int, where: object) -> None:
    if rows == 0:
        raise DataError("no rows below the header", where=where, expected="at least one example")
