"""Rows of columns to a data set: texts, pairs, words or images, with labels or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ptm.config.spec import DataSpec
from ptm.data.examples import Dataset, Examples, singleton_rows
from ptm.data.image_files import require_classes
from ptm.data.labels import choose_labels
from ptm.data.sources import read_split
from ptm.data.splits import Splits, make_dataset, read_splits
from ptm.data.tables import Table
from ptm.data.targets import KINDS, TargetKind
from ptm.errors import DataError, Problem, refuse


def load_dataset(
    data: DataSpec,
    columns: Mapping[str, str],
    *,
    labels: tuple[str, ...] | None = None,
    train: bool = True,
    tags: bool = False,
) -> Dataset:
    """Read what ``data`` names. ``columns`` maps roles to column names; ``labels`` are a trained model's own.
    ``tags``: a label is a list of tags; else it is what ``data.label_type`` says.

    Raises ConfigError for a split that is not there, DataError for contents that cannot be used, both before
    any model is loaded.
    """
    kind = KINDS["tags" if tags else data.label_type]
    splits = _read(data, {**columns, "label": data.label}, train=train)
    names: tuple[str, ...] = ()
    if kind.named:
        labels_of_rows = splits.first.columns["label"]
        names = choose_labels(
            data.labels, labels, splits.first.label_names, lambda: kind.discover(labels_of_rows)
        )
    if len(names) == 1:
        raise DataError(
            f"every example has the label {names[0]!r}", where=data.source, expected="at least two classes"
        )
    exclusive = kind.exclusive
    if exclusive and data.source.startswith("imagefolder:"):
        _require_folders(data, splits, names)

    def strata(examples: Examples) -> np.ndarray:
        if exclusive:
            _require_two(examples, names)
        return kind.strata(examples.targets)

    where = f"{data.source} {data.train or ''}".strip()
    return make_dataset(
        data,
        splits,
        names,
        partial(_examples, columns=columns, labels=names, kind=kind),
        train=train,
        strata=strata,
        check_train=lambda examples: kind.check(examples.targets, names, where),
    )


def load_columns(data: DataSpec, columns: Mapping[str, str], *, train: bool = True) -> Dataset:
    """As :func:`load_dataset`, for tasks whose columns hold all there is to learn: no labels, targets None."""
    splits = _read(data, columns, train=train)
    return make_dataset(
        data, splits, (), lambda table: Examples(table.columns, None, table.where), train=train
    )


def _read(data: DataSpec, columns: Mapping[str, str], *, train: bool) -> Splits[Table]:
    return read_splits(data, lambda split: read_split(data.source, split, columns), train=train)


def _examples(
    table: Table, columns: Mapping[str, str], labels: tuple[str, ...], kind: TargetKind
) -> Examples:
    targets = kind.encode(table.columns["label"], labels, table.label_names, table.where)
    return Examples({role: table.columns[role] for role in columns}, targets, table.where)


def _require_folders(data: DataSpec, splits: Splits[Table], labels: tuple[str, ...]) -> None:
    """DataError for folders of images that are no class."""
    names = {"train": data.train, "eval": data.train if splits.held_out is not None else data.eval}
    for table, split in ((splits.train, names["train"]), (splits.eval, names["eval"])):
        if table is not None:
            folder = Path(data.source.partition(":")[2], split or "")
            require_classes(folder, table.label_names or (), labels)


def _require_two(examples: Examples, labels: Sequence[str]) -> None:
    """An example of each class to learn from and one to evaluate on, where a fraction is held out."""
    alone = (
        Problem(
            f"this is the only example with the label {label!r}, so none can be held out",
            where,
            "at least two examples a class",
            "correct the row if the label is a typo; else add examples or remove it",
        )
        for label, where in singleton_rows(examples, labels)
    )
    refuse(alone, noun="labels")
