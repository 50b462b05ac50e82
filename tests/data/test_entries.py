"""Issue 15: what lies in a folder of data and cannot be read is told, whatever reads the folder; nothing is lost."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from ptm.data import entries
from ptm.data.image_files import read_imagefolder
from ptm.data.sources import read_split
from ptm.data.text_format import TextFormat
from ptm.errors import DataError, PtmError

COLUMNS = {"text": "text", "label": "label"}


def csv_folder(root):
    (root / "train").mkdir()
    for name in "abc":
        (root / "train" / f"{name}.csv").write_text("text,label\na film,good\n")
    return root / "train" / "b.csv", lambda: read_split(f"csv:{root}", "train", COLUMNS, TextFormat())


def csv_pattern(root):
    spoilt, _ = csv_folder(root)
    return spoilt, lambda: read_split(f"csv:{root}", "train/*.csv", COLUMNS, TextFormat())


def csv_shards(root):
    for number in (1, 2):
        (root / f"train-0000{number}-of-00002.csv").write_text("text,label\na film,good\n")
    spoilt = root / "train-00002-of-00002.csv"
    return spoilt, lambda: read_split(f"csv:{root}", "train", COLUMNS, TextFormat())


def text_folder(root):
    for name in ("bad", "good"):
        (root / name).mkdir()
        (root / name / "1.txt").write_text("a film")
        (root / name / "2.txt").write_text("a soup")
    return root / "bad" / "2.txt", lambda: read_split(f"textfolder:{root}", None, COLUMNS, TextFormat())


def image_folder(root):
    for name in ("bad", "good"):
        (root / name).mkdir()
        for number in (1, 2):
            Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(root / name / f"{number}.png")
    return root / "bad" / "2.png", lambda: read_imagefolder(root, None, "")


KINDS = pytest.mark.parametrize("kind", [csv_folder, csv_pattern, csv_shards, text_folder, image_folder])


@KINDS
@pytest.mark.parametrize("how", ["dangling", "circle", "fifo", "link to a fifo"])
def test_15_15_no_file_of_a_folder_is_left_out_in_silence(tmp_path, kind, how):
    root = tmp_path / "data"
    root.mkdir()
    spoilt, read = kind(root)
    whole = len(read())
    kept = spoilt.rename(tmp_path / "kept")
    spoilt.symlink_to(kept)
    assert len(read()) == whole  # a link to a file is that file
    spoilt.unlink()
    target = spoilt if how == "fifo" else tmp_path / "fifo"
    if "fifo" in how:
        os.mkfifo(target)
    if how != "fifo":
        spoilt.symlink_to(spoilt if how == "circle" else target)
    with pytest.raises(DataError) as error:
        read()
    assert [problem.where for problem in error.value.problems] == [str(spoilt)]


@pytest.mark.parametrize("kind", [text_folder, image_folder])
def test_15_15_folders_that_are_not_followed_or_not_readable_are_told(tmp_path, monkeypatch, kind):
    root = tmp_path / "data"
    root.mkdir()
    spoilt, read = kind(root)
    deep = root / "bad" / "more"
    shutil.copytree(spoilt.parent, tmp_path / "more")
    deep.symlink_to(tmp_path / "more")
    with pytest.raises(DataError) as error:
        read()
    assert [problem.where for problem in error.value.problems] == [str(deep)]
    deep.unlink()
    deep.mkdir()
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path) == str(deep):
            raise PermissionError(13, "Permission denied", str(deep))
        return scandir(path)

    monkeypatch.setattr(entries.os, "scandir", refusing)
    with pytest.raises((PtmError, PermissionError), match="ermission"):
        read()
