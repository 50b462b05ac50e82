"""Columns of labels as tables have them, to plain ones: one label a cell, or a list of labels.

What a cell may be: a name, a number, a list, a list printed as text, names with a separator between them, a vector of 0
and 1; or a column a class with 0 or 1 in it (``data.labels_from``). ``data.label_map`` is applied last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ptm.config.data_section import LABEL, DataSpec
from ptm.data.arrow import Coded, distinct, mapped, rows_where
from ptm.data.arrow_lists import Lists
from ptm.data.arrow_values import distinct_items
from ptm.data.label_cells import (
    ANNOTATED_CURE,
    SEPARATOR,
    is_annotation,
    is_vector,
    label_list,
    looks_like_digits,
    quoted_list,
    shown_separator,
    unread_separator,
    vectors,
)
from ptm.data.label_values import number_of
from ptm.data.labels import label_name
from ptm.data.tables import Table
from ptm.errors import DataError, Problem, listing, refuse

_CLASSES = "where any number of labels may apply: data.label_type: classes"


@dataclass(frozen=True)
class PlainLabels:
    """The tables with a role ``label``, and what is to be said of it. ``unused``: a warning for what
    ``data.label_map`` names and no row has."""

    tables: tuple[Table, ...]
    warnings: tuple[Problem, ...]
    unused: tuple[Problem, ...] = ()


def label_roles(data: DataSpec) -> dict[str, str]:
    """Role → column, of what the labels are read from."""
    if data.labels_from is not None:
        return {f"labels_from {name}": name for name in data.labels_from}
    return label_column(data)


def label_column(data: DataSpec) -> dict[str, str]:
    """``{"label": its column}``; empty where each label has a column."""
    return {} if data.labels_from is not None else {"label": data.label or LABEL}


def plain_labels(
    tables: Sequence[Table], data: DataSpec, kind: str, model_labels: tuple[str, ...] | None
) -> PlainLabels:
    """The tables with labels that :mod:`ptm.data.targets` encodes. ``kind``: a key of its ``KINDS``; ``model_labels``:
    those of a trained model. Raises DataError naming what was read and what may be meant."""
    warnings: list[Problem] = []
    if data.labels_from is not None:
        tables = [_from_columns(table, data.labels_from, kind) for table in tables]
    elif kind == "classes":
        stated = data.labels or model_labels
        tables = [_from_cells(table, data.label_separator, stated, warnings) for table in tables]
    elif kind == "class":
        for table in tables:
            _require_single(table, data.labels or ())
            warnings += _may_be_several(table)
    elif kind == "tags":
        tables = [
            table
            if isinstance(table.columns["label"], Lists)
            else _mapped(table, lambda cell: quoted_list(cell) if isinstance(cell, str) else cell)
            for table in tables
        ]
    unused: list[Problem] = []
    if data.label_map:
        # Of columns of 0 and 1 the places are numbered here; nobody has seen these numbers.
        numbered = data.labels_from is None
        unused = _unused_spellings(data.label_map, tables, numbered)
        tables = [_renamed(table, data.label_map, numbered) for table in tables]
    return PlainLabels(tuple(tables), tuple(dict.fromkeys(warnings)), tuple(unused))


def _mapped(table: Table, change: Callable[[Any], Any]) -> Table:
    """``change`` gives None where a cell is to be left as it is."""
    changed = mapped(table.columns["label"], lambda cell: cell if (new := change(cell)) is None else new)
    return replace(table, columns={**table.columns, "label": changed})


# --- a column a class


def _from_columns(table: Table, names: Sequence[str], kind: str) -> Table:
    columns = [table.columns[f"labels_from {name}"] for name in names]
    problems = [
        Problem(
            f"{name} is {cell!r}",
            table.where(row),
            "0 or 1: whether the label applies",
            "correct the cell, or take the column out of data.labels_from",
        )
        for name, column in zip(names, columns, strict=True)
        for row in rows_where(column, lambda cell: _truth(cell) is None)
        for cell in [column[row]]
    ]
    refuse(problems, noun="cells")
    rows: list[Any] = [
        [k for k, cell in enumerate(cells) if _truth(cell)] for cells in zip(*columns, strict=True)
    ]
    if kind == "class":
        refuse(
            Problem(
                f"{len(row)} of the columns of data.labels_from are 1: {listing(names[k] for k in row) or 'none'}",
                table.where(number),
                "exactly one, as label_type: class says",
                _CLASSES,
            )
            for number, row in enumerate(rows)
            if len(row) != 1
        )
        rows = [row[0] for row in rows]
    others = {role: column for role, column in table.columns.items() if not role.startswith("labels_from ")}
    return replace(table, columns={**others, "label": rows}, label_names=tuple(names))


def _truth(cell: Any) -> bool | None:
    if isinstance(cell, str) and cell.strip().casefold() in ("true", "false"):
        return cell.strip().casefold() == "true"
    number = number_of(cell)
    return bool(number) if number in (0.0, 1.0) else None


# --- several labels in a cell


def _from_cells(
    table: Table, separator: str | None, names: tuple[str, ...] | None, warnings: list[Problem]
) -> Table:
    cells = table.columns["label"]
    if separator is None:
        _require_separator(table)
    rows = [label_list(cell, separator or SEPARATOR) for cell in cells]
    try:
        vector_rows = vectors([row for row in rows if row is not None]) if None not in rows else None
    except ValueError as error:
        raise DataError(
            f"the labels seem to be {error}",
            where=table.where(0),
            expected="lists of names, or vectors of as many 0 and 1 as there are classes",
            cure="correct the column, or give a column a class and name them in data.labels_from",
        ) from None
    if vector_rows is None:
        return _mapped(table, lambda cell: label_list(cell, separator or SEPARATOR))
    width = len(vector_rows[0])
    own = table.label_names if table.label_names and len(table.label_names) == width else None
    if own is None and names is not None and len(names) != width:
        raise DataError(
            f"the labels are vectors of {width} numbers, and there are {len(names)} labels",
            where=table.where(0),
            expected=f"as many as {listing(names)}",
            cure="name the classes of the vectors in data.labels, or give lists of names",
        )
    chosen = own or names or tuple(map(str, range(width)))
    if own is None:
        warnings.append(
            Problem(
                f"the labels are vectors of {width} numbers without names: the places are {listing(chosen)}",
                table.where(0),
                cure="" if names else "name them: data.labels",
            )
        )
    places = [[place for place, bit in enumerate(bits) if bit] for bits in vector_rows]
    columns = {**table.columns, "label": places}
    return replace(table, columns=columns, label_names=chosen)


def _require_separator(table: Table) -> None:
    """DataError where labels seem to be separated by something that is not looked for."""
    cells = table.columns["label"]
    separator = unread_separator(cells)
    if separator is not None:
        row = next(r for r, cell in enumerate(cells) if isinstance(cell, str) and separator in cell.strip())
        mark = shown_separator(separator)
        raise DataError(
            f'labels seem to be separated by "{mark}", as in {cells[row]!r}, and no cell has "{SEPARATOR}"',
            where=table.where(row),
            expected='names with "|" between them, a list, or data.label_separator',
            cure=f'set data.label_separator: "{mark}" (--set \'data.label_separator="{mark}"\'); or "|", if '
            "these are names as they are",
        )
    if looks_like_digits(cells):
        raise DataError(
            f"the labels look like vectors of 0 and 1 without anything between them: {cells[0]!r}",
            where=table.where(0),
            expected="names, or a list of numbers such as [0, 1, 1]",
            cure="write a list, or give a column a class and name them in data.labels_from",
        )


# --- one label in a cell


def _require_single(table: Table, stated: Sequence[str]) -> None:
    """DataError for printed lists where there is to be one label."""
    cells = table.columns["label"]

    def is_list(cell: Any) -> bool:
        return isinstance(cell, str) and cell not in stated and bool(quoted_list(cell) or is_vector(cell))

    refuse(
        Problem(
            f"the label is a list: {cells[row]!r:.200}",
            table.where(row),
            "one label",
            ANNOTATED_CURE if is_annotation(cells[row]) else _CLASSES,
        )
        for row in rows_where(cells, is_list)
    )


def _may_be_several(table: Table) -> list[Problem]:
    """A warning where labels seem to be put together of others."""
    cells = {
        cell for cell, _, _ in distinct(table.columns["label"]) if isinstance(cell, str) and cell.strip()
    }
    for separator in (SEPARATOR, ",", ";"):
        joined = sorted(cell for cell in cells if separator in cell)
        parts = {part.strip() for cell in cells for part in cell.split(separator)}
        if len(joined) > 1 and len(parts) < len(cells):
            key = "" if separator == SEPARATOR else f' and data.label_separator: "{separator}"'
            what = (
                f'{len(joined)} of the {len(cells)} labels seem to be several with "{separator}" between them'
            )
            return [Problem(f"{what}, as {joined[0]!r}", cure=f"{_CLASSES}{key}")]
    return []


# --- data.label_map


def _renamed(table: Table, names: Mapping[str, str], numbered: bool) -> Table:
    """``numbered``: whether names of the source may also be given by their numbers."""
    stored = table.label_names

    def renamed(label: Any) -> Any:
        if not isinstance(label, str) and (stored is not None or not isinstance(label, int | float)):
            return label  # a place among the names, which are renamed themselves
        spellings = (
            str(label),
            str(label).casefold() if isinstance(label, bool) else None,
            label_name(label),
        )
        return next((names[s] for s in spellings if s is not None and s in names), label)

    renamed_stored = stored and tuple(
        names.get(name, names.get(str(place), name) if numbered else name)
        for place, name in enumerate(stored)
    )
    column = table.columns["label"]
    if isinstance(column, Lists) and isinstance(column.items, Coded):
        items = Coded(column.items.codes, [renamed(item) for item in column.items.values])
        label: Sequence[Any] = Lists(items, column.starts, column.rows)
    else:
        label = mapped(
            column, lambda cell: [*map(renamed, cell)] if isinstance(cell, list) else renamed(cell)
        )
    return replace(table, columns={**table.columns, "label": label}, label_names=renamed_stored)


def _unused_spellings(names: Mapping[str, str], tables: Sequence[Table], numbered: bool) -> list[Problem]:
    """A warning for what ``data.label_map`` names and no row has. ``tables``: before it is applied."""
    there = {name for table in tables for name in table.label_names or ()}
    cells = (cell for table in tables for cell in _cells(table.columns["label"]))
    for label in (label for cell in cells for label in _elements(cell)):
        if numbered or isinstance(label, str):
            there |= {str(label), label_name(label) or ""}
        if isinstance(label, bool):
            there.add(str(label).casefold())
    unused = [name for name in names if name not in there]
    if not unused:
        return []
    return [
        Problem(
            f"data.label_map names {listing(map(repr, unused))}, which no row has", cure="correct the key"
        )
    ]


def _cells(column: Sequence[Any]) -> list[Any]:
    items = distinct_items(column)
    return [value for value, _, _ in (distinct(column) if items is None else items)]


def _elements(cell: Any) -> Sequence[Any]:
    elements = cell if isinstance(cell, list) else [cell]
    return [element for element in elements if isinstance(element, str | int | float)]
