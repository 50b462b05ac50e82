"""Label columns to class numbers, and one model's order of labels to another's."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ptm.errors import DataError, ModelError, Problem, listing, refuse

_NUMBER = re.compile(r"\s*-?\d{1,18}\s*")


def choose_labels(
    stated: tuple[str, ...] | None,
    of_model: tuple[str, ...] | None,
    of_source: tuple[str, ...] | None,
    discover: Callable[[], tuple[str, ...]],
) -> tuple[str, ...]:
    """The label names of a data set; the number of a class is its place among them.

    The first that there are of: those that the config states (``data.labels``), those of a trained model, those that
    the source carries, those that occur in its rows. A model that only numbers its outputs gives way to a source that
    names its classes.
    """
    if stated:
        return stated
    numbered = of_model is not None and unnamed(of_model)
    if of_model and not (numbered and of_source and set(of_source).isdisjoint(of_model)):
        return of_model
    return of_source or discover()


def discover_labels(values: Sequence[Any]) -> tuple[str, ...]:
    """The distinct values as names: numbers in numeric order, names in alphabetical order.

    What cannot be a label (nothing, a blank, a fraction) is left out, for :func:`encode_labels` to refuse.
    """
    numbers = {value: _whole(value) for value in _distinct(values)}
    names = {value for value in numbers if isinstance(value, str) and value.strip()}
    if all(numbers[name] is not None for name in names):
        return tuple(str(number) for number in sorted(n for n in set(numbers.values()) if n is not None))
    others = (number for value, number in numbers.items() if not isinstance(value, str))
    return tuple(sorted(names | {str(number) for number in others if number is not None}))


def encode_labels(
    values: Sequence[Any],
    labels: tuple[str, ...],
    stored_names: tuple[str, ...] | None,
    where: Callable[[int], str],
) -> np.ndarray:
    """Class numbers, int64 [n]. A value is a name in ``labels``, or a whole number.

    A number stands for a name of the source (``stored_names``) where it has names, and these are found in
    ``labels`` by name, or, where none of them is there, by position. Without them it is itself the name of a
    class if labels are numbers (1, 2, … stars), else a position in ``labels``. Raises DataError naming the
    rows that fit nothing.
    """
    known = class_numbers(_distinct(values), labels, stored_names)
    classes = [known.get(value) if isinstance(value, Hashable) else None for value in values]
    wrong = [row for row, number in enumerate(classes) if number is None]
    if wrong:
        numbers = "" if _numbers(labels) else _numbers_known(_by_number(labels, stored_names))
        refuse(
            Problem(
                f"label {values[row]!r} is not one of the {len(labels)} labels",
                where(row),
                one_of(labels) + numbers if labels else "a name or a whole number",
                "correct the row, or add the name to data.labels",
            )
            for row in wrong
        )
    return np.array(classes, dtype=np.int64)


def class_numbers(
    values: Iterable[Hashable], labels: tuple[str, ...], stored_names: tuple[str, ...] | None
) -> dict[Hashable, int | None]:
    """What :func:`encode_labels` makes of each of these values; None where it fits nothing."""
    index = {name: number for number, name in enumerate(labels)}
    by_number = _by_number(labels, stored_names)
    known = {value: index.get(value) if isinstance(value, str) else None for value in values}
    for value, class_number in known.items():
        number = _whole(value)
        if class_number is None and number is not None:
            known[value] = by_number.get(number)
    return known


def one_of(labels: Sequence[str]) -> str:
    return f"one of {listing(labels)}"


def _numbers_known(by_number: Mapping[int, int]) -> str:
    """Which numbers may stand for names; those of a source that has more names than these are not all there."""
    if not by_number:
        return ""
    if len(by_number) == max(by_number) + 1:
        return f", or its number from 0 to {max(by_number)}"
    return f", or its number in the data: {listing(sorted(by_number))}"


def _by_number(labels: tuple[str, ...], stored_names: tuple[str, ...] | None) -> dict[int, int]:
    """Numbers in the data to class numbers."""
    index = {name: number for number, name in enumerate(labels)}
    if stored_names is not None and not index.keys().isdisjoint(stored_names):
        return {number: index[name] for number, name in enumerate(stored_names) if name in index}
    if stored_names is None and _numbers(labels):
        plain_last = sorted(index, key=lambda name: name == str(_whole(name)))  # "1" wins over "01"
        return {int(name): index[name] for name in plain_last if _whole(name) is not None}
    return {number: number for number in range(len(labels))}


def _numbers(labels: tuple[str, ...]) -> bool:
    return any(_whole(name) is not None for name in labels)


def check_classes(targets: np.ndarray, labels: tuple[str, ...], where: str) -> None:
    """Every class has an example to learn from, or DataError."""
    counts = np.bincount(targets, minlength=len(labels))
    empty = [name for name, count in zip(labels, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"no training example has the label {', '.join(empty)}",
            where=where,
            expected="at least one example a class",
            cure="add examples or raise data.max_train_examples; of a name that stands in data.labels alone: remove it",
        )


def match_labels(
    model_labels: tuple[str, ...] | None, data_labels: tuple[str, ...], outputs: int, *, where: str
) -> np.ndarray | None:
    """How to bring a trained model's outputs into the data's order: ``logits[:, permutation]``.

    None when nothing is to be done: the same names in the same order, or a model whose outputs have no names,
    or none but numbers (then they are taken to be in the data's order). Raises ModelError when numbers or
    names differ.
    """
    if outputs != len(data_labels):
        raise ModelError(
            f"the model has {outputs} outputs, the data have {len(data_labels)} labels",
            where=where,
            expected=f"outputs for {listing(data_labels)}",
            cure="use a model trained on these labels",
        )
    if not model_labels or model_labels == data_labels:
        return None
    if set(model_labels) != set(data_labels):
        if unnamed(model_labels):
            return None
        raise ModelError(
            f"the model's labels are {listing(model_labels)}, the data's are {listing(data_labels)}",
            where=where,
            expected="the same names, in any order",
            cure="set data.labels (or teacher.labels) to the names that belong together, index by index",
        )
    return np.array([model_labels.index(name) for name in data_labels])


def unnamed(labels: Sequence[str]) -> bool:
    """Whether names say nothing: LABEL_0, LABEL_1, … (transformers' default) or 0, 1, …"""
    return all(name in (f"LABEL_{i}", str(i)) for i, name in enumerate(labels))


def _distinct(values: Sequence[Any]) -> Iterable[Any]:
    """Each value once; lists and objects, which can be no labels, are left out."""
    try:
        return set(values)
    except TypeError:
        return {value for value in values if isinstance(value, Hashable)}


def _whole(value: Any) -> int | None:
    """The number that a value is: 3, 3.0, True, "3"; None for all else."""
    if isinstance(value, (bool, int, np.integer)):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    return None
