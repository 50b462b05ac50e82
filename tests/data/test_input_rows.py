"""Rows of one file: where each stands, the value of each role, the columns that are carried along."""

import pytest

from ptm.data.input_rows import File, file_rows, gives
from ptm.data.text_format import TextFormat
from ptm.errors import DataError
from tiny.samples import write_parquet

COLUMNS = {"text": "sentence"}


def rows(path, kind, columns=COLUMNS):
    return list(file_rows(File(path, kind, TextFormat()), columns, 2, None, []))


@pytest.mark.parametrize(
    ("kind", "content", "places"),
    [
        ("csv", "sentence,id\na,1\nb,2\nc,3\n", (":2", ":3", ":4")),
        ("tsv", "id\tsentence\n1\ta\n2\tb\n3\tc\n", (":2", ":3", ":4")),
        (
            "json",
            '{"sentence": "a", "id": "1"}\n{"sentence": "b", "id": "2"}\n{"sentence": "c", "id": "3"}\n',
            None,
        ),
    ],
)
def test_a_table_gives_a_row_after_the_other(tmp_path, kind, content, places):
    path = tmp_path / "a"
    path.write_text(content)
    found = rows(path, kind)
    assert [values for _, values, _ in found] == [{"text": "a"}, {"text": "b"}, {"text": "c"}]
    assert [others for _, _, others in found] == [{"id": "1"}, {"id": "2"}, {"id": "3"}]
    if places:
        assert [place for place, _, _ in found] == [f"{path}{end}" for end in places]


def test_parquet_is_read_in_pieces_and_what_is_none_is_told(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", sentence=["a", "b", "c"], id=[1, 2, 3])
    assert rows(path, "parquet")[2] == (f"{path}, row 2", {"text": "c"}, {"id": 3})
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a readable parquet file"):
        rows(path, "parquet")


def test_of_lines_the_blank_ones_are_left_out(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a\n\nb\n")
    assert rows(path, "text") == [(f"{path}:1", {"text": "a"}, {}), (f"{path}:3", {"text": "b"}, {})]


def test_a_kind_says_what_it_gives():
    assert gives("textfolder") == ("text",)
    assert gives("csv") == ()  # any column
