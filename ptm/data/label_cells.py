"""Cells with several labels, in the forms that tables have them: separated, printed as a list, a vector of 0 and 1.

A list that was printed into a table (by pandas, by numpy, as JSON by ``ptm predict``) is the list again. A vector has
a 0 or a 1 for each class; a list of class numbers never names a class twice, so the two can be told apart.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

ANNOTATED_CURE = (  # of spans, and of several choices
    "export as JSON from the program that wrote it, and begin data.source with labelstudio:, doccano: or prodigy:"
)
SEPARATOR = "|"  # between the labels of a field in a table
# What other programs put there, and people who write Chinese or Japanese.
_OTHERS = (",", ";", "/", "\t", "\n", "&", "+", "、", "，", "；", " ")
_SPELLED_OUT = {"\t": "\\t", "\n": "\\n"}
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_QUOTED = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*,?""", re.DOTALL)
_NUMBER_IN = re.compile(r"\s*([-+]?\d+\.?\d*)\s*(?:,|\s|$)")
_DIGITS = re.compile(r"[01]{3,}")
# As Python and numpy print what is no list: set(), frozenset({'a'}), array(['a'], dtype=object).
_CALL = re.compile(r"(?:set|frozenset|array)\((.*?)(?:,\s*dtype=[^()]*)?\)", re.DOTALL)

Vector = tuple[int, ...]


def is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset | np.ndarray)


def printed_list(text: str) -> list[Any] | None:
    """The list that a text is a print of: JSON, Python's or numpy's ``repr``, or words in brackets; None for others."""
    if call := _CALL.fullmatch(text.strip()):
        text = call[1].strip() or "[]"
    inner = _within_brackets(text)
    if inner is None:
        return None
    if not inner.strip():
        return []
    items = _as_json(text) or _quoted(inner) or _numbers(inner)
    bare = text.strip().startswith("[")  # a name may well stand in round brackets
    return items or ([part.strip() for part in inner.split(",")] if bare else None)


def quoted_list(text: str) -> list[Any] | None:
    """As :func:`printed_list`, of quoted items only: what else stands in brackets may be a text of its own."""
    inner = _within_brackets(text)
    return None if inner is None else [] if not inner.strip() else _as_json(text) or _quoted(inner)


def _within_brackets(text: str) -> str | None:
    stripped = text.strip()
    closed = len(stripped) > 1 and _BRACKETS.get(stripped[0]) == stripped[-1]
    return stripped[1:-1] if closed else None


def _as_json(text: str) -> list[Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _quoted(inner: str) -> list[Any] | None:
    items, end = [], 0
    while match := _QUOTED.match(inner, end):
        try:
            items.append(ast.literal_eval(match[1]))
        except (ValueError, SyntaxError):
            return None
        end = match.end()
    return items if items and not inner[end:].strip() else None


def _numbers(inner: str) -> list[Any] | None:
    items, end = [], 0
    while match := _NUMBER_IN.match(inner, end):
        items.append(match[1])
        end = match.end()
    return items if items and not inner[end:].strip() else None


def is_annotation(value: Any) -> bool:
    """Whether a cell holds objects, or lists within a list, and no names: what annotation tools write of spans and of
    several choices, as it is or printed as JSON into a table."""
    if isinstance(value, str):
        if value.lstrip()[:1] not in ("{", "["):
            return False
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    return isinstance(value, dict) or (is_list(value) and any(isinstance(one, dict | list) for one in value))


def label_list(value: Any, separator: str = SEPARATOR) -> list[Any] | None:
    """The labels of a cell: a list as it is, a printed one read, a text cut at the separator; None for all else."""
    if is_annotation(value):
        return None
    if isinstance(value, str):
        if not value.strip():
            return []
        printed = printed_list(value)
        if printed is not None:
            return printed
        parts = [part.strip() for part in (value.split() if separator == " " else value.split(separator))]
        while parts and not parts[-1]:  # some programs end a list with its separator
            parts.pop()
        return parts
    return list(value) if is_list(value) else None


def unread_separator(values: Iterable[Any]) -> str | None:
    """What seems to stand between labels where nothing is cut: many cells have it, and cut there, cells have fewer
    different labels than there are different cells. None where a cell has :data:`SEPARATOR`, or nothing seems so."""
    cells = Counter(v for v in values if isinstance(v, str) and v.strip() and printed_list(v) is None)
    if not cells or any(SEPARATOR in cell for cell in cells):
        return None
    for separator in _OTHERS:
        having = [cell for cell in cells if separator in cell.strip()]
        if len(having) < 2:
            continue
        parts = {part.strip() for cell in cells for part in cell.split(separator)}
        fewest = len(cells) // 2 if separator == " " else len(cells)  # names may well be of several words
        if len(parts) < fewest or (parts <= {"0", "1"} and len(having) == len(cells)):
            return separator
    return None


def shown_separator(separator: str) -> str:
    """As it is written between double quotes."""
    return _SPELLED_OUT.get(separator, separator)


def looks_like_digits(values: Sequence[Any]) -> bool:
    """Whether all cells are strings of 0 and 1 of one length, such as ``0110``."""
    texts = {value.strip() for value in values if isinstance(value, str)}
    lengths = {len(text) for text in texts}
    return (
        len(lengths) == 1
        and all(_DIGITS.fullmatch(text) for text in texts)
        and any(text[0] == "0" for text in texts)
    )


def vectors(rows: Sequence[Sequence[Any]]) -> list[Vector] | None:
    """These lists as vectors of 0 and 1, or None where they are lists of labels. Raises ValueError, in words, for
    what looks like vectors and is none that could be read."""
    if not rows or not all(rows):
        return None
    bits = [[_bit(item) for item in row] for row in rows]
    lengths = {len(row) for row in rows}
    twice = any(len(set(map(_key, row))) < len(row) for row in rows)
    if any(bit is None for row in bits for bit in row):
        signs = {_key(item) for row in rows for item in row}
        if len(lengths) == 1 and min(lengths) > 1 and twice and signs <= {-1.0, 0.0, 1.0}:
            raise ValueError("vectors with -1 in them")
        fractions = all(
            isinstance(_key(item), float) and 0 <= _key(item) <= 1 for row in rows for item in row
        )
        if len(lengths) == 1 and min(lengths) > 1 and fractions and signs - {0.0, 1.0}:
            raise ValueError("vectors of shares between 0 and 1")
        return None
    if len(lengths) > 1:
        if twice:
            raise ValueError(f"vectors of {min(lengths)} to {max(lengths)} numbers")
        return None
    return [tuple(bit for bit in row if bit is not None) for row in bits] if min(lengths) > 1 else None


def is_vector(text: str) -> bool:
    """Whether a text is a print of two or more numbers or truth values."""
    items = printed_list(text) or []
    return len(items) > 1 and all(isinstance(_key(item), float) for item in items)


def _bit(item: Any) -> int | None:
    key = _key(item)
    return int(key) if key in (0.0, 1.0) and not isinstance(key, str) else None


def _key(item: Any) -> Any:
    """A number as a float, whatever it is written as; all else as a text."""
    if isinstance(item, str) and item.strip().lower() in ("true", "false"):
        return float(item.strip().lower() == "true")
    try:
        return float(item)
    except (TypeError, ValueError, OverflowError):
        return str(item)
