"""Tables of labels for the tests of data: sets of labels, and what a table of them is read as."""

from ptm.config.spec import DataSpec
from ptm.data.tabular import load_dataset
from tiny.samples import write_csv

TEXT = {"text": "text"}
SETS = [["anger", "joy"], [], ["joy"], ["anger"], ["fear", "joy"], ["anger", "fear"]]
NAMES = ("anger", "fear", "joy")
EXPECTED = [[1, 0, 1], [0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 1], [1, 1, 0]]


def load(source, columns=TEXT, own=None, **keys):
    keys = {"train": None, "eval": "50%", "label_type": "classes", **keys}
    if keys["eval"] == "50%":
        keys |= {"train": source.rpartition("/")[2], "eval": source.rpartition("/")[2]}
        source = source.rpartition("/")[0]
    return load_dataset(DataSpec(source=source, **keys), columns, labels=own)


def table(tmp_path, cells, header="text,label"):
    return f"csv:{write_csv(tmp_path / 'a.csv', [(f't{i}', cell) for i, cell in enumerate(cells)])}"
