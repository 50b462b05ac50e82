"""Inputs that are in memory already, as a server has them: read as strictly as the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptm.data.columns import closest_name
from ptm.data.tables import require_unicode
from ptm.data.texts import input_problem
from ptm.errors import DataError, Gathered, Problem, refuse


@dataclass(frozen=True)
class Given:
    """Values in the place of a file: texts, lists of words, or objects with the columns of a table; of image tasks
    encoded images, which are bytes. Nothing in them is ever opened as a path."""

    values: Sequence[Any]

    def images(self) -> list[bytes]:
        """Raises DataError for what is no bytes."""
        refuse(
            Problem(f"no image: {value!r:.60}", given_place(index), "the bytes of an image file")
            for index, value in enumerate(self.values)
            if not isinstance(value, bytes)
        )
        return list(self.values)


def given_place(index: int) -> str:
    """What the messages call a value: its place in the list, from 0 as in JSON."""
    return f"inputs[{index}]"


def given_texts(source: Given, columns: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """A mapping role → value for each. ``columns``: role → name, as in :func:`ptm.data.inputs.text_inputs`.

    An object has all the columns, others are left out; where there is one column, its value may stand alone. Raises
    DataError with all values that cannot be used.
    """
    gathered = Gathered()
    rows: list[Mapping[str, Any]] = []
    for index, value in enumerate(source.values):
        with gathered.of():
            rows.append(_row(value, columns, given_place(index)))
    gathered.refuse("inputs")
    return rows


def _row(value: Any, columns: Mapping[str, str], place: str) -> Mapping[str, Any]:
    expected = f"an object with {', '.join(f'{name!r}' for name in columns.values())}"
    if isinstance(value, Mapping):
        missing = [name for name in columns.values() if name not in value]
        refuse(
            Problem(f"no {name!r}", place, expected, f"rename {close!r} in it" if close else "add it")
            for name in missing
            for close in [closest_name(name, list(value))]
        )
        values = {role: value[column] for role, column in columns.items()}
    elif len(columns) == 1:
        values = dict.fromkeys(columns, value)
    else:
        cure = f"send {{{', '.join(f'{name!r}: …' for name in columns.values())}}}"
        raise DataError(f"one value alone: {value!r:.60}", where=place, expected=expected, cure=cure)
    for role, part in values.items():
        where = f"{place}.{columns[role]}" if isinstance(value, Mapping) else place
        for text in part if isinstance(part, list) else [part]:
            require_unicode(text, where)
        problem = input_problem({role: [part]}, 0, lambda _, where=where: where)  # type: ignore[misc]
        if problem is not None:
            raise DataError(problem)
    return values
