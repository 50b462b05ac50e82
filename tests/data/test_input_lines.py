"""Lines of files that are to be predicted: what cannot be read is refused, or left out where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptm.data.input_lines import LeftOut
from ptm.data.inputs import image_inputs, text_inputs
from ptm.errors import DataError

GOOD = ("one", "two", "three")


def json_line(text: str, **others: object) -> bytes:
    return json.dumps({"text": text, **others}).encode()


# Files of three good rows with bad ones between them, the lines of these.
FILES = {
    "in.csv": (
        [b"text,n", b"one,1", b"a,b,c", b"two,2", b"alone", b"\x93quoted,3", b"nu\0l,4", b"three,5"],
        [3, 5, 6, 7],
    ),
    "in.tsv": (
        [b"text\tn", b"one\t1", b"a\tb\tc", b"two\t2", b"alone", b"\xff\t1", b"three\t3"],
        [3, 5, 6],
    ),
    "in.jsonl": (
        [
            json_line("one"),
            b"{no json",
            b'"a text"',
            json_line("two"),
            b'{"txt": "x"}',
            b'{"text": "\\ud800"}',
            b'{"text": "\xe9"}',
            json_line("three"),
        ],
        [2, 3, 5, 6, 7],
    ),
    "in.txt": ([b"one", b"\xe9t\xe9", b"two", b"nu\0l", b"three"], [2, 4]),
}


@pytest.mark.parametrize("name", FILES)
def test_10_31_rows_that_cannot_be_read_are_left_out_when_asked(name: str, tmp_path: Path) -> None:
    lines, bad = FILES[name]
    path = tmp_path / name
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(DataError, match=rf"{name}:{bad[0]}"):
        list(text_inputs([path], {"text": "text"}))
    told: list[str] = []
    (rows,) = text_inputs([path], {"text": "text"}, None, LeftOut(told.append))
    assert tuple(rows.columns["text"]) == GOOD
    assert [int(line.split(":")[2]) for line in told] == bad
    assert all(line.startswith(f"left out: {path}:") for line in told)


def test_10_31_rows_that_name_no_image_are_left_out_when_asked(tmp_path: Path) -> None:
    table = tmp_path / "in.csv"
    table.write_text("image,n\na.png,1\n,2\nb.png,3,4\nb.png,5\n")
    with pytest.raises(DataError):
        list(image_inputs([table]))
    told: list[str] = []
    (rows,) = image_inputs([table], "image", LeftOut(told.append))
    assert rows.columns["image"] == [tmp_path / "a.png", tmp_path / "b.png"]
    # The rows are read before the images are looked at.
    assert sorted(line.split(":")[2] for line in told) == ["3", "4"]
