"""A data source to two sets of labelled examples: splits, held-out shares, limits, class numbers."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptm.base import seeds
from ptm.config.spec import DataSpec
from ptm.data import hub as data_hub
from ptm.data.image_files import read_imagefolder, require_classes, with_image_files
from ptm.data.labels import unnamed
from ptm.data.tables import READERS, Table, join_tables, naming_keys, no_source
from ptm.data.targets import KINDS, TargetKind
from ptm.errors import ConfigError, DataError, Problem, listing, refuse

# Stream of the draw behind shares and limits. It is not the run's seed: the rows are always the same.
_SELECT = 0x5E1EC7


@dataclass(frozen=True)
class Examples:
    """One split: columns by role (``text``, ``text_pair``, ``image``), class numbers, where a row stands.

    ``targets``: int64 [n] class numbers; float32 [n, classes] of 0 and 1 for any number of classes; float32 [n]
    numbers; an array [n] of int64 arrays for tags; None where the columns hold what is learned, or nobody knows it.
    """

    columns: Mapping[str, Sequence[Any]]
    targets: Any
    where: Callable[[int], str]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def select(self, rows: np.ndarray) -> Examples:
        """Only these rows, in this order; the i-th of them gets id i."""
        columns = {role: [values[row] for row in rows] for role, values in self.columns.items()}
        targets = None if self.targets is None else self.targets[rows]
        return Examples(columns, targets, lambda i: self.where(int(rows[i])))


@dataclass(frozen=True)
class Dataset:
    """The examples of a run. ``train`` is None when only evaluating; ``labels`` is () for tasks without classes;
    ``digests`` are SHA-256 a split."""

    train: Examples | None
    eval: Examples
    labels: tuple[str, ...]
    digests: Mapping[str, str]


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
    fraction = data.held_out
    train_table, eval_table = _read_tables(data, {**columns, "label": data.label}, fraction, train)
    first = train_table or eval_table
    names = data.labels or first.label_names
    better = labels and names and unnamed(labels) and set(names).isdisjoint(labels)  # than 0, 1, …
    if labels and not better:
        names = labels
    names = () if kind is KINDS["number"] else names or kind.discover(first.columns["label"])
    if len(names) == 1:
        raise DataError(
            f"every example has the label {names[0]!r}", where=data.source, expected="at least two classes"
        )
    if kind is KINDS["class"] and data.source.startswith("imagefolder:"):
        eval_split = data.train if fraction is not None else data.eval
        for table, split in ((train_table, data.train), (eval_table, eval_split)):
            if table is not None:
                place = Path(data.source.partition(":")[2], split or "")
                require_classes(place, table.label_names or (), names)
    train_set = _examples(train_table, columns, names, kind) if train_table is not None else None
    eval_set = _examples(eval_table, columns, names, kind)
    digests = {"eval": eval_table.digest} | ({"train": train_table.digest} if train_table is not None else {})
    if fraction is not None:
        assert train_set is not None
        if kind is KINDS["class"]:
            _require_two(train_set, names)
        kept, held_out = hold_out(kind.strata(train_set.targets), fraction)
        train_set, eval_set = train_set.select(kept), train_set.select(held_out)
    if train_set is not None and train:
        train_set = limit(train_set, data.max_train_examples)
        kind.check(train_set.targets, names, f"{data.source} {data.train or ''}".strip())
    eval_set = limit(eval_set, data.max_eval_examples)
    return Dataset(train_set if train else None, eval_set, names, digests)


def singleton_rows(examples: Examples, labels: Sequence[str]) -> list[tuple[str, str]]:
    """(label, where) of classes with one example: often a typo."""
    targets = np.asarray(examples.targets)
    counts = np.bincount(targets, minlength=len(labels))
    rows = [int(np.flatnonzero(targets == number)[0]) for number in np.flatnonzero(counts == 1)]
    return [(labels[targets[row]], examples.where(row)) for row in rows]


def singleton_labels(data: Dataset) -> list[tuple[str, str]]:
    """As :func:`singleton_rows`, of a training set whose examples have one class each; [] for any other."""
    train = data.train
    if train is None or not isinstance(train.targets, np.ndarray) or train.targets.dtype != np.int64:
        return []
    return singleton_rows(train, data.labels) if train.targets.ndim == 1 and data.labels else []


def _require_two(examples: Examples, labels: Sequence[str]) -> None:
    """An example of each class to learn from and one to evaluate on, where a share is held out."""
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


def load_columns(data: DataSpec, columns: Mapping[str, str], *, train: bool = True) -> Dataset:
    """As :func:`load_dataset`, for tasks whose columns hold all there is to learn: no labels, targets None."""
    fraction = data.held_out
    train_table, eval_table = _read_tables(data, columns, fraction, train)
    train_set = None if train_table is None else Examples(train_table.columns, None, train_table.where)
    eval_set = Examples(eval_table.columns, None, eval_table.where)
    digests = {"eval": eval_table.digest} | ({"train": train_table.digest} if train_table is not None else {})
    if fraction is not None:
        assert train_set is not None
        kept, held_out = hold_out(np.zeros(len(train_set), dtype=np.int64), fraction)
        train_set, eval_set = train_set.select(kept), train_set.select(held_out)
    if train_set is not None and train:
        train_set = limit(train_set, data.max_train_examples)
    return Dataset(train_set if train else None, limit(eval_set, data.max_eval_examples), (), digests)


def _read_tables(
    data: DataSpec, columns: Mapping[str, str], fraction: float | None, train: bool
) -> tuple[Table | None, Table]:
    """(train or None, eval); the same table twice where a share of it is held out."""
    train_table = read_split(data.source, data.train, columns) if train or fraction is not None else None
    if fraction is None:
        return train_table, read_split(data.source, require_eval(data), columns)
    assert train_table is not None
    return train_table, train_table


def require_eval(data: DataSpec) -> str:
    """The evaluation split, or ConfigError with those that could be it."""
    if data.eval is None:
        raise ConfigError(
            "data.eval is missing",
            where=data.source,
            expected=_splits_there(data.source),
            cure="name the split to evaluate on, or hold out a fraction of train: eval: 20%",
        )
    return data.eval


def hold_out(strata: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (kept, held out): the share of every class or stratum, at least one each, by a fixed draw."""
    draw = seeds.uniforms(_SELECT, 0, np.arange(len(strata)), 1)[:, 0]
    held = np.zeros(len(strata), dtype=bool)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        held[rows[np.argsort(draw[rows], kind="stable")][: max(1, round(fraction * len(rows)))]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def read_split(source: str, split: str | None, wanted: Mapping[str, str]) -> Table:
    """One split as a table whose columns are named by role. ``wanted``: role → column."""
    with naming_keys(wanted):
        return _read_split(source, split, wanted)


def _read_split(source: str, split: str | None, wanted: Mapping[str, str]) -> Table:
    kind, _, place = source.partition(":")
    if kind in READERS:
        reader, suffixes = READERS[kind]
        files = split_files(Path(place), split, suffixes)
        tables = [reader(path, list(dict.fromkeys(wanted.values()))) for path in files]
        if "image" in wanted:
            pairs = zip(tables, files, strict=True)
            tables = [with_image_files(table, wanted["image"], path.parent) for table, path in pairs]
        table = join_tables(tables)
    elif kind == "imagefolder":
        return read_imagefolder(Path(place), split, _splits_there(source))
    elif kind == "hub":
        table = data_hub.read_dataset(place, split, list(dict.fromkeys(wanted.values())))
    elif kind == "builtin":
        return _read_builtin(place, split)
    else:
        raise ConfigError(f"unknown kind of source {kind!r}", where="data.source")
    return Table(
        {role: table.columns[name] for role, name in wanted.items()},
        table.where,
        table.digest,
        table.label_names,
    )


def split_files(source: Path, split: str | None, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a split: the source itself, ``split``, ``split`` + suffix, a folder's files, or shards."""
    if not source.exists():
        raise no_source(source, "there is no such file or folder")
    if split is None:
        target = source
    elif source.is_file():
        raise ConfigError(
            f"data.source is one file, so there is no split {split!r} in it",
            where=source,
            cure="name the folder as the source and the files as splits, or hold out a fraction: eval: 20%",
        )
    else:
        target = source / split
    if target.is_file():
        return [target]
    if target.is_dir():
        found = sorted(
            path for path in target.iterdir() if path.suffix.lower() in suffixes and _visible(path)
        )
    else:
        found = [path for suffix in suffixes if (path := target.with_name(target.name + suffix)).is_file()][
            :1
        ]
        shards = glob.escape(target.name) + "-*"
        found = found or sorted(
            path for s in suffixes for path in target.parent.glob(shards + s) if _visible(path)
        )
    if not found:
        raise DataError(
            f"no split {split!r}" if split else f"no file that ends in {' or '.join(suffixes)}",
            where=source,
            expected=_splits_there(f":{source}"),
            cure="correct data.train or data.eval",
        )
    return found


def _visible(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _splits_there(source: str) -> str:
    kind, _, place = source.partition(":")
    if kind == "builtin":
        return "train or test"
    path = Path(place)
    if kind == "hub" or not path.is_dir():
        return "the name of a split"
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    return f"one of: {listing(names)}" if names else "something in the folder"


def _examples(
    table: Table, columns: Mapping[str, str], labels: tuple[str, ...], kind: TargetKind
) -> Examples:
    targets = kind.encode(table.columns["label"], labels, table.label_names, table.where)
    return Examples({role: table.columns[role] for role in columns}, targets, table.where)


def limit(examples: Examples, most: int | None) -> Examples:
    """At most so many rows, always the same ones."""
    if most is None or most >= len(examples):
        return examples
    draw = seeds.uniforms(_SELECT, 1, np.arange(len(examples)), 1)[:, 0]
    return examples.select(np.sort(np.argsort(draw, kind="stable")[:most]))


def _read_builtin(name: str, split: str | None) -> Table:
    """scikit-learn's handwritten digits, uint8 [8, 8] each; every fifth one is the test split."""
    if name != "digits":
        raise ConfigError(f"no builtin data {name!r}", where="data.source", expected="builtin:digits")
    if split not in (None, "train", "test"):
        raise ConfigError(f"builtin:digits has no split {split!r}", where="data", expected="train or test")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = (bunch.images * (255 / 16)).round().astype(np.uint8)  # stored as 0 … 16
    rows = np.arange(len(pixels))
    if split is not None:
        rows = rows[rows % 5 == 0] if split == "test" else rows[rows % 5 != 0]
    digest = hashlib.sha256(pixels[rows].tobytes() + bunch.target[rows].tobytes()).hexdigest()
    return Table(
        {"image": list(pixels[rows]), "label": [int(v) for v in bunch.target[rows]]},
        lambda row: f"builtin:digits, image {rows[row]}",
        digest,
        tuple(str(digit) for digit in range(10)),
    )
