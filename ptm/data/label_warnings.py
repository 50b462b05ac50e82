"""What is said of the labels of a data set before anything is trained: nothing of it stops a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ptm.config.data_section import DataSpec
from ptm.data.arrow import distinct
from ptm.data.arrow_values import distinct_items
from ptm.data.columns import yaml_text
from ptm.data.label_spelling import Spelling, map_cure, spelling_warnings
from ptm.data.labels import label_name, positions_used, unnamed
from ptm.data.tables import Table
from ptm.data.targets import TargetKind
from ptm.errors import DataError, Problem, listing

_RARE = 0.35  # a class of two that has a smaller share of the rows is the one that is looked for


def found_labels(tables: Sequence[Table], labels: Sequence[str], kind: TargetKind) -> list[Problem]:
    """Labels that look alike, are one number in several spellings, or spell a missing value."""
    rows: Counter[str] = Counter()
    raw: dict[str, Counter[str]] = {}
    first: dict[str, str] = {}
    for table in {table.digest: table for table in reversed(tables)}.values():  # train, if both are one file
        stored = table.label_names or ()
        for label, count, row in _labels(table.columns["label"], kind):
            name = stored[label] if type(label) is int and 0 <= label < len(stored) else label_name(label)
            if name is None:
                continue
            rows[name] += count
            raw.setdefault(name, Counter())[str(label)] += count
            if name not in first:
                first[name] = table.where(row)
    spellings = {name: Spelling(name, count, first[name]) for name, count in rows.items()}
    return [*spelling_warnings(labels, spellings), *_numbers_in_several_forms(raw, first)]


def _labels(column: Sequence[Any], kind: TargetKind) -> Iterator[tuple[Any, int, int]]:
    """(label, rows or words that have it, the first row): what is known to be the same once."""
    items = None if kind.exclusive else distinct_items(column)
    if items is None:
        cells = distinct(column)
        yield from ((label, count, row) for cell, count, row in cells for label in kind.elements([cell]))
    else:
        yield from items


def _numbers_in_several_forms(raw: dict[str, Counter[str]], first: dict[str, str]) -> list[Problem]:
    return [
        Problem(
            f"the number {name} is written as "
            f"{listing(f'{form!r} ({_rows(count)})' for form, count in forms.most_common())}: it is one class",
            first[name],
        )
        for name, forms in raw.items()
        if len(forms) > 1 and len({form.strip() for form in forms if form not in ("True", "False")}) > 1
    ]


def _rows(count: int) -> str:
    return f"{count} row{'s' if count > 1 else ''}"


def matched_by_position(
    tables: Sequence[Table],
    labels: tuple[str, ...],
    kind: TargetKind,
    data: DataSpec,
    model_labels: tuple[str, ...] | None,
) -> list[Problem]:
    """Numbers that are taken for positions in the labels, said. Raises DataError where both sides have names of their
    own: those of the source, and those of a trained model."""
    warnings = []
    for table in tables:
        found = [label for label, _, _ in _labels(table.columns["label"], kind)]
        numbers = positions_used(found, labels, table.label_names)
        if not numbers:
            continue
        stored = table.label_names
        pairs = {(stored[n] if stored and n < len(stored) else str(n)): labels[n] for n in numbers}
        pair_list = listing(f"{here} = {there}" for here, there in pairs.items())
        if stored and not unnamed(stored) and data.labels is None and model_labels is not None:
            raise DataError(
                f"the labels of the data are {listing(stored)}, those of the model {listing(labels)}",
                where=table.where(0),
                expected="the same names, in any order",
                cure=f"say which are the same: {map_cure(pairs)}, in the right pairs",
            )
        warnings.append(
            Problem(
                f"labels are matched by position: {pair_list}",
                table.where(0),
                cure="if that is wrong, name them in this order in data.labels, or by data.label_map",
            )
        )
    return warnings


def untaught_warning(untaught: Sequence[str], labels: Sequence[str], limited: bool) -> list[Problem]:
    """For classes that no training example has."""
    if not untaught:
        return []
    cure = (
        "raise data.max_train_examples"
        if limited
        else "add examples, or remove names that stand in data.labels alone"
    )
    names = f"label {untaught[0]}" if len(untaught) == 1 else f"labels {listing(untaught)}"
    return [Problem(f"no training example has the {names}, of {len(labels)}; it is never learned", cure=cure)]


def rare_positive(targets: np.ndarray, labels: Sequence[str], data: DataSpec) -> list[Problem]:
    """Of two classes, the rare one is mostly what is looked for, and ``f1`` is that of one of them."""
    if len(labels) != 2 or data.positive_label is not None or not len(targets):
        return []
    shares = np.bincount(targets, minlength=2) / len(targets)
    rare = int(shares.argmin())
    if rare == 1 or shares[rare] >= _RARE:
        return []
    return [
        Problem(
            f"f1 is that of {labels[1]!r}, and {labels[0]!r} is the rare label ({shares[0]:.1%} of the examples)",
            cure=f"if that is what is looked for: data.positive_label: {yaml_text(labels[0])}",
        )
    ]
