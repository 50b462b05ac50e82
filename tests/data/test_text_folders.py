"""A text a file: the label is the folder's name, or in the file's."""

import gzip

import pytest

from ptm.data import text_folders
from ptm.data.inputs import text_inputs
from ptm.data.sources import read_split
from ptm.data.text_format import TextFormat
from ptm.errors import DataError

ROLES = {"text": "text", "label": "label"}


@pytest.fixture
def imdb(tmp_path):
    """The layout of aclImdb: splits, folders of classes, one of texts without a label, lists beside them."""
    root = tmp_path / "aclImdb"
    for split in ("train", "test"):
        for name in ("neg", "pos"):
            (root / split / name).mkdir(parents=True)
            for n in range(3):
                text = f"{name} review\nof {split} {n}\n"
                (root / split / name / f"{n}_{n + 1 if name == 'neg' else 10 - n}.txt").write_text(text)
        (root / split / "urls_pos.txt").write_text("http://…")
    (root / "train" / "unsup").mkdir()
    (root / "train" / "unsup" / "0_0.txt").write_text("who knows")
    (root / "train" / "pos" / ".DS_Store").write_text("x")
    return root


def read(root, split=None, label="label", **how):
    return read_split(f"textfolder:{root}", split, {"text": "text", "label": label}, TextFormat(**how))


def test_11_06_a_folder_a_class(imdb):
    table = read(imdb, "train")
    assert table.columns["text"][:2] == ["neg review\nof train 0", "neg review\nof train 1"]
    assert table.columns["label"] == ["neg"] * 3 + ["pos"] * 3
    assert table.where(3) == str(imdb / "train/pos/0_10.txt")
    said = "2 texts are left out, which have no label: beside the folders, in unsup/"
    assert [note.what for note in table.notes] == [said]
    before = table.digest
    (imdb / "train/neg/0_1.txt").write_text("neg review\nof train 1\n")
    changed = read(imdb, "train").digest
    (imdb / "train/neg/0_1.txt").rename(imdb / "train/neg/0_2.txt")
    assert len({before, changed, read(imdb, "train").digest}) == 3
    (inputs,) = text_inputs([f"textfolder:{imdb}/test/pos"], {"text": "text"})
    assert inputs.columns["text"] == [f"pos review\nof test {n}" for n in range(3)]


def test_11_06_the_label_is_in_the_name_of_the_file(imdb):
    assert read(imdb, "test/pos", r"/\d+_(\d+)\.txt$").columns["label"] == ["10", "9", "8"]
    assert read(imdb, "test/pos", "[a-z]+(?=/[0-9])").columns["label"] == ["pos"] * 3


def test_11_06_a_class_a_file_with_a_text_a_line(tmp_path):
    (tmp_path / "pos.txt").write_text("good\n\nfine\n")
    (tmp_path / "neg.txt.gz").write_bytes(gzip.compress(b"bad\n"))
    table = read(tmp_path)
    assert table.columns == {"text": ["bad", "good", "fine"], "label": ["neg", "pos", "pos"]}
    assert table.where(2) == f"{tmp_path}/pos.txt:3"
    assert "the names of the 2 files are the labels" in table.notes[0].what


def test_11_06_what_is_no_such_folder_is_refused(imdb, tmp_path):
    with pytest.raises(DataError, match="holds splits") as caught:
        read(imdb)
    assert caught.value.problems[0].cure == "--set data.train=train --set data.eval=test"
    with pytest.raises(DataError, match="there is no such folder"):
        read(imdb, "valid")
    (imdb / "train/pos/0_10.txt").write_bytes(b"\xe4")
    (imdb / "train/neg/1_2.txt").write_text(" \n")
    with pytest.raises(DataError) as caught:
        read(imdb, "train")
    places = [(problem.where, problem.what) for problem in caught.value.problems]
    assert places == [
        (str(imdb / "train/neg/1_2.txt"), "the file is empty"),
        (f"{imdb}/train/pos/0_10.txt:1", "byte 0xe4 is not UTF-8"),
    ]
    with pytest.raises(DataError, match=r"the expression 'x\(\[0-9\]\)' finds nothing in its name"):
        read(imdb, "test", "x([0-9])")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.txt").write_text("x")
    with pytest.raises(DataError, match="1 text and no folder that names a class"):
        read(tmp_path / "one")


def test_files_without_a_label_are_told_apart_in_one_pass(tmp_path):
    """They were put into a set anew for each file: 40,000 texts took six minutes."""

    class Counted(list):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return super().__iter__()

    files = [tmp_path / "a" / f"{n}.txt" for n in range(50)]
    labelled = Counted(files[1:])
    (note,) = text_folders._notes(files, labelled, tmp_path)
    assert labelled.passes == 1 and "1" in note.what
