"""Rows of columns to a data set: texts, pairs, words or images, with labels or without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ptm.config.spec import DataSpec
from ptm.config.split_rules import has_columns
from ptm.data.arrow import Texts, distinct, mapped
from ptm.data.arrow_lists import Lists
from ptm.data.attributes import attribute_roles, column_attributes, path_attributes
from ptm.data.examples import Dataset, Examples, rare_labels
from ptm.data.image_files import (
    alike_inside,
    beside_folders,
    leftovers,
    not_used,
    read_images,
    require_classes,
)
from ptm.data.label_columns import PlainLabels, label_roles, plain_labels
from ptm.data.label_warnings import found_labels, matched_by_position, rare_positive, untaught_warning
from ptm.data.labels import choose_labels
from ptm.data.sources import read_split, refuse_shared_files
from ptm.data.splits import Splits, make_dataset, read_splits
from ptm.data.tables import Table
from ptm.data.targets import KINDS, TargetKind, require_different
from ptm.data.text_format import TextFormat
from ptm.data.texts import column_problems, plain_words
from ptm.errors import DataError, Gathered, Problem, listing, refuse


def load_dataset(
    data: DataSpec,
    columns: Mapping[str, str],
    *,
    labels: tuple[str, ...] | None = None,
    train: bool = True,
    tags: bool = False,
    unlabelled: bool = False,
) -> Dataset:
    """Read what ``data`` names. ``columns`` maps roles to column names; ``labels`` are a trained model's own.
    ``tags``: a label is a list of tags; else it is what ``data.label_type`` says. ``unlabelled``: the training split
    may be without labels; then its targets are None.

    Raises ConfigError for a split that is not there, DataError for contents that cannot be used, both before
    any model is loaded.
    """
    kind_name = "tags" if tags else data.label_type
    kind = KINDS[kind_name]
    read = _read(data, {**columns, **label_roles(data)}, train=train, unlabelled=unlabelled)
    if read.unread:
        _refuse_rows(read, data, columns, kind_name, labels)
    # A training split without labels says nothing of them.
    bare = read.train if read.train is not None and not _has_labels(read.train, unlabelled) else None
    read = read if bare is None else replace(read, train=None)
    plain = plain_labels(read.tables, data, kind_name, labels)
    splits = read.with_tables(plain.tables)
    names: tuple[str, ...] = ()
    if kind.named:
        first = splits.first
        names = choose_labels(
            data.labels, labels, _unique(first.label_names), lambda: kind.discover(first.columns["label"])
        )
    if len(names) == 1:
        raise DataError(
            f"every example has the label {names[0]!r}",
            where=data.source,
            expected="at least two classes",
            cure="add examples of another class; of answers of yes and no, name both",
        )
    exclusive = kind.exclusive
    require_positive(data, names, kind_name)
    if exclusive and data.source.startswith("imagefolder:"):
        _require_folders(data, splits, names)
    warnings = [
        *_notes(read),
        *_kept_quotes(data, read),
        *plain.warnings,
        *_warnings(data, plain, splits, names, kind, labels),
    ]
    if data.source.startswith("imagefolder:"):
        warnings += _left_out(data)
    elif "image" in columns and has_columns(data.source) and Path(data.source.partition(":")[2]).is_dir():
        skipped = leftovers(Path(data.source.partition(":")[2]))
        warnings += [] if skipped is None else [skipped]
    where = f"{data.source} {data.train or ''}".strip()

    def strata(examples: Examples) -> np.ndarray:
        if examples.targets is None:  # nothing is known of them
            return np.zeros(len(examples), dtype=np.int64)
        if exclusive:
            _require_sides(examples, names, list(splits.held_out), grouped=data.split_by is not None)
        return kind.strata(examples.targets)

    def check_train(examples: Examples) -> None:
        if examples.targets is None:
            return
        if not kind.named:
            require_different(examples.targets, where)
        untaught = kind.untaught(examples.targets, names)
        if names and len(untaught) > len(names) - (2 if exclusive else 1):
            labels_in_train = [name for name in names if name not in untaught]
            raise DataError(
                f"every training example has the label {labels_in_train[0]!r}"
                if labels_in_train
                else "no training example has a label",
                where=where,
                expected="at least two classes" if exclusive else "at least one label",
                cure="add examples, or raise data.max_train_examples",
            )
        warnings.extend(untaught_warning(untaught, names, data.max_train_examples is not None))
        if exclusive:
            warnings.extend(rare_positive(examples.targets, names, data))

    dataset = make_dataset(
        data,
        splits if bare is None else replace(splits, train=_without_labels(bare)),
        names,
        partial(_examples, data=data, columns=columns, labels=names, kind=kind),
        train=train,
        strata=strata,
        check_train=check_train,
    )
    return replace(dataset, warnings=(*warnings, *dataset.warnings))


def _refuse_rows(
    read: Splits[Table],
    data: DataSpec,
    columns: Mapping[str, str],
    kind_name: str,
    model_labels: tuple[str, ...] | None,
) -> None:
    """DataError with what cannot be read, and what is wrong with the rows that can. Nothing is said of the labels as a
    whole: a row that cannot be read may have the one that the others lack."""
    kind, gathered = KINDS[kind_name], Gathered()
    with gathered.of():
        raise DataError(read.unread)
    labelled = [table for table in read.tables if _has_labels(table, unlabelled=False)]
    bare = [table for table in read.tables if not _has_labels(table, unlabelled=False)]
    tables = [*bare, *map(_without_labels, labelled)]
    with gathered.of():
        tables = [*bare, *plain_labels(labelled, data, kind_name, model_labels).tables]
    found = [
        name
        for table in tables
        for name in table.label_names or kind.discover(table.columns.get("label", ()))
    ]
    names = choose_labels(data.labels, model_labels, tuple(dict.fromkeys(found)), tuple) if kind.named else ()
    for table in tables:
        with gathered.of():
            _examples(table, data, columns, names, kind)
    gathered.refuse()


def _notes(splits: Splits[Table]) -> list[Problem]:
    """What readers have to say."""
    return list(dict.fromkeys(note for table in splits.tables for note in table.notes))


def _kept_quotes(data: DataSpec, splits: Splits[Table]) -> list[Problem]:
    """For a tsv in which quotes seem to protect fields, though they are read as ordinary characters."""
    if data.quoting is not None or not data.source.startswith("tsv:"):
        return []
    columns = [column for table in splits.tables for column in table.columns.values()]
    quoted = [
        (cell, rows)
        for column in columns
        for cell, rows, _ in distinct(
            [column[r] for r in column.between('"')] if isinstance(column, Texts) else column
        )
        if len(cell) > 3 and cell[0] == cell[-1] == '"' and '""' in cell[1:-1]
    ]
    if not quoted:
        return []
    count, first = sum(rows for _, rows in quoted), quoted[0][0]
    what = f"{count} fields stand in quotes, with quotes in them doubled, as in {first[:60]!r}"
    return [Problem(what, data.source, cure="if quotes protect fields here: data.quoting: standard")]


def _unique(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """``data.label_map`` may make one name of two."""
    return None if names is None else tuple(dict.fromkeys(names))


def _warnings(
    data: DataSpec,
    plain: PlainLabels,
    splits: Splits[Table],
    names: tuple[str, ...],
    kind: TargetKind,
    model_labels: tuple[str, ...] | None,
) -> list[Problem]:
    """What is to be said of the labels, as they were read and as they are used."""
    if not kind.named:
        return []
    warnings = matched_by_position(splits.tables, names, kind, data, model_labels)
    if data.labels is None and model_labels is None:
        warnings += found_labels(splits.tables, names, kind)
    if splits.train is not None:
        warnings += plain.unused
    return warnings


def require_positive(data: DataSpec, labels: Sequence[str], kind: str) -> None:
    """DataError for a ``data.positive_label`` that is none of two labels."""
    positive = data.positive_label
    if positive is None or (kind == "class" and len(labels) == 2 and positive in labels):
        return
    what = (
        f"{positive!r} is not one of the labels"
        if positive not in labels
        else f"there are {len(labels)} labels"
    )
    raise DataError(what, where="data.positive_label", expected=f"one of two labels, here: {listing(labels)}")


def load_columns(
    data: DataSpec,
    columns: Mapping[str, str],
    *,
    train: bool = True,
    beside: Mapping[str, str] = MappingProxyType({}),
    targets: Callable[[Table], tuple[Any, tuple[Problem, ...]]] | None = None,
) -> Dataset:
    """As :func:`load_dataset`, for tasks without labels. Their columns hold all there is to learn, and targets are
    None; or ``targets`` makes them of a table with the columns ``beside``, and says what is to be said of them."""
    splits = _read(data, {**columns, **beside}, train=train)
    said: list[Problem] = []

    def to_examples(table: Table) -> Examples:
        inputs = {role: table.columns[role] for role in columns}
        gathered, learned = Gathered(), None
        with gathered.of():
            refuse(column_problems(inputs, table.where))
        if targets is not None:
            with gathered.of():
                learned, notes = targets(table)
                said.extend(notes)
        gathered.refuse()
        return Examples(inputs, learned, table.where, attributes=_attributes(data, table))

    dataset = make_dataset(data, splits, (), to_examples, train=train)
    return replace(dataset, warnings=(*_notes(splits), *said, *dataset.warnings))


def _read(
    data: DataSpec, columns: Mapping[str, str], *, train: bool, unlabelled: bool = False
) -> Splits[Table]:
    written = TextFormat.of(data)
    refuse_shared_files(data)
    in_table = has_columns(data.source)

    def read(name: str | None, split: str) -> Table:
        may_lack = unlabelled and train and split == "train" and not data.held_out
        kind, _, place = data.source.partition(":")
        if may_lack and name is not None and kind == "imagefolder":
            images = read_images(Path(place), name)
            if images is not None:
                return images
        more = attribute_roles(data, split, train=train) if in_table else {}
        try:
            return read_split(data.source, name, {**columns, **more}, written)
        except DataError as error:
            missing = {f"no column {column!r}" for column in label_roles(data).values()}
            if not may_lack or not {p.what for p in error.problems} <= missing:
                raise
        inputs = {role: column for role, column in columns.items() if role not in label_roles(data)}
        return read_split(data.source, name, {**inputs, **more}, written)

    return read_splits(data, read, train=train)


def _attributes(data: DataSpec, table: Table) -> Mapping[str, Sequence[str]]:
    """What ``data.split_by``, ``stratify`` and ``slices`` need, as far as the table was read with it."""
    if not has_columns(data.source):
        return path_attributes(data, table.columns["image"]) if data.source.startswith("imagefolder:") else {}
    roles = {
        role: name
        for split in ("train", "eval")
        for role, name in attribute_roles(data, split, train=True).items()
    }
    return column_attributes(table.columns, roles, table.where)


def _has_labels(table: Table, unlabelled: bool) -> bool:
    """Whether there are columns of labels; where none is needed, with a label in them."""
    roles = [role for role in table.columns if role == "label" or role.startswith("labels_from ")]
    if not unlabelled:
        return bool(roles)
    return any(cell not in (None, "") for role in roles for cell in table.columns[role])


def _without_labels(table: Table) -> Table:
    columns = {
        role: cells
        for role, cells in table.columns.items()
        if role != "label" and not role.startswith("labels_from ")
    }
    return replace(table, columns=columns)


def _examples(
    table: Table, data: DataSpec, columns: Mapping[str, str], labels: tuple[str, ...], kind: TargetKind
) -> Examples:
    """Raises DataError with what is wrong with texts and labels."""
    inputs = {role: table.columns[role] for role in columns}
    if "words" in inputs and not isinstance(inputs["words"], Lists):
        inputs["words"] = mapped(inputs["words"], plain_words)
    gathered = Gathered()
    with gathered.of():
        refuse(column_problems(inputs, table.where))
    targets = None
    with gathered.of():
        if "label" in table.columns:
            targets = kind.encode(table.columns["label"], labels, table.label_names, table.where)
    attributes: Mapping[str, Sequence[str]] = {}
    with gathered.of():
        attributes = _attributes(data, table)
    gathered.refuse()
    return Examples(inputs, targets, table.where, attributes=attributes)


def _left_out(data: DataSpec) -> list[Problem]:
    """Of folders of images: classes that may be splits, and files that are no examples."""
    root = Path(data.source.partition(":")[2])
    named = (data.train, *(name for split, name in _names(data).items() if split not in data.held_out))
    folders = [root / name for name in dict.fromkeys(named) if name] or [root]
    of_classes = (alike_inside, beside_folders) if data.label is None else ()
    problems: list[Problem | None] = []
    for folder in folders:
        problems += [*(check(folder) for check in of_classes), *not_used(folder)]
    return [problem for problem in problems if problem is not None]


def _names(data: DataSpec) -> dict[str, str | None]:
    return {"train": data.train, "eval": data.eval, "test": data.test}


def _require_folders(data: DataSpec, splits: Splits[Table], labels: tuple[str, ...]) -> None:
    """DataError for folders of images that are no class."""
    names = _names(data) | dict.fromkeys(splits.held_out, data.train)
    for split, table in (("train", splits.train), ("eval", splits.eval), ("test", splits.test)):
        if table is not None:
            folder = Path(data.source.partition(":")[2], names[split] or "")
            require_classes(folder, table.label_names or (), labels)


def _require_sides(
    examples: Examples, labels: Sequence[str], held_out: Sequence[str], *, grouped: bool
) -> None:
    """An example of each class to learn from and one for each split that is held out. Of groups that stay together
    nobody can say how many a class needs, but one example is too few."""
    sides = 2 if grouped else len(held_out) + 1
    few = (
        Problem(
            f"this is the only example with the label {label!r}, so none can be held out"
            if count == 1
            else f"there are {count} examples with the label {label!r}, too few to stand in train and in "
            f"{' and '.join(held_out)}",
            where,
            f"at least {('two', 'three')[sides - 2]} examples a class",
            "correct the row if the label is a typo; else add examples or remove it",
        )
        for label, count, where in rare_labels(examples, labels, sides)
    )
    refuse(few, noun="labels")
