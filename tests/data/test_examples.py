import time

import numpy as np

from ptm.config.spec import DataSpec
from ptm.data.examples import Examples, rare_labels, singleton_labels
from ptm.data.tabular import load_dataset
from tiny.samples import write_csv

TEXT = {"text": "text"}


def load(source, columns=TEXT, own=None, only_eval=False, **keys):
    """What ``keys`` of ``data:`` name; ``own`` are the labels of a trained model."""
    data = DataSpec(source=source, **{"train": "train", "eval": "eval", **keys})
    return load_dataset(data, columns, labels=own, train=not only_eval)


def test_a_label_with_one_training_example_is_told(tmp_path):
    path = write_csv(tmp_path / "a.csv", [("1", "a"), ("2", "a"), ("3", "b")])
    (tmp_path / "b.csv").write_bytes(path.read_bytes())
    data = load(f"csv:{tmp_path}", train="a", eval="b")
    assert singleton_labels(data) == [("b", f"{path}:4")]


def test_15_15_a_hundred_thousand_classes_are_counted_in_one_go():
    count = 100_000
    examples = Examples({}, np.arange(count)[::-1].copy(), lambda row: f"a.csv:{row}")
    begin = time.process_time()
    rare = rare_labels(examples, [str(number) for number in range(count)], 2)
    assert time.process_time() - begin < 5
    assert rare[0] == ("0", 1, f"a.csv:{count - 1}") and len(rare) == count
