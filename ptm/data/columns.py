"""Names of columns: those that are asked for, those that are there, and the key of a config that says which."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ptm.config.yaml_tree import plain_value
from ptm.errors import DataError, Problem, listing, refuse


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
        self.headerless: tuple[str, ...] = ()  # names for the columns, where the first row may be no header


def require_columns(requested: Sequence[str], present: Sequence[str], where: str) -> None:
    """ColumnsMissing naming all missing columns, those that are there, and the closest of them."""
    missing = [name for name in dict.fromkeys(requested) if name not in present]
    if missing:
        raise ColumnsMissing([(name, closest_name(name, present)) for name in missing], present, where)
    refuse(
        Problem(f"the column {name!r} stands there twice", where, cure="rename one of them")
        for name in dict.fromkeys(requested)
        if present.count(name) > 1
    )


def closest_name(name: str, present: Sequence[str]) -> str:
    return next(iter(difflib.get_close_matches(name, present, n=1)), "")


@contextmanager
def naming_keys(columns: Mapping[str, str]) -> Iterator[None]:
    """A missing column's cure names the key of a config that names columns. ``columns``: role → name."""
    try:
        yield
    except ColumnsMissing as error:
        problems = zip(error.problems, error.names, strict=True)
        raise DataError(
            [
                replace(problem, cure=_naming_cure(columns, name, close) + _headerless_cure(error.headerless))
                for problem, (name, close) in problems
            ]
        ) from None


def _naming_cure(columns: Mapping[str, str], missing: str, close: str) -> str:
    """``columns``: role → name."""
    role = next((role for role, name in columns.items() if name == missing), "text")
    key = f"data.{'text' if role in ('words', 'context') else role.partition(' ')[0]}"
    more = "; where each label has a column: data.labels_from" if role == "label" and not close else ""
    if not close:
        return f"name the right column in {key}{more}"
    name = yaml_text(close)
    if key == "data.labels_from":
        name = _corrected_list(columns, "labels_from ", missing, close)
    if key == "data.slices":
        name = _corrected_list(columns, "slices ", missing, close)
    return f"did you mean {close!r}? name the right column in {key}: --set {shlex.quote(f'{key}={name}')}"


def _corrected_list(columns: Mapping[str, str], role: str, missing: str, close: str) -> str:
    others = [column for other, column in columns.items() if other.startswith(role)]
    return json.dumps([close if column == missing else column for column in others], ensure_ascii=False)


def _headerless_cure(names: Sequence[str]) -> str:
    if not names:
        return ""
    change = shlex.quote(f"data.columns={json.dumps(names, ensure_ascii=False)}")
    return f"; the first row was taken for the header: if it is an example, name the columns: --set {change}"


def yaml_text(text: str) -> str:
    """A text as the value of a key: in quotes where YAML would take it for something else."""
    plain = text.replace("-", "_").isidentifier() and plain_value(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)
