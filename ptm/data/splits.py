"""What all loaders do with the splits of a source: read them, hold a fraction out, leave all but a few examples out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np

from ptm.base import seeds
from ptm.config.spec import DataSpec
from ptm.data.content import equal_groups, leak_warning
from ptm.data.examples import Dataset, Examples
from ptm.data.sources import splits_there
from ptm.errors import ConfigError, DataError, Gathered, Problem

# Stream of the draw behind held-out fractions and limits. It is not the run's seed: the rows are always the same.
_SELECT = 0x5E1EC7


class Digested(Protocol):
    """The content of a split, as it was read."""

    @property
    def digest(self) -> str:
        """SHA-256 of it."""
        ...


TableT = TypeVar("TableT", bound=Digested)


@dataclass(frozen=True, kw_only=True)
class Splits(Generic[TableT]):
    """The splits of a run as they were read. Where a fraction of train is held out, ``eval`` is the same as ``train``.

    ``train`` is None where only an evaluation is asked for.
    """

    train: TableT | None
    eval: TableT
    held_out: float | None

    @property
    def first(self) -> TableT:
        """The one whose labels count, where nobody names them."""
        return self.eval if self.train is None else self.train

    @property
    def tables(self) -> tuple[TableT, ...]:
        """What was read, each once."""
        return (self.eval,) if self.train is None or self.train is self.eval else (self.train, self.eval)

    def with_tables(self, tables: Sequence[TableT]) -> Splits[TableT]:
        """The same splits with these in the place of :attr:`tables`."""
        return replace(self, train=None if self.train is None else tables[0], eval=tables[-1])


def read_splits(data: DataSpec, read: Callable[[str | None], TableT], *, train: bool) -> Splits[TableT]:
    """What ``read`` makes of the splits that ``data`` names. Raises ConfigError where it names none to evaluate on."""
    fraction = data.held_out
    if fraction is not None:
        table = read(data.train)
        return Splits(train=table, eval=table, held_out=fraction)
    gathered, tables = Gathered(), dict[str, TableT]()
    for name, requested in (("train", train), ("eval", True)):
        with gathered.of():
            if requested:
                tables[name] = read(data.train if name == "train" else _eval_split(data, train=train))
    gathered.refuse()
    return Splits(train=tables.get("train"), eval=tables["eval"], held_out=None)


def make_dataset(
    data: DataSpec,
    splits: Splits[TableT],
    labels: tuple[str, ...],
    to_examples: Callable[[TableT], Examples],
    *,
    train: bool,
    strata: Callable[[Examples], np.ndarray] | None = None,
    check_train: Callable[[Examples], None] | None = None,
) -> Dataset:
    """The examples of both splits, those that are held out taken from train, at most as many as ``data`` allows.

    ``strata``: int64 [n], groups of which the fraction is held out alike (default: all are one). ``check_train`` raises
    a DataError where the training examples cannot be learned from. Without ``train``, there are only those to evaluate
    on.
    """
    gathered, sets = Gathered(), dict[int, Examples]()
    for table in splits.tables:
        with gathered.of():
            sets[id(table)] = to_examples(table)
    gathered.refuse()
    train_set, eval_set = sets.get(id(splits.train)), sets[id(splits.eval)]
    warnings: list[Problem] = []
    if splits.held_out is not None:
        assert train_set is not None
        strata_of = np.zeros(len(train_set), dtype=np.int64) if strata is None else strata(train_set)
        groups = equal_groups(train_set.columns)
        if len(groups) > 1 and not groups.any():
            groups = np.arange(len(groups))
            warnings.append(Problem("all examples are equal, so those that are held out are trained on"))
        remaining, held_out = hold_out(strata_of, splits.held_out, groups)
        if not len(remaining):
            raise DataError("one example cannot be shared out", where=train_set.where(0), cure="add examples")
        train_set, eval_set = train_set.select(remaining), train_set.select(held_out)
    elif train_set is not None and train and splits.train is not splits.eval:
        warnings += leak_warning(train_set.columns, eval_set.columns, eval_set.where)
    if train_set is not None and train:
        train_set = limit(train_set, data.max_train_examples)
        if check_train is not None:
            check_train(train_set)
    digests = {"eval": splits.eval.digest} | ({} if splits.train is None else {"train": splits.train.digest})
    eval_set = limit(eval_set, data.max_eval_examples)
    return Dataset(train_set if train else None, eval_set, labels, digests, tuple(warnings))


def hold_out(
    strata: np.ndarray, fraction: float, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (remaining, held out): the fraction of every stratum, at least one each, by a fixed draw.

    ``groups``: int64 [n], the first row that a row is equal to (default: all differ). A group stays on one side, in
    the stratum of its first row; a stratum of one group of several rows remains.
    """
    groups = np.arange(len(strata)) if groups is None else groups
    draw = seeds.uniforms(_SELECT, 0, np.arange(len(strata)), 1)[:, 0]
    sizes = np.bincount(groups, minlength=len(strata))
    firsts = np.flatnonzero(sizes)
    chosen = np.zeros(len(strata), dtype=bool)
    for stratum in np.unique(strata[firsts]):
        of_stratum = firsts[strata[firsts] == stratum]
        in_order = of_stratum[np.argsort(draw[of_stratum], kind="stable")]
        counts = sizes[in_order]
        most = max(1, round(fraction * counts.sum()))
        # As many groups as come nearest to the share, but never the last one of several rows.
        number = max(1, int(np.argmin(np.abs(np.cumsum(counts) - most))) + 1)
        if number == len(counts) and counts.max() > 1:
            number -= 1
        chosen[in_order[:number]] = True
    is_held_out = chosen[groups]
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def limit(examples: Examples, most: int | None) -> Examples:
    """At most so many rows, always the same ones."""
    if most is None or most >= len(examples):
        return examples
    draw = seeds.uniforms(_SELECT, 1, np.arange(len(examples)), 1)[:, 0]
    return examples.select(np.sort(np.argsort(draw, kind="stable")[:most]))


def _eval_split(data: DataSpec, *, train: bool) -> str | None:
    """The evaluation split, or ConfigError with those that could be it; None, the source whole, where nothing but an
    evaluation is asked for and no split is named."""
    if data.eval is None and (train or data.train is not None):
        raise ConfigError(
            "data.eval is missing",
            where=data.source,
            expected=splits_there(data.source),
            cure="name the split to evaluate on, or hold out a fraction of train: eval: 20%",
        )
    return data.eval
