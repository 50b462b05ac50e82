from ptm.config.spec import DataSpec
from ptm.data.examples import singleton_labels
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
