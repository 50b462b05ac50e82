"""Which files a split is."""

import pytest

from ptm.config.spec import DataSpec
from ptm.data.sources import split_files
from ptm.data.tabular import load_dataset
from ptm.errors import ConfigError, DataError
from tiny.samples import write_csv

TEXT = {"text": "text"}


def load(source, columns=TEXT, own=None, only_eval=False, **keys):
    """What ``keys`` of ``data:`` name; ``own`` are the labels of a trained model."""
    data = DataSpec(source=source, **{"train": "train", "eval": "eval", **keys})
    return load_dataset(data, columns, labels=own, train=not only_eval)


@pytest.fixture
def folder(tmp_path):
    """Two CSV files of eight rows, names a, b, c in turn."""
    for name in ("train", "eval"):
        write_csv(tmp_path / f"{name}.csv", [(f"{name} {i}", "abc"[i % 3]) for i in range(8)])
    return tmp_path


@pytest.mark.parametrize(
    ("split", "found"),
    [
        ("train.csv", ["train.csv"]),
        ("train", ["train.csv"]),
        ("plain", ["plain"]),
        ("part", ["part/b.csv", "part/c.CSV"]),
        ("part/b", ["part/b.csv"]),
        ("shard", ["shard-0.csv", "shard-1.csv"]),
        ("part/sh", ["part/sh-0.csv"]),
        ("odd[1]", ["odd[1]-0.csv"]),
        (None, ["odd[1]-0.csv", "shard-0.csv", "shard-1.csv", "train.csv"]),
    ],
)
def test_which_files_a_split_is(tmp_path, split, found):
    (tmp_path / "part").mkdir()
    names = ["train.csv", "plain", "shard-1.csv", "shard-0.csv", "shard-2.tsv", "odd[1]-0.csv", "odd1-0.csv"]
    for name in [*names[:-1], ".hidden.csv", "._train.csv"]:
        (tmp_path / name).touch()
    for name in ["b.csv", "c.CSV", "sh-0.csv", "notes.md", ".x.csv"]:
        (tmp_path / "part" / name).touch()
    if split == "part":
        (tmp_path / "part" / "sh-0.csv").unlink()
    files = split_files(tmp_path, split, (".csv",))
    assert [path.relative_to(tmp_path).as_posix() for path in files] == found


def test_a_source_that_is_one_file(folder):
    data = load(f"csv:{folder / 'train.csv'}", train=None, eval="25%")
    assert len(data.train) + len(data.eval) == 8
    with pytest.raises(ConfigError, match=r"one file, so there is no split 'eval'"):
        load(f"csv:{folder / 'train.csv'}", train=None)


def test_a_split_that_is_not_there_lists_what_is(folder):
    (folder / ".cache").mkdir()
    with pytest.raises(DataError) as caught:
        load(f"csv:{folder}", eval="valid")
    (problem,) = caught.value.problems
    assert problem.what == "no split 'valid'"
    assert problem.where == str(folder)
    assert problem.expected == "one of: eval.csv, train.csv"
    with pytest.raises(DataError, match="there is no such file or folder"):
        load(f"csv:{folder / 'x'}")
    with pytest.raises(DataError, match=r"no file that ends in \.jsonl or"):
        load(f"json:{folder}", train=None, eval="20%")


def test_shards_are_one_split(tmp_path):
    for i in range(3):
        write_csv(tmp_path / f"train-{i}.csv", [(f"{i} {j}", str(j)) for j in range(2)])
    data = load(f"csv:{tmp_path}", eval="50%")
    rows = [*data.train.columns["text"], *data.eval.columns["text"]]
    assert sorted(rows) == [f"{i} {j}" for i in range(3) for j in range(2)]
