"""Sheets of workbooks (.xlsx) as tables: through python-calamine, and what it does not tell from the file itself.

Cells are texts, as in a csv: whole numbers without a point, dates as ISO 8601. Formulas count by the value that was
saved with them; one without a value is refused, for nobody here computes it.
"""

from __future__ import annotations

import datetime
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any
from xml.etree import ElementTree

from ptm.base.extras import require_package
from ptm.base.files import file_digest
from ptm.data.columns import require_columns
from ptm.data.packed import refuse_large
from ptm.data.partial import refuse_but
from ptm.data.separated import require_rows
from ptm.data.tables import Table
from ptm.data.text_format import TextFormat
from ptm.errors import ConfigError, DataError, Gathered, listing

# The start of a row, and that of a cell with something in it.
_CELLS = re.compile(rb"<(?:\w+:)?row(?P<row>(?:\s[^>]*)?)>|<(?:\w+:)?c(?P<cell>(?:\s[^>]*)?)(?<!/)>(?!</)")
_NUMBERED = re.compile(rb"\sr=[\"']([0-9]+)")
_PLACED = re.compile(rb"\sr=[\"']([A-Z]+)([0-9]+)")
_SURE_CELLS = 5_000_000  # of a sheet's rectangle, at about 40 bytes each
_SPARSE = 20  # and so many more for each that holds something

WORKBOOK_SUFFIXES = (".xlsx", ".xlsm")


@dataclass(frozen=True)
class Sheet:
    """A sheet: its header, and its other rows that hold something, each with its number from 1."""

    name: str
    header_row: int
    header: tuple[str, ...]
    rows: Sequence[tuple[int, tuple[Any, ...]]]
    merged: Sequence[tuple[tuple[int, int], tuple[int, int]]]  # first and last cell, from 0


def read_workbook(path: Path, roles: Mapping[str, str], written: TextFormat) -> Table:
    """Columns of a sheet by role. Raises DataError naming sheet and row, or cell."""
    sheet = read_sheet(path, written.sheet)
    where = f"{path}, sheet {sheet.name!r}"
    columns = list(dict.fromkeys(roles.values()))
    _refuse_merged_header(sheet, where)
    require_columns(columns, sheet.header, f"{where}, row {sheet.header_row}")
    places = {name: sheet.header.index(name) for name in columns}
    _refuse_merged(sheet, set(places.values()), where)
    gathered = Gathered()
    spoilt = _valueless_rows(path, sheet, set(places.values()), where, gathered)
    rows = [(number, cells) for number, cells in sheet.rows if number not in spoilt]
    values = {name: [cell_text(cells[place]) for _, cells in rows] for name, place in places.items()}
    require_rows(len(sheet.rows), where)
    by_role = {role: values[name] for role, name in roles.items()}
    table = Table(by_role, lambda row: f"{where}, row {rows[row][0]}", file_digest(path))
    refuse_but(gathered.problems, table, "cells")
    return table


def read_sheet(path: Path, name: str | None) -> Sheet:
    """The sheet of that name, or the only one that holds something. Its first row with a value is the header."""
    require_package("python_calamine", "xlsx", "data.source")
    import python_calamine

    _require_sound(path)
    _refuse_far_cells(path)
    try:
        with python_calamine.load_workbook(path) as book:
            visible = [
                sheet.name
                for sheet in book.sheets_metadata
                if sheet.visible == python_calamine.SheetVisibleEnum.Visible
                and sheet.typ == python_calamine.SheetTypeEnum.WorkSheet
            ]
            chosen = _chosen(book, name, visible, path)
            sheet = book.get_sheet_by_name(chosen)
            cells = sheet.to_python(skip_empty_area=False)
            merged = sheet.merged_cell_ranges or ()
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        what = f"not a readable workbook: {error}"
        cure = "save it again as .xlsx, without a password"
        raise DataError(what, where=path, expected="a workbook of Excel", cure=cure) from None
    filled = [
        (n, tuple(row)) for n, row in enumerate(cells, start=1) if any(c not in ("", None) for c in row)
    ]
    if not filled:
        raise DataError(
            "there is nothing in this sheet", where=f"{path}, sheet {chosen!r}", expected="a header row"
        )
    header_row, header = filled[0]
    names = tuple("" if cell is None else str(cell).strip() for cell in header)
    return Sheet(chosen, header_row, names, filled[1:], merged)


def _chosen(book: Any, name: str | None, visible: Sequence[str], path: Path) -> str:
    if name is not None:
        if name not in book.sheet_names:
            there = f"one of: {listing(map(repr, book.sheet_names))}"
            raise ConfigError(
                f"there is no sheet {name!r}", where=path, expected=there, cure="correct data.sheet"
            )
        return name
    filled = [sheet for sheet in visible if book.get_sheet_by_name(sheet).end is not None]
    if len(filled) != 1:
        raise ConfigError(
            f"{len(filled)} sheets hold something: {listing(map(repr, filled))}",
            where=path,
            expected="one, or data.sheet",
            cure=f"name the one that is meant: --set 'data.sheet=\"{filled[0]}\"'" if filled else "",
        )
    return filled[0]


def cell_name(row: int, column: int) -> str:
    """``B7``, of numbers from 0."""
    letters, left = "", column + 1
    while left:
        left, letter = divmod(left - 1, 26)
        letters = chr(65 + letter) + letters
    return f"{letters}{row + 1}"


def cell_text(cell: Any) -> str:
    """What a cell says."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    if isinstance(cell, datetime.datetime | datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell)


def _refuse_merged_header(sheet: Sheet, where: str) -> None:
    row = sheet.header_row - 1
    for (top, left), (bottom, right) in sheet.merged:
        if top <= row <= bottom:
            cells = f"{cell_name(top, left)}:{cell_name(bottom, right)}"
            cure = "unmerge the cells: one name a column, in one row; titles above it are to be removed"
            raise DataError(
                f"the header has merged cells, {cells}", where=where, expected="a name a column", cure=cure
            )


def _refuse_merged(sheet: Sheet, places: set[int], where: str) -> None:
    for (top, left), (bottom, right) in sheet.merged:
        if any(left <= place <= right for place in places):
            cells = f"{cell_name(top, left)}:{cell_name(bottom, right)}"
            cure = "unmerge the cells and fill each in"
            raise DataError(f"merged cells, {cells}: only the first has a value", where=where, cure=cure)


# --- what stands in the file itself


def _require_sound(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            refuse_large(path, path.stat().st_size, sum(entry.file_size for entry in archive.infolist()))
    except zipfile.BadZipFile:
        cure = "save it as .xlsx; a text with that name is csv: or tsv:"
        raise DataError(
            "this is no .xlsx workbook", where=path, expected="what Excel writes", cure=cure
        ) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None


def _refuse_far_cells(path: Path) -> None:
    """DataError for a cell so far from the others that the reader, which holds a sheet as a rectangle, would take all
    memory, and end the process where it gets none."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".xml"):
                    _refuse_far_cell(archive.read(entry), path)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        cure = "save it again as .xlsx, without a password"
        what = f"not a readable workbook: {error}"
        raise DataError(what, where=path, expected="a workbook of Excel", cure=cure) from None


def _refuse_far_cell(raw: bytes, path: Path) -> None:
    rows = columns = row = column = count = 0
    for match in _CELLS.finditer(raw):
        if match["row"]:
            number = _NUMBERED.search(match["row"])
            row, column = int(number[1][:12]) if number else row + 1, 0
            continue
        place = _PLACED.search(match["cell"])
        column = _column(place[1][:8].decode()) + 1 if place else column + 1
        row = int(place[2][:12]) if place else row
        rows, columns, count = max(rows, row), max(columns, column), count + 1
    if rows * columns > _SURE_CELLS + _SPARSE * count:
        raise DataError(
            f"{count:,} cells that hold something, over {rows:,} rows and {columns:,} columns",
            where=path,
            expected="a table, whose cells stand beside each other",
            cure="delete the rows and columns behind the table (Ctrl+End shows the last cell), and save it",
        )


def _valueless_rows(
    path: Path, sheet: Sheet, places: set[int], where: str, gathered: Gathered
) -> frozenset[int]:
    """The rows with cells of these columns that hold an error, or a formula with which no value was saved, as programs
    write that compute none. To the reader both are empty. ``gathered`` is told of each cell."""
    rows: set[int] = set()
    try:
        with zipfile.ZipFile(path) as archive:
            for cell, what, cure in _valueless(archive, _part_of(archive, sheet.name)):
                if _column(cell) in places:
                    rows.add(int(cell.lstrip(ascii_uppercase) or 0))
                    with gathered.of():
                        raise DataError(what, where=f"{where}, cell {cell}", expected="a value", cure=cure)
    except (KeyError, StopIteration, ElementTree.ParseError, zipfile.BadZipFile) as error:
        cure = "open it in Excel or LibreOffice, and save it again as .xlsx"
        what = f"not a readable workbook: {error}"
        raise DataError(what, where=path, expected="a workbook of Excel", cure=cure) from None
    return frozenset(rows)


def _part_of(archive: zipfile.ZipFile, name: str) -> str:
    """The file of a sheet in the archive."""
    book = _parsed(archive.read("xl/workbook.xml"))
    links = _parsed(archive.read("xl/_rels/workbook.xml.rels"))
    targets = {link.get("Id"): link.get("Target", "") for link in links}
    for element in book.iter():
        if _tag(element) == "sheet" and element.get("name") == name:
            key = next(value for attribute, value in element.attrib.items() if attribute.endswith("}id"))
            return posixpath.normpath(posixpath.join("/xl", targets[key])).lstrip("/")
    raise KeyError(name)


def _valueless(archive: zipfile.ZipFile, part: str) -> Iterator[tuple[str, str, str]]:
    """(cell, what it holds in the place of a value, cure)."""
    for row in _parsed(archive.read(part)).iter():
        if _tag(row) != "c":
            continue
        inside = {_tag(child): (child.text or "") for child in row}
        if row.get("t") == "e":
            what = f"the cell holds the error {inside.get('v')}"
            yield row.get("r", ""), what, "correct the formula, or empty the cell"
        elif "f" in inside and not inside.get("v", ""):
            cure = "open the workbook in Excel or LibreOffice and save it: that computes it"
            yield row.get("r", ""), "a formula without a value", cure


def _parsed(raw: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in raw:
        raise KeyError("a document type in it")
    return ElementTree.fromstring(raw)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _column(cell: str) -> int:
    letters = re.match("[A-Z]*", cell)
    place = 0
    for letter in letters[0] if letters else "":
        place = 26 * place + ord(letter) - 64
    return place - 1
