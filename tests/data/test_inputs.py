"""What ptm predict is given: pieces of files, read as strictly as training data and never whole."""

import io
import json
import os
import sys
from itertools import count

import numpy as np
import pytest
from PIL import Image

from ptm.data import input_lines
from ptm.data.inputs import Inputs, Typed, each_file, image_inputs, text_inputs
from ptm.data.sources import read_split
from ptm.data.tables import READERS
from ptm.errors import ConfigError, DataError
from tiny.samples import write_parquet

TEXT = {"text": "sentence"}
MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"


@pytest.fixture
def make(tmp_path):
    """``make(name, content)``: the path of a file with this content, text or bytes."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def places(pieces):
    return [piece.where(i) for piece in pieces for i in range(len(piece))]


def test_a_text_file_gives_its_lines_without_the_blank_ones(make):
    path = make("a.txt", MARK + "one\r\n\n  \ntwo words \nthree")
    pieces = list(text_inputs([path], TEXT, piece=2))
    assert [piece.columns["text"] for piece in pieces] == [["one", "two words "], ["three"]]
    assert places(pieces) == [f"{path}:1", f"{path}:4", f"{path}:5"]
    assert all(piece.targets is None for piece in pieces)


def test_standard_input_is_a_text_a_line_and_stays_open(monkeypatch):
    stream = io.BytesIO("gut\nböse\n".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
    (piece,) = text_inputs(["-"], TEXT)
    assert piece.columns["text"] == ["gut", "böse"]
    assert piece.where(1) == "standard input:2"
    assert not stream.closed


def test_texts_of_the_command_line_stand_in_the_place_of_a_file(make):
    first, second = text_inputs([Typed(("a\nb", "c")), make("a.txt", "d")], TEXT)
    assert first.columns["text"] == ["a\nb", "c"]
    assert first.where(1) == "--text 2"
    assert second.columns["text"] == ["d"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_tables_give_the_columns_of_the_roles_and_carry_the_others(make, kind, tmp_path):
    rows = [{"id": str(i), "sentence": f"text {i}", "other": f"pair {i}"} for i in range(5)]
    lines = {
        "csv": "\n".join(["id,sentence,other", *(",".join(row.values()) for row in rows)]),
        "tsv": "\n".join(["id\tsentence\tother", *("\t".join(row.values()) for row in rows)]),
        "jsonl": "\n".join(map(json.dumps, rows)),
        "json": json.dumps(rows, indent=1),
    }
    if kind == "parquet":
        path = write_parquet(tmp_path / "a.parquet", **{k: [row[k] for row in rows] for k in rows[0]})
    else:
        path = make(f"a.{kind}", lines[kind])
    pieces = list(text_inputs([path], {"text": "sentence", "text_pair": "other"}, piece=2))
    assert [len(piece) for piece in pieces] == [2, 2, 1]
    assert [dict(piece.columns) for piece in pieces][1] == {
        "text": ["text 2", "text 3"],
        "text_pair": ["pair 2", "pair 3"],
    }
    assert isinstance(pieces[1], Inputs)
    assert pieces[1].carried == {"id": ["2", "3"]}
    table = READERS[{"jsonl": "json"}.get(kind, kind)][0](path, ["sentence"])
    assert places(pieces) == [table.where(i) for i in range(5)]


BAD = [
    ("a.csv", "sentence,b\na,b\nc\n"),
    ("a.csv", 'sentence,b\n"two\nlines",x\n"a" b,c\n'),
    ("a.csv", "sentense,b\na,b\n"),
    ("a.csv", "sentence\n"),
    ("a.csv", ""),
    ("a.csv", " \n\n"),
    ("a.csv", MARK),
    ("a.csv", b"sentence,b\na,b\n\xe4,b\n"),
    ("a.csv", "sentence\na\n".encode("utf-16")),
    ("a.csv", "sentence\na\nc\0c\n"),
    ("a.tsv", "sentence\tb\na\tb\tc\n"),
    ("a.jsonl", '{"sentence": "a"}\n{"sentence": "b"\n'),
    ("a.jsonl", '{"sentence": "a"}\n\n["b"]\n'),
    ("a.jsonl", '{"sentence": "\\ud800"}\n'),
    ("a.jsonl", '{"text": "a"}\n'),
    ("a.json", '\n [{"sentence": "a"}, 3]'),
    ("a.json", "[{]"),
    ("a.json", "[]"),
    ("a.parquet", b"no parquet"),
]


@pytest.mark.parametrize(("name", "content"), BAD)
def test_what_training_refuses_is_refused_in_the_same_words(make, name, content):
    path = make(name, content)
    kind = next(kind for kind, (_, suffixes) in READERS.items() if path.suffix in suffixes)
    with pytest.raises(DataError) as expected:
        read_split(f"{kind}:{path}", None, TEXT)
    with pytest.raises(DataError) as caught:
        list(text_inputs([path], TEXT, piece=1))
    assert str(caught.value) == str(expected.value)


def test_a_table_that_is_good_at_first_is_used_up_to_its_bad_row(make):
    pieces = text_inputs([make("a.csv", "sentence\na\nb\nc,d\n")], TEXT, piece=1)
    assert [next(pieces).columns["text"], next(pieces).columns["text"]] == [["a"], ["b"]]
    with pytest.raises(DataError, match=r"a\.csv:4"):
        next(pieces)


class Endless(io.RawIOBase):
    """A stream of rows that counts how much of it was read."""

    def __init__(self):
        self.rows = count()
        self.taken = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        line = f"row {next(self.rows)}\n".encode()
        buffer[: len(line)] = line
        self.taken += len(line)
        return len(line)


def test_a_stream_is_read_as_it_is_used(monkeypatch):
    stream = Endless()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(stream)))
    pieces = text_inputs(["-"], TEXT, piece=100)
    assert next(pieces).columns["text"][99] == "row 99"
    assert stream.taken < 100_000
    assert next(pieces).columns["text"][0] == "row 100"


def test_a_line_without_end_is_refused(make, monkeypatch):
    monkeypatch.setattr(input_lines, "MAX_FIELD_CHARS", 50)
    with pytest.raises(DataError, match=r"a\.txt:2: a line of more than 50 characters"):
        list(text_inputs([make("a.txt", "ok\n" + "x" * 51)], TEXT))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.csv", ("there is no such file", "--text")),
        (".", ("a folder", ".parquet")),
        ("a.docx", ("no known kind of file", ".csv")),
    ],
)
def test_all_sources_are_looked_at_before_the_first_is_read(make, tmp_path, name, words):
    good = make("a.txt", "fine")
    make("a.docx", "")
    with pytest.raises(DataError) as caught:
        text_inputs([good, tmp_path / name], TEXT)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("source", ["-", "a.txt", Typed(("a",))])
def test_pairs_are_not_read_from_lines(make, source):
    make("a.txt", "a")
    source = make("a.txt", "a") if source == "a.txt" else source
    with pytest.raises(ConfigError, match="a line holds one text, this run reads one and two"):
        list(text_inputs([source], {"text": "one", "text_pair": "two"}))


def test_images_are_found_in_folders_and_sorted(tmp_path):
    for name in ("b.png", "sub/a.jpg", ".hidden.png", ".git/c.png", "notes.txt", "sub/z.JPEG"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(path, "PNG")
    odd = tmp_path / "picture"
    odd.touch()
    pieces = list(image_inputs([odd, tmp_path / "in"], piece=3))
    found = [path for piece in pieces for path in piece.columns["image"]]
    assert found == [odd, *(tmp_path / "in" / name for name in ("b.png", "sub/a.jpg", "sub/z.JPEG"))]
    assert [len(piece) for piece in pieces] == [3, 1]
    assert places(pieces) == [str(path) for path in found]


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("gone", DataError, "there is no such file or folder"),
        ("empty", DataError, "no image in this folder"),
        ("-", ConfigError, "reads images, not texts"),
        (Typed(("a",)), ConfigError, "reads images, not texts"),
    ],
)
def test_sources_without_images_are_refused(tmp_path, source, error, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=words):
        image_inputs([tmp_path / source if source in ("gone", "empty") else source])


@pytest.mark.parametrize("kind", ["masks", "voc", "coco", "labelme", "yolo", "imagefolder"])
def test_11_01_images_are_named_as_a_training_names_them_and_masks_are_none(tmp_path, kind):
    for name in ("train/images/a.png", "train/masks/a.png", "JPEGImages/b.jpg", "SegmentationClass/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "SegmentationObject").mkdir()
    (tmp_path / "SegmentationObject" / "b.png").write_bytes(b"")
    (tmp_path / "data.yaml").write_text("names: [a]")
    source = f"{kind}:{tmp_path}" + ("/data.yaml" if kind == "yolo" else "")
    (piece,) = image_inputs([source])
    expected = [tmp_path / "JPEGImages" / "b.jpg", tmp_path / "train" / "images" / "a.png"]
    assert piece.columns["image"] == expected


def test_an_empty_standard_input_is_told_what_it_takes(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(DataError, match=r"standard input: it is empty\n  expected: a text a line$"):
        list(text_inputs(["-"], TEXT))


@pytest.mark.parametrize(
    "read", [lambda path: text_inputs([path], {"text": "text"}), lambda path: image_inputs([path])]
)
def test_15_17_a_pipe_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(DataError, match="is a named pipe"):
        read(tmp_path / "a.txt")


def test_15_17_a_table_of_very_many_columns_is_read_in_time_that_grows_with_their_number(make):
    """Counting each name in all of them takes an hour here."""
    names = [f"c{n}" for n in range(200_000)]
    path = make("wide.csv", ",".join(["text", *names]) + "\n" + ",".join(["a", *(["x"] * len(names))]) + "\n")
    (piece,) = text_inputs([path], {"text": "text"})
    assert piece.columns["text"] == ["a"] and len(piece.carried) == 200_000


def test_11_05_a_pattern_and_a_list_are_the_files_that_they_name(make, tmp_path):
    files = [make(f"part-{i}.csv", f"sentence\nrow {i}\n") for i in range(3)]
    for source in (f"csv:{tmp_path}/part-*.csv", f"csv:{files[0]} + {files[1]} + {tmp_path}/*-2.csv"):
        assert each_file([source]) == [f"csv:{path}" for path in files]
    assert each_file([tmp_path / "part-?.csv", "-"]) == [*files, "-"]
    pieces = list(text_inputs(each_file([f"csv:{tmp_path}/*.csv"]), TEXT))
    assert [piece.columns["text"] for piece in pieces] == [["row 0"], ["row 1"], ["row 2"]]
    with pytest.raises(DataError, match="no file matches this pattern"):
        each_file([tmp_path / "q-*.csv"])
