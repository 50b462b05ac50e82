"""Columns of lists as Apache Arrow lays them out (``LargeList``): all items end to end, and where each list begins.

Words are one column of texts, tags one of few values, so that neither is a Python object a word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Self, overload

import numpy as np

from ptm.base.growing import Growing
from ptm.data.arrow import CHUNK, Builder, Coded, Column, Texts

_ITEMS = (str, int, float, bool, type(None))


class Lists(Column):
    """List i is ``items[starts[i]:starts[i + 1]]``; or ``rows`` of them, int64 [n]. ``starts``: int64 [n + 1]."""

    def __init__(self, items: Texts | Coded, starts: np.ndarray, rows: np.ndarray | None = None) -> None:
        self.items, self.starts, self.rows = items, starts, rows

    def __len__(self) -> int:
        return len(self.starts) - 1 if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, index: int) -> list[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[Any]]: ...
    def __getitem__(self, index: int | slice) -> list[Any]:
        if not isinstance(index, slice):
            if not -len(self) <= index < len(self):
                raise IndexError(index)
            return self._list(index % len(self))
        start, stop, step = index.indices(len(self))
        if self.rows is not None or step != 1 or stop <= start:
            return [self._list(row) for row in range(start, stop, step)]
        first, *ends = self.starts[start : stop + 1].tolist()
        items = self.items[first : ends[-1]]
        places = [0, *(end - first for end in ends)]
        return [items[a:b] for a, b in pairwise(places)]

    def _list(self, row: int) -> list[Any]:
        place = row if self.rows is None else int(self.rows[row])
        found: list[Any] = self.items[int(self.starts[place]) : int(self.starts[place + 1])]
        return found

    @property
    def lengths(self) -> np.ndarray:
        """Items of each list, int64 [n]."""
        lengths = np.diff(self.starts)
        return lengths if self.rows is None else np.asarray(lengths[self.rows])

    def flat(self) -> Texts | Coded:
        """The items of all lists, end to end."""
        if self.rows is None:
            return self.items
        lengths = self.lengths
        ends = np.cumsum(lengths)
        places = np.repeat(self.starts[self.rows] - ends + lengths, lengths) + np.arange(lengths.sum())
        return self.items.select(places)

    def rows_of(self, items: Sequence[int] | np.ndarray) -> np.ndarray:
        """The rows in which these items of :meth:`flat` stand, int64 [items]."""
        return np.asarray(np.searchsorted(np.cumsum(self.lengths), items, side="right"), dtype=np.int64)

    @cached_property
    def digest(self) -> str:
        """SHA-256 that says which lists these are."""
        sha = hashlib.sha256(self.items.digest.encode())
        sha.update(np.ascontiguousarray(self.starts, dtype="<i8").data)
        if self.rows is not None:
            sha.update(np.ascontiguousarray(self.rows, dtype="<i8").data)
        return sha.hexdigest()

    @property
    def nbytes(self) -> int:
        """Of the texts in UTF-8; of a selection about so many."""
        total = self.items.nbytes if isinstance(self.items, Texts) else _coded_bytes(self.items)
        return total if self.rows is None else total * len(self) // max(1, len(self.starts) - 1)

    def select(self, rows: np.ndarray) -> Self:
        return type(self)(self.items, self.starts, rows if self.rows is None else self.rows[rows])

    def joined(self, others: Sequence[Sequence[Any]]) -> Sequence[Any] | None:
        if not all(isinstance(column, Lists) for column in others):
            return None
        builder = RowBuilder()
        for column in (self, *others):
            for start in range(0, len(column), CHUNK):
                builder.extend(column[start : start + CHUNK])
        return builder.column()


class RowBuilder:
    """A column that is read: lists where every row is one of texts, numbers or None; else what
    :class:`ptm.data.arrow.Builder` makes of it."""

    def __init__(self) -> None:
        self._plain = Builder()
        self._items: Builder | None = None
        self._starts = Growing("<i8")
        self._rows = self._total = 0

    def extend(self, values: Sequence[Any]) -> None:
        """With the next rows: many at a time cost less."""
        if (self._items is not None or not self._rows) and values and all(map(_is_plain, values)):
            if self._items is None:
                self._items = Builder()
                self._starts.extend([0])
            self._items.extend([item for value in values for item in value])
            ends = self._total + np.cumsum([len(value) for value in values])
            self._starts.extend(ends)
            self._total = int(ends[-1])
        else:
            if self._items is not None:
                before, self._items = self._lists(), None
                self._plain.extend(list(before))
            self._plain.extend(values)
        self._rows += len(values)

    def column(self) -> Sequence[Any]:
        """All rows. Nothing is added after that."""
        return self._plain.column() if self._items is None else self._lists()

    def _lists(self) -> Sequence[list[Any]]:
        assert self._items is not None
        items, starts = self._items.column(), self._starts.array()
        if isinstance(items, Texts | Coded):
            return Lists(items, starts)
        return [list(items[a:b]) for a, b in pairwise(starts.tolist())]


def _coded_bytes(items: Coded) -> int:
    """Of all items as texts in UTF-8."""
    sizes = [len(str(value).encode("utf-8", "surrogatepass")) for value in items.values]
    return int(np.bincount(items.codes, minlength=len(sizes)) @ np.array(sizes, dtype=np.int64))


def _is_plain(value: Any) -> bool:
    return type(value) is list and all(type(item) in _ITEMS for item in value)
