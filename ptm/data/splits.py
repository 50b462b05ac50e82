"""What all loaders do with the splits of a source: read them, hold a fraction out, leave all but a few examples out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, Protocol, TypeVar

import numpy as np

from ptm.base import seeds
from ptm.config.spec import DataSpec
from ptm.data.arrow import distinct, numbers
from ptm.data.attributes import with_slices
from ptm.data.content import equal_groups, group_warning, leak_warning
from ptm.data.examples import Dataset, Examples
from ptm.data.partial import read_parts
from ptm.data.sharing import SELECT, joined_groups, share_out, share_problem
from ptm.data.sources import splits_there
from ptm.errors import ConfigError, DataError, Gathered, Problem, refuse


class Digested(Protocol):
    """The content of a split, as it was read."""

    @property
    def digest(self) -> str:
        """SHA-256 of it."""
        ...


TableT = TypeVar("TableT", bound=Digested)


@dataclass(frozen=True, kw_only=True)
class Splits(Generic[TableT]):
    """The splits of a run as they were read. What is held out of train, by its fraction, is the same as ``train``.

    ``train`` is None where only an evaluation is asked for, ``test`` where there is no third split.
    """

    train: TableT | None
    eval: TableT
    test: TableT | None = None
    held_out: Mapping[str, float] = field(default_factory=dict)
    # What lies in their files and cannot be read; make_dataset refuses it, if nobody did before.
    unread: tuple[Problem, ...] = ()

    @property
    def first(self) -> TableT:
        """The one whose labels count, where nobody names them."""
        return self.eval if self.train is None else self.train

    @property
    def tables(self) -> tuple[TableT, ...]:
        """What was read, each once."""
        read = {id(table): table for table in (self.train, self.eval, self.test) if table is not None}
        return tuple(read.values())

    def with_tables(self, tables: Sequence[TableT]) -> Splits[TableT]:
        """The same splits with these in the place of :attr:`tables`."""
        new = dict(zip(map(id, self.tables), tables, strict=True))
        train, test = (None if table is None else new[id(table)] for table in (self.train, self.test))
        return replace(self, train=train, eval=new[id(self.eval)], test=test)


def read_splits(data: DataSpec, read: Callable[[str | None, str], TableT], *, train: bool) -> Splits[TableT]:
    """What ``read(name, split)`` makes of the splits that ``data`` names, ``split`` being train, eval or test. Raises
    ConfigError where it names none to evaluate on."""
    fractions = data.held_out
    names = {"train": data.train, "eval": data.eval, "test": data.test}
    readers: dict[str, Callable[[], TableT]] = {}
    for split, name in names.items():
        if split in fractions or (split == "train" and not (train or fractions)):
            continue
        if split == "test" and name is None:
            continue
        readers[split] = partial(_read_named, data, read, name, split, train=train)
    tables, unread = read_parts(readers)
    train_table = tables.get("train")
    if train_table is not None:
        tables |= dict.fromkeys(fractions, train_table)
    return Splits(
        train=train_table, eval=tables["eval"], test=tables.get("test"), held_out=fractions, unread=unread
    )


def _read_named(
    data: DataSpec, read: Callable[[str | None, str], TableT], name: str | None, split: str, *, train: bool
) -> TableT:
    return read(_eval_split(data, train=train) if split == "eval" else name, split)


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
    """The examples of all splits, those that are held out taken from train, at most as many as ``data`` allows.

    ``strata``: int64 [n], groups of which a fraction is held out alike (default: all are one); what ``data.stratify``
    says goes before. ``check_train`` raises a DataError where the training examples cannot be learned from. Without
    ``train``, there are only those to evaluate on.
    """
    gathered, sets = Gathered(), dict[int, Examples]()
    if splits.unread:
        with gathered.of():
            raise DataError(splits.unread)
    for table in splits.tables:
        with gathered.of():
            sets[id(table)] = to_examples(table)
    gathered.refuse()
    chosen = {
        split: sets[id(table)]
        for split, table in (("train", splits.train), ("eval", splits.eval), ("test", splits.test))
        if table is not None
    }
    warnings: list[Problem] = []
    if splits.held_out:
        shares, warnings = _shared_out(data, chosen["train"], splits.held_out, strata)
        chosen |= shares
    if train:
        warnings += _leaks(data, chosen, splits)
        chosen["train"] = limit(limit_classes(chosen["train"], data.per_class), data.max_train_examples)
        if check_train is not None:
            check_train(chosen["train"])
    tables = {"eval": splits.eval, "train": splits.train, "test": splits.test}
    test = chosen.get("test")
    return Dataset(
        chosen["train"] if train else None,
        with_slices(data, limit(chosen["eval"], data.max_eval_examples), "eval"),
        labels,
        {split: table.digest for split, table in tables.items() if table is not None},
        tuple(warnings),
        test=None if test is None else with_slices(data, limit(test, data.max_test_examples), "test"),
    )


def _shared_out(
    data: DataSpec,
    examples: Examples,
    fractions: Mapping[str, float],
    strata: Callable[[Examples], np.ndarray] | None,
) -> tuple[dict[str, Examples], list[Problem]]:
    """The examples of train and of each split that is held out of them, and what is to be said of these."""
    warnings: list[Problem] = []
    groups = equal_groups(examples.columns, data.page)
    if len(groups) > 1 and not groups.any():
        groups = np.arange(len(groups))
        warnings.append(Problem("all examples are equal, so those that are held out are trained on"))
    if data.split_by is not None:
        groups = joined_groups(groups, examples.attributes[data.split_by])
    sides, there = len(fractions) + 1, len(np.unique(groups))
    if there < sides:
        raise _too_few(data, examples, there, sides)
    rows_of = _strata(data, examples, sides, strata)
    if data.fold is not None:
        number, folds = data.fold
        last, others = share_out(
            rows_of, [1 / folds] * (folds - 1), groups, by_counts=data.split_by is not None
        )
        held = [*others, last][number - 1]
        remaining, shares = np.setdiff1d(np.arange(len(examples)), held), [held]
    else:
        remaining, shares = share_out(
            rows_of, [*fractions.values()], groups, by_counts=data.split_by is not None
        )
    if not len(remaining):
        raise _too_few(data, examples, there, sides)
    chosen = {"train": examples.select(remaining)}
    for (split, fraction), rows in zip(fractions.items(), shares, strict=True):
        if not len(rows):
            raise _too_few(data, examples, there, sides)
        chosen[split] = examples.select(rows)
        if data.split_by is not None:
            problem = share_problem(split, len(rows), len(examples), fraction, data.split_by)
            warnings += [problem] if problem else []
    return chosen, warnings


def _too_few(data: DataSpec, examples: Examples, groups: int, sides: int) -> DataError:
    if data.split_by is not None:
        what = f"{len(examples)} examples in {groups} group{'s' if groups > 1 else ''} by {data.split_by!r}"
        return DataError(
            f"{what} cannot be shared out",
            where="data.split_by",
            expected=f"at least {sides} groups: they are held together, also where their examples are equal",
            cure="name another column, or splits that are files of their own",
        )
    counted = (
        "one example" if len(examples) == 1 else f"{len(examples)} examples, {groups} of them different,"
    )
    return DataError(f"{counted} cannot be shared out", where=examples.where(0), cure="add examples")


def _strata(
    data: DataSpec, examples: Examples, sides: int, strata: Callable[[Examples], np.ndarray] | None
) -> np.ndarray:
    """int64 [n]: of what a fraction is taken alike. DataError for a value that is too rare to stand on all sides."""
    if isinstance(data.stratify, str):
        column = examples.attributes[data.stratify]
        values = sorted({value for value, _, _ in distinct(column)})
        number = {value: place for place, value in enumerate(values)}
        rows_of = numbers(column, number.get)
        counts = np.bincount(rows_of)
        refuse(
            (
                Problem(
                    f"{data.stratify} is {values[value]!r} in {counts[value]} of the examples, so that it cannot "
                    f"stand on {sides} sides",
                    examples.where(int(np.flatnonzero(rows_of == value)[0])),
                    f"at least {sides} examples of each value",
                    "correct the value, or stratify by another column",
                )
                for value in np.flatnonzero(counts < sides)
            ),
            noun="values",
        )
        return rows_of
    if data.stratify is False or strata is None:
        return np.zeros(len(examples), dtype=np.int64)
    return strata(examples)


def _leaks(data: DataSpec, chosen: Mapping[str, Examples], splits: Splits[TableT]) -> list[Problem]:
    """What stands in two splits, of which one at least was named: there nothing moves."""
    tables = {"train": splits.train, "eval": splits.eval, "test": splits.test}
    warnings: list[Problem] = []
    for first, second in (("train", "eval"), ("train", "test"), ("eval", "test")):
        if second not in chosen or {first, second} <= {"train", *splits.held_out}:
            continue
        if tables[first] is tables[second]:
            continue
        pair = (chosen[first], chosen[second])
        warnings += leak_warning(pair[0].columns, pair[1].columns, pair[1].where, (first, second))
        warnings += group_warning(data.split_by, *pair, (first, second))
    return warnings


def limit(examples: Examples, most: int | None) -> Examples:
    """At most so many rows, always the same ones."""
    if most is None or most >= len(examples):
        return examples
    draw = seeds.uniforms(SELECT, 1, np.arange(len(examples)), 1)[:, 0]
    return examples.select(np.sort(np.argsort(draw, kind="stable")[:most]))


def limit_classes(examples: Examples, most: int | None) -> Examples:
    """At most so many rows of each class, always the same ones: those of fewer are among those of more."""
    if most is None or examples.targets is None:
        return examples
    draw = seeds.uniforms(SELECT, 2, np.arange(len(examples)), 1)[:, 0]
    order = np.lexsort((draw, examples.targets))  # by class, and within it by the draw
    of_order = examples.targets[order]
    places = np.arange(len(order)) - np.searchsorted(of_order, of_order)
    return examples.select(np.sort(order[places < most]))


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
