"""Columns of labels to targets, a kind for each way of labelling: how names are found, encoded, shared out, checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ptm.config.label_types import CLASS, CLASSES, NUMBER
from ptm.data.arrow_lists import Lists
from ptm.data.arrow_values import distinct_items
from ptm.data.label_cells import ANNOTATED_CURE, is_annotation, is_list, label_list, quoted_list
from ptm.data.labels import discover_labels, encode_labels, untaught_classes
from ptm.errors import DataError, Problem, refuse

Where = Callable[[int], str]

_DECIMAL_COMMA = re.compile(r"\s*-?[0-9.]*,[0-9]+\s*")  # as Excel writes it in many countries
_BINS = 10  # a held-out fraction of numbers is taken of each tenth of them


@dataclass(frozen=True)
class TargetKind:
    """What to do with a column of labels."""

    discover: Callable[[Sequence[Any]], tuple[str, ...]]  # names in a column, sorted
    encode: Callable[[Sequence[Any], tuple[str, ...], tuple[str, ...] | None, Where], np.ndarray]
    strata: Callable[[np.ndarray], np.ndarray]  # int64 [n]: groups of which a fraction is held out alike
    untaught: Callable[[np.ndarray, tuple[str, ...]], list[str]]  # the classes that no example has
    elements: Callable[
        [Sequence[Any]], Sequence[Any]
    ]  # all labels in a column, those known to be the same once
    named: bool = True  # whether there are label names
    exclusive: bool = False  # whether an example has exactly one class, its target


def split_labels(values: Sequence[Any], where: Where) -> list[list[Any]]:
    """The labels of each row: a list as it is, a text cut at every ``|``; nothing between them is no label.

    Raises DataError for what is neither.
    """
    rows = [label_list(value) for value in values]
    wrong = [row for row, listed in enumerate(rows) if listed is None]
    annotated = any(is_annotation(values[row]) for row in wrong)
    _refuse(
        wrong,
        lambda row: f"{values[row]!r:.200} is no list of labels",
        where,
        "a list of names, or names with | between them",
        ANNOTATED_CURE if annotated else "write [] (in a table: nothing) where no class applies",
    )
    return [listed or [] for listed in rows]


def encode_label_sets(
    values: Sequence[Any], labels: tuple[str, ...], stored_names: tuple[str, ...] | None, where: Where
) -> np.ndarray:
    """1 for each class that applies, else 0: float32 [n, classes]. Raises DataError naming rows that fit nothing."""
    flat, sizes = _flat(split_labels(values, where))
    rows = np.repeat(np.arange(len(sizes)), sizes)
    numbers = encode_labels(flat, labels, stored_names, lambda index: where(int(rows[index])))
    targets = np.zeros((len(values), len(labels)), dtype=np.float32)
    targets[rows, numbers] = 1
    return targets


def encode_tags(
    values: Sequence[Any], labels: tuple[str, ...], stored_names: tuple[str, ...] | None, where: Where
) -> np.ndarray:
    """Class numbers of each row's tags: an array [n] of int64 arrays. Raises DataError naming rows and words."""
    flat: Sequence[Any]
    if isinstance(values, Lists):
        flat, sizes = values.flat(), values.lengths
    else:
        flat, sizes = _flat(_tag_lists(values, where))
    ends = np.cumsum(sizes)

    def place(index: int) -> str:
        row = int(np.searchsorted(ends, index, side="right"))
        return f"{where(row)}, tag {index - ends[row] + sizes[row] + 1}"

    numbers = encode_labels(flat, labels, stored_names, place)
    targets = np.empty(len(sizes), dtype=object)
    for row, (start, end) in enumerate(pairwise([0, *ends.tolist()])):
        targets[row] = numbers[start:end]
    return targets


def encode_numbers(
    values: Sequence[Any], labels: tuple[str, ...], stored_names: tuple[str, ...] | None, where: Where
) -> np.ndarray:
    """The numbers themselves, float64 [n], as exact as they are written; DataError naming the rows that hold no finite
    one that float32, in which models compute, can hold as well."""
    numbers = [_finite(value) for value in values]
    wrong = [row for row, number in enumerate(numbers) if number is None]
    commas = any(isinstance(values[row], str) and _DECIMAL_COMMA.fullmatch(values[row]) for row in wrong)
    _refuse(
        wrong,
        lambda row: f"{values[row]!r} is no finite number",
        where,
        "a number, as label_type: number says",
        "write decimals with a point in the whole column: 3.5, not 3,5"
        if commas
        else "correct or remove the row",
    )
    return np.array(numbers, dtype=np.float64)


def rarest_label(targets: np.ndarray) -> np.ndarray:
    """For each row of 0 and 1 [n, classes] its class that the fewest rows have, int64 [n]; -1 for rows without one."""
    by_count = np.argsort(targets.sum(0), kind="stable")
    rarest = by_count[targets[:, by_count].argmax(1)]
    return np.where(targets.any(1), rarest, -1)


def _names_of_sets(values: Sequence[Any]) -> tuple[str, ...]:
    return discover_labels(_of_sets(values))


def _of_sets(values: Sequence[Any]) -> list[Any]:
    return [label for value in values for label in label_list(value) or ()]


def _names_of_tags(values: Sequence[Any]) -> tuple[str, ...]:
    return discover_labels(_of_tags(values))


def _of_tags(values: Sequence[Any]) -> list[Any]:
    items = distinct_items(values)
    if items is not None:  # each once
        return [tag for tag, _, _ in items]
    return [tag for value in values for tag in _tags(value) or ()]


def _tenths(targets: np.ndarray) -> np.ndarray:
    rank = np.argsort(np.argsort(targets, kind="stable"), kind="stable")
    return rank * min(_BINS, max(1, len(targets) // _BINS)) // len(targets)


def _rarest_tag(targets: np.ndarray) -> np.ndarray:
    numbers = np.concatenate([np.empty(0, dtype=np.int64), *targets])
    present = np.zeros((len(targets), 1 + int(numbers.max(initial=0))), dtype=bool)
    present[np.repeat(np.arange(len(targets)), [len(tags) for tags in targets]), numbers] = True
    return rarest_label(present)


def _untaught_sets(targets: np.ndarray, labels: tuple[str, ...]) -> list[str]:
    return untaught_classes(np.nonzero(targets)[1], labels)


def _untaught_tags(targets: np.ndarray, labels: tuple[str, ...]) -> list[str]:
    """A tag (I-MISC) may well be so rare that a sample lacks it."""
    return []


def require_different(targets: np.ndarray, where: str) -> None:
    """DataError where numbers, float [n], are all the same: there is nothing to learn."""
    if len(targets) and targets.min() == targets.max():
        raise DataError(
            f"every training example has the number {targets[0]:g}",
            where=where,
            expected="numbers that differ",
        )


KINDS = {
    CLASS.name: TargetKind(
        discover_labels,
        encode_labels,
        lambda targets: targets,
        untaught_classes,
        lambda values: values,
        exclusive=CLASS.exclusive,
    ),
    CLASSES.name: TargetKind(_names_of_sets, encode_label_sets, rarest_label, _untaught_sets, _of_sets),
    NUMBER.name: TargetKind(
        lambda values: (),
        encode_numbers,
        _tenths,
        lambda targets, labels: [],
        lambda values: (),
        named=NUMBER.named,
    ),
    "tags": TargetKind(_names_of_tags, encode_tags, _rarest_tag, _untaught_tags, _of_tags),
}


def _tags(value: Any) -> list[Any] | None:
    """A list as it is, or one that was printed into a table."""
    if isinstance(value, str):
        return quoted_list(value)
    return list(value) if is_list(value) else None


def _tag_lists(values: Sequence[Any], where: Where) -> list[list[Any]]:
    lists = [_tags(value) for value in values]
    _refuse(
        [row for row, tags in enumerate(lists) if tags is None],
        lambda row: f"the tags are {values[row]!r}",
        where,
        "a list, a tag for each word, as JSON or as Python prints it",
        'write ["B-PER", "O"] into the cell',
    )
    return [tags or [] for tags in lists]


def _flat(lists: Sequence[Sequence[Any]]) -> tuple[list[Any], np.ndarray]:
    """All items end to end, and how many of them each list has."""
    sizes = np.array([len(items) for items in lists], dtype=np.int64)
    return [item for items in lists for item in items], sizes


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str | np.number):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) <= float(np.finfo(np.float32).max) else None


def _refuse(wrong: Sequence[int], what: Callable[[int], str], where: Where, expected: str, cure: str) -> None:
    """DataError with the first of these rows, if there are any."""
    refuse(Problem(what(row), where(row), expected, cure) for row in wrong)
