"""Columns of a table as Apache Arrow lays them out, so that they can be mapped into memory from a file.

Texts are one run of UTF-8 with the places where each begins (Arrow's ``LargeString``); what has few different values,
as labels do, is the number of each value (Arrow's ``Dictionary``). pyarrow itself is not needed, whose import takes
longer than reading a small file. Lists of these are in :mod:`ptm.data.arrow_lists`; what is nothing of it stays a list.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import Any, Self, TypeVar, overload

import numpy as np

from ptm.base.growing import Growing, release

MOST_VALUES = 2**16  # different values of a column that is coded
CHUNK = 20_000  # rows at a time
_FEW = 4  # texts of which there are so many times more rows are coded
# Letters and symbols that show nothing either: fillers of Hangul, the empty Braille pattern; selectors of variants.
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0") | frozenset(map(chr, range(0xFE00, 0xFE10)))
_UNSEEN = ("Cc", "Cf", "Zs", "Zl", "Zp")  # Unicode categories of characters that show nothing

ItemT = TypeVar("ItemT")


def seen(text: str) -> bool:
    """Whether a character of it can be seen."""
    stripped = text.strip()
    if stripped[:1].isascii() and stripped[:1].isprintable():
        return bool(stripped)
    return any(
        character not in _BLANKS and unicodedata.category(character) not in _UNSEEN for character in stripped
    )


class Column(Sequence[Any]):
    """Values that are no list of objects. Equal to any sequence of the same values."""

    def select(self, rows: np.ndarray) -> Self:
        """Only these rows, int64 [n], in this order."""
        raise NotImplementedError

    def joined(self, others: Sequence[Sequence[Any]]) -> Sequence[Any] | None:
        """With those of ``others`` behind them; None where they cannot be one column of this kind."""
        return None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self[:20])!r}{', …' if len(self) > 20 else ''})"

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), CHUNK):
            yield from self[start : start + CHUNK]


@dataclass(frozen=True, eq=False)
class Part:
    """Texts end to end: text i is ``data[starts[i]:starts[i + 1]]``."""

    data: np.ndarray  # uint8 [bytes], UTF-8
    starts: np.ndarray  # int64 [n + 1]
    unseen: np.ndarray  # int64: the rows without a character that can be seen
    digest: str  # SHA-256 of them

    def __len__(self) -> int:
        return len(self.starts) - 1

    def text(self, row: int) -> str:
        return _decoded(self.data[self.starts[row] : self.starts[row + 1]].tobytes())

    def texts(self, start: int, stop: int) -> list[str]:
        bounds = self.starts[start : stop + 1]
        content = self.data[bounds[0] : bounds[-1]].tobytes()
        places = pairwise((bounds - bounds[0]).tolist())
        if content.isascii():
            whole = content.decode()
            return [whole[first:end] for first, end in places]
        return [_decoded(content[first:end]) for first, end in places]

    def between(self, mark: int) -> np.ndarray:
        rows = np.flatnonzero(np.diff(self.starts) > 1)
        rows = rows[self.data[self.starts[rows]] == mark]
        return np.asarray(rows[self.data[self.starts[rows + 1] - 1] == mark])


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")


class Texts(Column):
    """Texts of one part, or of several one after the other; or ``rows`` of them, int64 [n]."""

    def __init__(self, parts: Sequence[Part], rows: np.ndarray | None = None) -> None:
        self.parts = tuple(parts)
        self.rows = rows
        self._ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if self.rows is None and len(self.parts) == 1 and step == 1:
                texts = self.parts[0].texts(start, max(start, stop))
            else:
                texts = [self._text(row) for row in range(start, stop, step)]
            if len(texts) >= CHUNK:  # of a column that is read from end to end, nothing need stay in memory
                for part in self.parts:
                    release(part.data)
            return texts
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._text(index % len(self))

    def _text(self, row: int) -> str:
        place = row if self.rows is None else int(self.rows[row])
        number = int(np.searchsorted(self._ends, place, side="right")) if len(self.parts) > 1 else 0
        return self.parts[number].text(place - (int(self._ends[number - 1]) if number else 0))

    @cached_property
    def unseen(self) -> list[int]:
        """The rows without a character that can be seen."""
        return self._rows_of([part.unseen for part in self.parts])

    def between(self, mark: str) -> list[int]:
        """The rows of two characters or more that begin and end with this one, which is ASCII."""
        return self._rows_of([part.between(ord(mark)) for part in self.parts])

    def _rows_of(self, of_parts: Sequence[np.ndarray]) -> list[int]:
        first = [0, *self._ends[:-1].tolist()]
        there = np.concatenate([rows + before for rows, before in zip(of_parts, first, strict=True)])
        if self.rows is not None:
            there = np.flatnonzero(np.isin(self.rows, there)) if len(there) else there
        return [int(row) for row in there]

    @cached_property
    def digest(self) -> str:
        """SHA-256 that says which texts these are."""
        if self.rows is None and len(self.parts) == 1:
            return self.parts[0].digest
        sha = hashlib.sha256("".join(part.digest for part in self.parts).encode())
        if self.rows is not None:
            sha.update(np.ascontiguousarray(self.rows, dtype="<i8").data)
        return sha.hexdigest()

    @property
    def nbytes(self) -> int:
        """Of the texts in UTF-8; of a selection about so many."""
        total = sum(int(part.starts[-1] - part.starts[0]) for part in self.parts)
        return total if self.rows is None else total * len(self) // max(1, int(self._ends[-1]))

    def select(self, rows: np.ndarray) -> Self:
        return type(self)(self.parts, rows if self.rows is None else self.rows[rows])

    def joined(self, others: Sequence[Sequence[Any]]) -> Self | None:
        columns = [self, *(other for other in others if isinstance(other, type(self)))]
        if len(columns) <= len(others):
            return None
        parts = [part for column in columns for part in column.parts]
        if all(column.rows is None for column in columns):
            return type(self)(parts)
        rows, before = [], 0
        for column in columns:
            held = sum(len(part) for part in column.parts)
            rows.append(before + (np.arange(held) if column.rows is None else column.rows))
            before += held
        return type(self)(parts, np.concatenate(rows))


class Coded(Column):
    """``values[codes[i]]``: few different values, a number a row."""

    def __init__(self, codes: np.ndarray, values: Sequence[Any]) -> None:
        self.codes = codes
        self.values = tuple(values)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.values[code] for code in self.codes[index].tolist()]
        return self.values[self.codes[index]]

    def select(self, rows: np.ndarray) -> Self:
        return type(self)(self.codes[rows], self.values)

    @cached_property
    def digest(self) -> str:
        """SHA-256 that says which values these are."""
        sha = hashlib.sha256(repr((self.codes.dtype.str, self.values)).encode())
        sha.update(np.ascontiguousarray(self.codes).data)
        return sha.hexdigest()

    @cached_property
    def distinct(self) -> list[tuple[Any, int, int]]:
        """(value, rows that have it, the first of them) of those that occur, in the order of their first rows."""
        counts = np.bincount(self.codes, minlength=len(self.values))
        first = np.zeros(len(self.values), dtype=np.int64)
        first[self.codes[::-1]] = np.arange(len(self.codes) - 1, -1, -1)  # the last one that is written stays
        there = np.flatnonzero(counts)
        return [
            (self.values[code], int(counts[code]), int(first[code]))
            for code in there[np.argsort(first[there])].tolist()
        ]


def distinct(column: Iterable[ItemT]) -> Iterator[tuple[ItemT, int, int]]:
    """(value, rows, the first of them): each value of a coded column once, those of any other row by row."""
    if isinstance(column, Coded):
        yield from column.distinct
    else:
        yield from ((value, 1, row) for row, value in enumerate(column))


def numbers(column: Sequence[Any], number: Callable[[Any], int | None]) -> np.ndarray:
    """A number a row, int64 [n]; -1 for None. A value of a coded column is asked for once."""
    if isinstance(column, Coded):
        return np.asarray(numbers(column.values, number)[column.codes])
    found = map(number, column)
    return np.fromiter((-1 if n is None else n for n in found), dtype=np.int64, count=len(column))


def rows_where(column: Sequence[Any], wrong: Callable[[Any], bool]) -> list[int]:
    """The rows whose value is wrong."""
    return [int(row) for row in np.flatnonzero(numbers(column, lambda value: int(wrong(value))))]


def mapped(column: Sequence[Any], change: Callable[[Any], Any]) -> Sequence[Any]:
    """The values as ``change`` makes them: of a coded column, one that is coded; else a list."""
    if isinstance(column, Coded):
        return Coded(column.codes, [change(value) for value in column.values])
    return [change(value) for value in column]


def select(column: Sequence[Any], rows: Sequence[int] | np.ndarray) -> Sequence[Any]:
    """Only these rows, in this order."""
    if isinstance(column, Column):
        return column.select(np.asarray(rows, dtype=np.int64))
    return [column[row] for row in rows]


def join(columns: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """One after the other."""
    if len(columns) == 1:
        return columns[0]
    if isinstance(columns[0], Column) and (whole := columns[0].joined(columns[1:])) is not None:
        return whole
    if not all(isinstance(column, Texts | Coded) for column in columns):
        return [value for column in columns for value in column]
    builder = Builder()
    for column in columns:
        for start in range(0, len(column), CHUNK):
            builder.extend(column[start : start + CHUNK])
    return builder.column()


def text_part(pieces: Iterable[Sequence[str]]) -> Part:
    """Texts without a NUL in them, names of files: whether a character can be seen is not asked."""
    data, starts, before = Growing("u1"), Growing("<i8"), 0
    starts.extend([0])
    for texts in pieces:
        content = np.frombuffer(
            "".join(f"{text}\0" for text in texts).encode("utf-8", "surrogatepass"), np.uint8
        )
        ends = np.flatnonzero(content == 0)
        data.extend(content[content != 0])
        starts.extend(before + ends - np.arange(len(ends)))
        before += len(content) - len(ends)
    whole = data.array(), starts.array()
    sha = hashlib.sha256(b"".join(hashlib.sha256(array.data).digest() for array in whole))
    return Part(*whole, np.empty(0, np.int64), sha.hexdigest())


class Builder:
    """A column that is read: coded as long as it has few values, else texts, else a list."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._values: list[Any] = []
        self._codes = Growing("<u2")
        self._rows = 0
        self._texts: _TextBuilder | None = None
        self._list: list[Any] | None = None

    def extend(self, values: Sequence[Any]) -> None:
        """With the next rows: many at a time cost less."""
        plain = all(type(value) is str for value in values)
        if self._list is None and self._texts is None and not self._code(values, plain=plain):
            self._uncode()
        if self._texts is not None and not plain:
            texts, self._texts = self._texts.column(), None
            self._list = [*texts]
        if self._texts is not None:
            self._texts.extend(values)
        elif self._list is not None:
            self._list += values

    def column(self) -> Sequence[Any]:
        """All rows. Nothing is added after that."""
        if self._list is None and self._texts is None:
            if (
                any(type(value) is not str for value in self._values)
                or len(self._values) * _FEW <= self._rows
            ):
                return Coded(self._codes.array(), self._values)
            self._uncode()
        return self._texts.column() if self._texts is not None else self._list or []

    def _code(self, values: Sequence[Any], *, plain: bool) -> bool:
        """Whether these can be coded, and are."""
        known = self._numbers
        if plain:
            codes = [known.setdefault(value, len(known)) for value in values]
            self._values += islice(known, len(self._values), None)
        else:
            codes = []
            for value in values:
                key = _key(value)
                if key is None:
                    return False
                code = known.setdefault(key, len(known))
                if code == len(self._values):
                    self._values.append(value)
                codes.append(code)
        if len(self._values) > MOST_VALUES:
            return False
        self._codes.extend(codes)
        self._rows += len(codes)
        return True

    def _uncode(self) -> None:
        """What there is, as texts where all of it is."""
        before = Coded(self._codes.array(), self._values)
        if all(type(value) is str for value in self._values):
            self._texts = _TextBuilder()
            for start in range(0, len(before), CHUNK):
                self._texts.extend(before[start : start + CHUNK])
        else:
            self._list = list(before)


def _key(value: Any) -> Any:
    """What tells values apart that Python takes for equal: 1, 1.0 and True; None for what is not coded."""
    if value is None or type(value) in (bool, int):
        return type(value), value
    if type(value) is float:
        return float, repr(value)
    return value if type(value) is str else None


class _TextBuilder:
    def __init__(self) -> None:
        self._data, self._starts, self._unseen = Growing("u1"), Growing("<i8"), Growing("<i8")
        self._rows = self._bytes = 0
        self._shas = hashlib.sha256(), hashlib.sha256()
        self._starts.extend([0])

    def extend(self, texts: Sequence[str]) -> None:
        whole = "".join(texts)
        content = whole.encode("utf-8", "surrogatepass")
        sizes = (
            [len(text) for text in texts]
            if len(content) == len(whole)
            else [len(text.encode("utf-8", "surrogatepass")) for text in texts]
        )
        lengths = np.array(sizes, dtype="<i8")
        self._data.extend(np.frombuffer(content, dtype=np.uint8))
        self._starts.extend(self._bytes + np.cumsum(lengths))
        self._unseen.extend([row for row, text in enumerate(texts, start=self._rows) if not seen(text)])
        for sha, piece in zip(self._shas, (content, lengths.tobytes()), strict=True):
            sha.update(piece)
        self._rows += len(texts)
        self._bytes += len(content)

    def column(self) -> Texts:
        digest = hashlib.sha256(b"".join(sha.digest() for sha in self._shas)).hexdigest()
        part = Part(self._data.array(), self._starts.array(), self._unseen.array(), digest)
        return Texts([part])
