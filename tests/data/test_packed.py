"""Files of gzip: what is in them, and never more than the machine can hold."""

import gzip

import pytest

from ptm.data import packed
from ptm.data.inputs import text_inputs
from ptm.data.packed import suffix_of
from ptm.data.sources import read_split
from ptm.errors import DataError

ROWS = "text,label\n" + "".join(f"a film {n},{n % 2}\n" for n in range(40))
COLUMNS = {"text": "text", "label": "label"}


def test_11_03_the_same_rows_packed_and_not(tmp_path):
    files = {
        "csv": ROWS,
        "tsv": ROWS.replace(",", "\t"),
        "json": "".join(f'{{"text": "a film {n}", "label": "{n % 2}"}}\n' for n in range(40)),
    }
    for kind, content in files.items():
        plain, archive = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}.gz"
        plain.write_text(content)
        archive.write_bytes(gzip.compress(content.encode()))
        expected, found = (read_split(f"{kind}:{path}", None, COLUMNS) for path in (plain, archive))
        assert dict(found.columns) == dict(expected.columns)
        assert found.where(3) == expected.where(3).replace(str(plain), str(archive))
        pieces = list(text_inputs([archive], {"text": "text"}, piece=7))
        assert [text for piece in pieces for text in piece.columns["text"]] == found.columns["text"]
    assert len(read_split(f"csv:{tmp_path}", "b", COLUMNS)) == 40  # b.csv.gz by its name alone
    names = ("a.CSV", "a.b.csv.GZ", "a.gz", "a")
    assert [suffix_of(tmp_path / name) for name in names] == [
        ".csv",
        ".csv.gz",
        ".gz",
        "",
    ]


@pytest.mark.parametrize("kind", ["csv", "text"])
def test_11_03_what_is_no_whole_archive_is_refused(tmp_path, kind):
    archive = gzip.compress(ROWS.encode())
    broken = bytearray(archive)
    broken[-6] ^= 0xFF  # its check sum
    path = tmp_path / f"a.{kind}.gz"
    for content, what in (
        (archive[:-20], "cut off"),
        (bytes(broken), "no gzip file"),
        (ROWS.encode(), "no gzip file"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=what) as caught:
            read_split(f"{kind}:{path}", None, {"text": "text"})
        assert caught.value.problems[0].where == str(path)
        assert caught.value.problems[0].cure
        with pytest.raises(DataError, match=what):
            list(text_inputs([f"{kind}:{path}"], {"text": "text"}))


def test_11_03_a_small_file_that_unpacks_to_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "_SURE", 100_000)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\n" + b"a,b\n" * 100_000))
    for read in (
        lambda: read_split(f"csv:{path}", None, COLUMNS),
        lambda: list(text_inputs([path], {"text": "text"})),
    ):
        with pytest.raises(DataError, match="bytes unpack to more than 100,000"):
            read()
