"""Label columns to class numbers, and one model's order of labels to another's."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ptm.data.arrow import Coded, numbers
from ptm.data.label_cells import ANNOTATED_CURE, is_annotation
from ptm.data.label_spelling import closest_label, map_cure
from ptm.data.label_values import number_of, whole_number
from ptm.errors import ModelError, Problem, listing, refuse

_SHOWN = 80  # characters of a label in a list


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

    Whole numbers are one class however they are written: 3, 3.0, "3", "03". What cannot be a label (nothing, a blank,
    a fraction) is left out, for :func:`encode_labels` to refuse.
    """
    distinct = list(_distinct(values))
    truths = {str(value).casefold() for value in distinct if isinstance(value, str)}
    names = {
        name
        for value in distinct
        if (name := label_name(value)) is not None
        and not (isinstance(value, bool) and str(value).casefold() in truths)
    }
    numbers = {name: number_of(name) for name in names}
    if all(number is not None for number in numbers.values()):
        return tuple(sorted(names, key=lambda name: (numbers[name] or 0.0, name)))
    return tuple(sorted(names))


def label_name(value: Any) -> str | None:
    """What a value is called as a label; None where it cannot be one."""
    number = whole_number(value)
    if number is not None:
        return str(number)
    return value if isinstance(value, str) and value.strip() and not is_annotation(value) else None


def encode_labels(
    values: Sequence[Any],
    labels: tuple[str, ...],
    stored_names: tuple[str, ...] | None,
    where: Callable[[int], str],
) -> np.ndarray:
    """Class numbers, int64 [n]. A value is a name in ``labels``, or a number.

    Numbers are names where labels are numbers (1, 2, … stars), by value: "1.0" is 1. Else a whole number stands for a
    name of the source (``stored_names``) where it has names, and these are found in ``labels`` by name; where none of
    them is there, or the source has none, it is a position in ``labels``, which :func:`positions_used` tells. Raises
    DataError naming the rows that fit nothing.
    """
    known = class_numbers(_distinct(values), labels, stored_names)
    classes = numbers(values, lambda value: known.get(value) if isinstance(value, Hashable) else None)
    wrong = np.flatnonzero(classes < 0).tolist()
    if wrong:
        numbered = "" if _numbers(labels) else _numbers_known(_by_number(labels, stored_names))
        refuse(
            Problem(
                f"label {values[row]!r:.200} is {f'not one of the {len(labels)} labels' if labels else 'no label'}",
                where(row),
                one_of(labels) + numbered if labels else "a name or a whole number",
                _cure(values[row], labels),
            )
            for row in wrong
        )
    return classes


def _cure(value: Any, labels: tuple[str, ...]) -> str:
    if is_annotation(value):
        return ANNOTATED_CURE
    if isinstance(value, list | tuple):
        return "where any number of labels may apply: data.label_type: classes"
    name = label_name(value)
    close = None if name is None else closest_label(name, labels)
    if name is not None and close is not None:
        return f"correct the row, or: {map_cure({name: close})}"
    return "correct the row, or add the name to data.labels"


def class_numbers(
    values: Iterable[Hashable], labels: tuple[str, ...], stored_names: tuple[str, ...] | None
) -> dict[Hashable, int | None]:
    """What :func:`encode_labels` makes of each of these values; None where it fits nothing."""
    find, by_number = _finder(labels), _by_number(labels, stored_names)

    def number_of_class(value: Hashable) -> int | None:
        indexes = stored_names is not None and not isinstance(value, str)
        number = None if indexes else find(value)
        named = isinstance(value, str) and value in (stored_names or ())
        whole = whole_number(value)
        return by_number.get(whole) if number is None and whole is not None and not named else number

    return {value: number_of_class(value) for value in values}


def positions_used(
    values: Iterable[Any], labels: tuple[str, ...], stored_names: tuple[str, ...] | None
) -> list[int]:
    """The numbers among ``values`` that :func:`encode_labels` takes for positions in ``labels``, though these have
    names, sorted."""
    find = _finder(labels)
    if any(find(name) is not None for name in stored_names or ()):
        return []
    named = set(stored_names or ())
    others = {
        value
        for value in values
        if isinstance(value, Hashable)
        and value not in named
        and (find(value) is None or (stored_names is not None and not isinstance(value, str)))
    }
    by_number = _by_number(labels, stored_names)
    return sorted({n for v in others if (n := whole_number(v)) is not None and n in by_number})


def _finder(labels: tuple[str, ...]) -> Callable[[Any], int | None]:
    """What finds a class by its name, or by the value of a name that is a number or a truth value."""
    index = {name: number for number, name in enumerate(labels)}
    plain_last = sorted(index, key=lambda name: name == str(whole_number(name)))  # "1" wins over "01"
    by_value = {value: index[name] for name in plain_last if (value := number_of(name)) is not None}
    truths = {name.casefold(): number for name, number in index.items()}

    def find(value: Any) -> int | None:
        if isinstance(value, str) and value in index:
            return index[value]
        if isinstance(value, bool | np.bool_) and str(bool(value)).casefold() in truths:
            return truths[str(bool(value)).casefold()]
        number = number_of(value)
        return None if number is None else by_value.get(number)

    return find


def one_of(labels: Sequence[str]) -> str:
    return f"one of {listing(map(cut_label, labels))}"


def cut_label(label: str) -> str:
    """A label as it is printed among others: a column of texts may be taken for labels."""
    return label if len(label) <= _SHOWN else f"{label[: _SHOWN - 1]}…"


def _numbers_known(by_number: Mapping[int, int]) -> str:
    """Which numbers may stand for names; those of a source that has more names than these are not all there."""
    if not by_number:
        return ""
    if len(by_number) == max(by_number) + 1:
        return f", or its number from 0 to {max(by_number)}"
    return f", or its number in the data: {listing(sorted(by_number))}"


def _by_number(labels: tuple[str, ...], stored_names: tuple[str, ...] | None) -> dict[int, int]:
    """Numbers in the data to class numbers."""
    find = _finder(labels)
    if stored_names is not None:
        named = {number: find(name) for number, name in enumerate(stored_names)}
        if any(index is not None for index in named.values()):
            return {number: index for number, index in named.items() if index is not None}
    elif _numbers(labels):
        values = {whole_number(name): find(name) for name in labels}
        return {n: index for n, index in values.items() if n is not None and index is not None}
    return {number: number for number in range(len(labels))}


def _numbers(labels: tuple[str, ...]) -> bool:
    return any(number_of(name) is not None for name in labels)


def untaught_classes(targets: np.ndarray, labels: tuple[str, ...]) -> list[str]:
    """The classes that no example has. ``targets``: class numbers, int64 [n], repeats included."""
    counts = np.bincount(targets, minlength=len(labels))
    return [name for name, count in zip(labels, counts, strict=True) if count == 0]


def match_labels(
    model_labels: tuple[str, ...] | None, data_labels: tuple[str, ...], outputs: int, *, where: str
) -> np.ndarray | None:
    """How to bring a trained model's outputs into the data's order: ``logits[:, permutation]``.

    None when nothing is to be done: the same names in the same order, or a model whose outputs have no names,
    or none but numbers (then they are taken to be in the data's order, :func:`outputs_by_position`). Names that are
    numbers are the same by value. Raises ModelError when numbers or names differ.
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
    keys, data_keys = _by_value(model_labels), _by_value(data_labels)
    if set(keys) != set(data_keys):
        if outputs_by_position(model_labels, data_labels):
            return None
        raise ModelError(
            f"the model's labels are {listing(model_labels)}, the data's are {listing(data_labels)}",
            where=where,
            expected="the same names, in any order",
            cure="set data.labels (or teacher.labels) to the names that belong together, index by index",
        )
    permutation = [keys.index(key) for key in data_keys]
    return None if permutation == list(range(outputs)) else np.array(permutation)


def outputs_by_position(model_labels: Sequence[str] | None, data_labels: Sequence[str]) -> bool:
    """Whether nothing but their order says which output is which class: the model's have no names."""
    if not model_labels:
        return True
    if not unnamed(model_labels) or set(_by_value(model_labels)) == set(_by_value(data_labels)):
        return False
    numbered = all(number_of(name) is not None for name in (*model_labels, *data_labels))
    return not numbered  # 0 to 4 and 1 to 5 are other numbers, not other names


def _by_value(labels: Sequence[str]) -> list[float | str]:
    """Numbers where all are numbers, else the names."""
    numbers = [number_of(name) for name in labels]
    known = [number for number in numbers if number is not None]
    return [*known] if len(set(known)) == len(labels) else [*labels]


def unnamed(labels: Sequence[str]) -> bool:
    """Whether names say nothing: LABEL_0, LABEL_1, … (transformers' default) or 0, 1, …"""
    return all(name in (f"LABEL_{i}", str(i)) for i, name in enumerate(labels))


def _distinct(values: Sequence[Any]) -> Iterable[Any]:
    """Each value once; lists and objects, which can be no labels, are left out."""
    if isinstance(values, Coded):
        values = [value for value, _, _ in values.distinct]
    try:
        return set(values)
    except TypeError:
        return {value for value in values if isinstance(value, Hashable)}
