"""Label columns to class numbers, and one model's order of labels to another's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ptm.errors import DataError, ModelError, Problem

_SHOWN = 5  # rows named in a message; the rest are counted


def discover_labels(values: Sequence[Any]) -> tuple[str, ...]:
    """The distinct values as names: numbers in numeric order, names in alphabetical order."""
    distinct = set(values)
    if all(_whole(value) is not None for value in distinct):
        return tuple(str(number) for number in sorted({_whole(value) for value in distinct}))  # type: ignore[type-var]
    return tuple(sorted(str(value) for value in distinct))


def encode_labels(
    values: Sequence[Any],
    labels: tuple[str, ...],
    stored_names: tuple[str, ...] | None,
    where: Callable[[int], str],
) -> np.ndarray:
    """Class numbers, int64 [n]. A value is a name in ``labels``, or a whole number.

    A number counts in the order of the source's own names (``stored_names``) when those are the same names in
    another order, else in the order of ``labels``. Raises DataError naming the rows that fit neither.
    """
    index = {name: number for number, name in enumerate(labels)}
    by_name = stored_names is not None and set(stored_names) == set(labels)
    known: dict[Any, int | None] = {}
    for value in set(values):
        number = _whole(value)
        if isinstance(value, str) and value in index:
            known[value] = index[value]
        elif number is None or isinstance(value, bool):
            known[value] = None
        elif by_name and stored_names is not None:
            known[value] = index[stored_names[number]] if 0 <= number < len(stored_names) else None
        elif str(number) in index:  # the labels are numbers themselves
            known[value] = index[str(number)]
        else:
            known[value] = number if 0 <= number < len(labels) else None
    wrong = [row for row, value in enumerate(values) if known[value] is None]
    if wrong:
        raise DataError(
            [
                Problem(
                    f"label {values[row]!r} is not one of the {len(labels)} labels",
                    where(row),
                    f"one of {', '.join(labels[:20])}{', …' if len(labels) > 20 else ''}, or its number from 0 to "
                    f"{len(labels) - 1}",
                    "correct the row, or add the name to data.labels",
                )
                for row in wrong[:_SHOWN]
            ]
            + ([Problem(f"and {len(wrong) - _SHOWN} more rows like these")] if len(wrong) > _SHOWN else [])
        )
    return np.fromiter((known[value] for value in values), dtype=np.int64, count=len(values))


def check_classes(targets: np.ndarray, labels: tuple[str, ...], where: str) -> None:
    """Every class has an example to learn from, or DataError."""
    counts = np.bincount(targets, minlength=len(labels))
    empty = [name for name, count in zip(labels, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"no training example has the label {', '.join(empty)}",
            where=where,
            expected="at least one example a class",
            cure="add examples, or remove the name from data.labels",
        )


def match_labels(
    model_labels: tuple[str, ...] | None, data_labels: tuple[str, ...], outputs: int, *, where: str
) -> np.ndarray | None:
    """How to bring a trained model's outputs into the data's order: ``logits[:, permutation]``.

    None when nothing is to be done: the same names in the same order, or a model whose outputs have no names
    (then they are taken to be in the data's order). Raises ModelError when numbers or names differ.
    """
    if outputs != len(data_labels):
        raise ModelError(
            f"the model has {outputs} outputs, the data have {len(data_labels)} labels",
            where=where,
            expected=f"outputs for {', '.join(data_labels[:20])}",
            cure="use a model trained on these labels",
        )
    if not model_labels or model_labels == data_labels or unnamed(model_labels):
        return None
    if set(model_labels) != set(data_labels):
        raise ModelError(
            f"the model's labels are {', '.join(model_labels[:20])}, the data's are {', '.join(data_labels[:20])}",
            where=where,
            expected="the same names, in any order",
            cure="set data.labels (or teacher.labels) to the names that belong together, index by index",
        )
    return np.array([model_labels.index(name) for name in data_labels])


def unnamed(labels: Sequence[str]) -> bool:
    """Whether names say nothing: LABEL_0, LABEL_1, … (transformers' default) or 0, 1, …"""
    return all(name in (f"LABEL_{i}", str(i)) for i, name in enumerate(labels))


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and len(value) < 20 and value.strip().lstrip("-").isdecimal():
        return int(value)
    return None
