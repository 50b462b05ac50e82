"""Examples that nobody has labelled, behind those that somebody has: a teacher has an answer to both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptm.config.spec import DataSpec
from ptm.data.arrow import join
from ptm.data.examples import Dataset, Examples
from ptm.data.image_files import read_images
from ptm.data.partial import read_parts
from ptm.data.sources import read_split
from ptm.data.tables import Table
from ptm.data.text_format import TextFormat
from ptm.data.texts import column_problems
from ptm.errors import DataError, Gathered, refuse

UNKNOWN = -1  # the class number of an example without a label


def with_unlabelled(load: Callable[[], Dataset], data: DataSpec, columns: Mapping[str, str]) -> Dataset:
    """What ``load`` gives, with the examples of ``data.unlabelled`` behind those to train on, their targets UNKNOWN.

    ``columns``: role → column of what is read. Raises ConfigError for a split that is not there, DataError for contents
    that cannot be used, of both.
    """
    if data.unlabelled is None:
        return load()
    gathered = Gathered()
    with gathered.of():
        dataset = load()
    with gathered.of():
        table = _read(data, data.unlabelled, columns)
    gathered.refuse()
    if dataset.train is None:
        return dataset
    inputs = {role: table.columns[role] for role in columns}
    train, known = dataset.train, len(dataset.train)
    if train.targets is None:
        raise DataError(
            "no training example has a label",
            where="data.unlabelled",
            cure="name these texts or images in data.train, with distill.ce_weight: 0",
        )
    joined = Examples(
        {role: join([train.columns[role], values]) for role, values in inputs.items()},
        np.concatenate([train.targets, np.full(len(table), UNKNOWN)]),
        lambda row: train.where(row) if row < known else table.where(row - known),
    )
    of_labelled = dataset.digests["train"]
    both = hashlib.sha256(f"{of_labelled}/{table.digest}".encode()).hexdigest()
    digests = {**dataset.digests, "train": both, "train_labelled": of_labelled}
    return replace(dataset, train=joined, digests=digests)


def labelled(examples: Examples) -> Examples:
    """Those that somebody has labelled."""
    targets = examples.targets
    if not isinstance(targets, np.ndarray) or targets.dtype != np.int64 or targets.ndim != 1:
        return examples
    known = np.flatnonzero(targets != UNKNOWN)
    return examples if len(known) == len(targets) else examples.select(known)


def _read(data: DataSpec, name: str, columns: Mapping[str, str]) -> Table:
    """Raises DataError with what cannot be read, and what is wrong with the rest."""
    tables, unread = read_parts({name: lambda: _table(data, name, columns)})
    gathered = Gathered()
    if unread:
        with gathered.of():
            raise DataError(unread)
    with gathered.of():
        refuse(column_problems({role: tables[name].columns[role] for role in columns}, tables[name].where))
    gathered.refuse()
    return tables[name]


def _table(data: DataSpec, name: str, columns: Mapping[str, str]) -> Table:
    kind, _, place = data.source.partition(":")
    if kind == "imagefolder":
        images = read_images(Path(place), name)
        if images is None:
            raise DataError(
                "holds no images",
                where=Path(place) / name,
                expected="images in one folder, no folder a class",
            )
        return images
    return read_split(data.source, name, dict(columns), TextFormat.of(data))
