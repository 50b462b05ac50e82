"""What the values of a column are, without an object a row: which rows are equal, what is empty, what each occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ptm.base.growing import Growing, release
from ptm.base.seeds import finalised
from ptm.data.arrow import CHUNK, Builder, Coded, Part, Texts
from ptm.data.arrow_lists import Lists

_BLANK = 0x20  # the ASCII characters that ``str.strip`` takes away are not above it
_BEYOND = 0x80  # the first byte that is not ASCII


def value_keys(column: Sequence[str]) -> np.ndarray:
    """A number a row, uint64 [n], equal where the texts are, of this column and of any other: two of a million
    different ones have the same once in 30 million data sets."""
    if isinstance(column, Coded):
        return np.asarray(value_keys(list(column.values))[column.codes])
    if isinstance(column, Texts):
        whole = np.concatenate([np.empty(0, np.uint64), *map(_part_keys, column.parts)])
        return whole if column.rows is None else np.asarray(whole[column.rows])
    keys = Growing("<u8")
    for start in range(0, len(column), CHUNK):
        contents = [text.encode("utf-8", "surrogatepass") for text in column[start : start + CHUNK]]
        starts = np.cumsum([0, *map(len, contents)], dtype=np.int64)
        keys.extend(_keys(np.frombuffer(b"".join(contents), dtype=np.uint8), starts))
    return keys.array()


def value_numbers(column: Sequence[str]) -> np.ndarray:
    """A number from 0 on a row, int64 [n]: the same where the texts are equal, none left out."""
    if isinstance(column, Coded):
        _, codes = np.unique(column.codes, return_inverse=True)
        there = [column.values[code] for code in np.unique(column.codes)]
        return np.asarray(value_numbers(there)[codes])
    return np.asarray(np.unique(value_keys(column), return_inverse=True)[1], dtype=np.int64)


def occurrences(lists: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, int]]:
    """(value, how often) of what stands in these lists, in the order in which they first occur."""
    if not isinstance(lists, Lists):
        yield from Counter(chain.from_iterable(lists)).items()
        return
    items = lists.flat()
    if isinstance(items, Coded):
        yield from ((value, count) for value, count, _ in items.distinct)
        return
    counts: Counter[str] = Counter()
    for start in range(0, len(items), CHUNK):
        counts.update(items[start : start + CHUNK])
    yield from counts.items()


def distinct_items(column: Sequence[Any]) -> list[tuple[Any, int, int]] | None:
    """(item, how often, the first row with it), in the order of these, of lists of few different items; None for any
    other column."""
    items = column.flat() if isinstance(column, Lists) else None
    if not isinstance(column, Lists) or not isinstance(items, Coded):
        return None
    rows = column.rows_of([first for _, _, first in items.distinct])
    return [(item, count, int(row)) for (item, count, _), row in zip(items.distinct, rows, strict=True)]


def first_rows(numbers: np.ndarray) -> np.ndarray:
    """For each row the first one with the same number. ``numbers``: int64 [n], from 0 on."""
    first = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)  # the last one that is written stays
    return np.asarray(first[numbers])


def stripped(texts: Texts) -> Sequence[str]:
    """Without blanks around them: the same column where there are none."""
    if not any(_has_blanks(part) for part in texts.parts):
        return texts
    builder = Builder()
    for start in range(0, len(texts), CHUNK):
        builder.extend([text.strip() for text in texts[start : start + CHUNK]])
    return builder.column()


def empty_rows(texts: Texts) -> list[int]:
    """The rows without a character."""
    empty = np.concatenate([np.diff(part.starts) == 0 for part in texts.parts])
    return [int(row) for row in np.flatnonzero(empty if texts.rows is None else empty[texts.rows])]


def _has_blanks(part: Part) -> bool:
    """Whether a text of it begins or ends with a blank. Only such are looked at that may."""
    for start in range(0, len(part), CHUNK):
        bounds = part.starts[start : start + CHUNK + 1]
        content, ends = part.data[bounds[0] : bounds[-1]], bounds - bounds[0]
        filled = np.flatnonzero(np.diff(ends))
        first, last = content[ends[filled]], content[ends[filled + 1] - 1]
        may_be = (first <= _BLANK) | (last <= _BLANK) | (first >= _BEYOND) | (last >= _BEYOND)
        for row in filled[may_be].tolist():
            text = part.text(start + row)
            if text != text.strip():
                return True
    return False


def _part_keys(part: Part) -> np.ndarray:
    keys = Growing("<u8")
    for start in range(0, len(part), CHUNK):
        bounds = part.starts[start : start + CHUNK + 1]
        keys.extend(_keys(part.data[bounds[0] : bounds[-1]], bounds - bounds[0]))
    release(part.data)
    return keys.array()


def _keys(content: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """uint64 [n] of texts end to end: the sum of a random number for each byte at its place, mixed with the length."""
    lengths = np.diff(starts)
    places = (np.arange(len(content)) - np.repeat(starts[:-1], lengths)).astype(np.uint64)
    random = finalised(finalised(places) ^ content.astype(np.uint64))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(random, dtype=np.uint64)])
    return finalised((sums[starts[1:]] - sums[starts[:-1]]) ^ lengths.astype(np.uint64))
