from dataclasses import dataclass

import numpy as np
import pytest

from ptm.config.spec import DataSpec
from ptm.data.examples import Examples
from ptm.data.sharing import hold_out
from ptm.data.splits import limit, limit_classes, make_dataset, read_splits
from ptm.errors import ConfigError, DataError


@dataclass(frozen=True)
class Table:
    """Rows 0, 1, … of a split."""

    name: str
    rows: int

    @property
    def digest(self) -> str:
        return f"digest of {self.name}"


def data(**keys):
    return DataSpec(source="builtin:digits", **({"train": "a", "eval": "b"} | keys))


def read(name, split):
    return Table(name, {"a": 10, "b": 4, "one": 1}[name])


def to_examples(table):
    return Examples({"row": list(range(table.rows))}, None, lambda row: f"{table.name} {row}")


def load(*, only_eval=False, **keys):
    spec, train = data(**keys), not only_eval
    return make_dataset(spec, read_splits(spec, read, train=train), ("x", "y"), to_examples, train=train)


def test_both_splits_are_read():
    loaded = load()
    assert (len(loaded.train), len(loaded.eval), loaded.labels) == (10, 4, ("x", "y"))
    assert loaded.digests == {"eval": "digest of b", "train": "digest of a"}


def test_without_train_only_the_evaluation_split_is_read():
    splits = read_splits(data(train="no such split"), read, train=False)
    assert splits.train is None and splits.first == splits.eval == read("b", "eval")
    assert load(only_eval=True).train is None


def test_a_fraction_is_held_out_of_train():
    loaded = load(eval="30%")
    rows = sorted([*loaded.train.columns["row"], *loaded.eval.columns["row"]])
    assert rows == list(range(10)) and len(loaded.eval) == 3
    again = load(eval="30%", only_eval=True)
    assert again.train is None and again.eval.columns["row"] == loaded.eval.columns["row"]
    assert again.digests == {"eval": "digest of a", "train": "digest of a"}


def test_strata_are_held_out_alike_and_training_examples_checked():
    spec = data(eval="50%", max_train_examples=3)
    splits = read_splits(spec, read, train=True)
    checked = []
    loaded = make_dataset(
        spec,
        splits,
        (),
        to_examples,
        train=True,
        strata=lambda examples: np.array(examples.columns["row"]) % 2,
        check_train=checked.append,
    )
    assert sum(row % 2 for row in loaded.eval.columns["row"]) in (2, 3)
    assert checked == [loaded.train] and len(loaded.train) == 3


def test_one_example_cannot_be_shared_out():
    with pytest.raises(DataError, match="one 0: one example cannot be shared out"):
        load(train="one", eval="50%")


def test_15_17_a_share_that_leaves_nothing_to_train_on_is_refused():
    """Two examples of two classes: each class gives its first example to eval."""
    rows = Examples({"text": ["a", "b"]}, None, lambda row: f"row {row}")
    spec = DataSpec(source="csv:a.csv", eval="50%")
    splits = read_splits(spec, lambda name, split: rows, train=True)
    with pytest.raises(DataError, match="2 examples, 2 of them different, cannot be shared out"):
        make_dataset(spec, splits, (), lambda table: table, train=True, strata=lambda _: np.array([0, 1]))


def test_an_evaluation_split_must_be_named():
    with pytest.raises(ConfigError, match=r"data\.eval is missing"):
        load(eval=None)


def test_limits_are_always_the_same_rows():
    examples = to_examples(read("a", "train"))
    assert limit(examples, None) is examples and limit(examples, 10) is examples
    rows = limit(examples, 4).columns["row"]
    assert rows == sorted(rows) == limit(examples, 4).columns["row"] and len(rows) == 4


def test_at_least_one_of_each_stratum_is_held_out():
    remaining, held_out = hold_out(np.array([0] * 9 + [1] * 2), 0.1)
    assert len(held_out) == 2 and {int(row) >= 9 for row in held_out} == {True, False}
    assert sorted([*remaining, *held_out]) == list(range(11))


def test_11_06_a_draw_of_few_examples_of_each_class():
    """A label with fewer keeps all of its own; the draws of fewer are among those of more."""
    targets = np.array([0] * 50 + [2] * 30 + [1] * 3)
    examples = Examples({"text": [str(i) for i in range(83)]}, targets, lambda row: f"row {row}")
    eight, four = (limit_classes(examples, most) for most in (8, 4))
    assert np.bincount(eight.targets).tolist() == [8, 3, 8] and np.bincount(four.targets).tolist() == [
        4,
        3,
        4,
    ]
    assert set(four.columns["text"]) < set(eight.columns["text"])
    assert all(
        targets[int(text)] == target
        for text, target in zip(eight.columns["text"], eight.targets, strict=True)
    )
    assert limit_classes(examples, 8).columns == eight.columns
    assert limit_classes(examples, None) is examples
