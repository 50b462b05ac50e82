"""How files are written: what a config can say of it, and cures that work as they are printed."""

import gzip
import io
import re
import shlex
import subprocess
import sys
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptm.config.load import parse_config
from ptm.config.spec import DataSpec
from ptm.data import text_format
from ptm.data.inputs import text_inputs
from ptm.data.tabular import load_dataset
from ptm.data.text_format import ROWS as EXPECTED
from ptm.data.text_format import TextFormat, opened_text, read_text
from ptm.errors import ConfigError, DataError

TEXT = {"text": "text"}
ROWS = [
    ("a good film, really", "good"),
    ('he said "no" to it', "bad"),
    ("caf\u00e9 \u201cx\u201d", "good"),
    ("bad", "bad"),
]


def spec_of(tmp_path, source, *overrides):
    text = f"version: 1\ntask: text-classification\nmodel: {{name: m}}\ndata: {{source: '{source}', eval: 50%}}\n"
    text += "train: {epochs: 1, learning_rate: 0.1}\noutput: r\n"
    return parse_config(text, "c", overrides, base=tmp_path, cwd=tmp_path).data


def load(data):
    read = load_dataset(data, {"text": data.text or "text"})
    return sorted([*read.train.columns["text"], *read.eval.columns["text"]]), read.labels


def changes_in(cure):
    """The ``--set`` of a message, as a shell would pass them."""
    return [shlex.split(found)[0] for found in re.findall(r"--set ('[^']*'|[^\s;]+)", cure)]


def cured(tmp_path, source):
    """The data after each cure that a refusal prints, the first that names one each time."""
    overrides = []
    for _ in range(4):
        try:
            return load(spec_of(tmp_path, source, *overrides)), overrides
        except DataError as error:
            found = [change for problem in error.problems for change in changes_in(problem.cure)]
            assert found, error
            overrides += dict.fromkeys(found)
    raise AssertionError(overrides)


def written(path, rows, delimiter=",", header=True, encoding="utf-8", **options):
    import csv

    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter, **options)
        writer.writerows([("text", "label"), *rows] if header else rows)
    return path


def expected(rows=ROWS):
    return sorted(text for text, _ in rows), ("bad", "good")


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
def test_10_24_another_delimiter(tmp_path, delimiter):
    path = written(tmp_path / "a.csv", ROWS, delimiter)
    if delimiter == "\t":
        with pytest.raises(DataError, match="it is tsv"):
            load(spec_of(tmp_path, f"csv:{path}"))
        assert load(spec_of(tmp_path, f"csv:{path}", 'data.delimiter="\\t"')) == expected()
    else:
        assert cured(tmp_path, f"csv:{path}")[0] == expected()


def test_10_24_a_tsv_with_quotes(tmp_path):
    """As pandas writes it: quotes around what holds quotes or tabs."""
    rows = [*ROWS, ("a\tb", "bad")]
    path = written(tmp_path / "a.tsv", rows, "\t")
    found, overrides = cured(tmp_path, f"tsv:{path}")
    assert found == expected(rows) and overrides == ["data.quoting=standard"]
    path = written(tmp_path / "b.tsv", ROWS, "\t", quoting=1)  # all of it, the header too
    found, overrides = cured(tmp_path, f"tsv:{path}")
    assert found == expected() and overrides == ["data.quoting=standard"]


def test_10_24_quotes_that_stay_in_texts_are_told(tmp_path):
    path = written(
        tmp_path / "a.tsv", [('say "x"', "good"), ('and "y"', "bad"), ("z", "good"), ("w", "bad")], "\t"
    )
    data = load_dataset(spec_of(tmp_path, f"tsv:{path}"), TEXT)
    assert any("data.quoting: standard" in warning.cure for warning in data.warnings)


def test_10_24_quotes_as_ordinary_characters(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"never closed,good\nx,bad\ny,good\nz,bad\n')
    found, overrides = cured(tmp_path, f"csv:{path}")
    assert overrides == ["data.quoting=none"] and found[0][0] == '"never closed'


@pytest.mark.parametrize("header", ["text, label", " text ,label", "text\u00a0,label "])
def test_10_24_blanks_around_names_of_columns(tmp_path, header):
    path = tmp_path / "a.csv"
    path.write_text(header + "\nx, good\ny, bad\nz, good\nw, bad\n")
    texts, labels = load(spec_of(tmp_path, f"csv:{path}"))
    assert texts == ["w", "x", "y", "z"]
    if header == "text, label":
        assert labels == ("bad", "good")


@pytest.mark.parametrize("name", ["true", "no", "two words", "it's", "a: b", "1", "#x", "'q'"])
def test_10_24_a_column_with_a_difficult_name(tmp_path, name):
    path = written(tmp_path / "a.csv", ROWS)
    path.write_text(path.read_text().replace("text,label", f'text,"{name}"'))
    spec = spec_of(tmp_path, f"csv:{path}")
    try:
        load(spec)
    except DataError as error:
        from ptm.data.columns import yaml_text

        assert "no column 'label'" in str(error)
        change = f"data.label={yaml_text(name)}"
        assert load(spec_of(tmp_path, f"csv:{path}", change)) == expected()


def test_10_24_a_file_without_a_header(tmp_path):
    rows = [(str(1 + (i % 2)), f"title {i}", f"a long description {i}") for i in range(6)]
    path = written(tmp_path / "ag.csv", rows, header=False)
    with pytest.raises(DataError) as caught:
        load(spec_of(tmp_path, f"csv:{path}"))
    assert "the first row was taken for the header" in caught.value.problems[0].cure
    found, overrides = cured(tmp_path, f"csv:{path}")
    assert found == (sorted(row[2] for row in rows), ("1", "2"))
    assert overrides == ['data.columns=["label", "column_2", "text"]']
    data = spec_of(tmp_path, f"csv:{path}", "data.header=false", 'data.text="1"', 'data.label="0"')
    assert load(data)[0] == sorted(row[1] for row in rows)
    with pytest.raises(DataError, match=r"3 fields, data\.columns names 2"):
        load(spec_of(tmp_path, f"csv:{path}", "data.columns=[a, b]"))
    changes = ("data.columns=[a, b]", "data.header=true", "data.text=a", "data.label=b")
    assert load(spec_of(tmp_path, f"csv:{written(tmp_path / 'b.csv', ROWS)}", *changes)) == expected()


@pytest.mark.parametrize(
    ("encoding", "named"), [("cp1252", "windows-1252"), ("iso-8859-1", "iso-8859-1"), ("utf-16", "utf-16")]
)
def test_10_25_the_encoding_is_named_and_the_cure_works(tmp_path, encoding, named):
    rows = [
        ("caf\u00e9" + ("\u201cx\u201d" if encoding != "iso-8859-1" else ""), "good"),
        ("a", "bad"),
        ("b", "good"),
        ("c", "bad"),
    ]
    path = written(tmp_path / "a.csv", rows, encoding=encoding)
    found, overrides = cured(tmp_path, f"csv:{path}")
    assert found == expected(rows) and overrides == [f"data.encoding={named}"]
    with pytest.raises(DataError) as caught:
        load(spec_of(tmp_path, f"csv:{path}"))
    command = caught.value.problems[0].cure.partition("convert it: ")[2]
    assert subprocess.run(command, shell=True, check=False).returncode == 0
    assert load(spec_of(tmp_path, f"csv:{tmp_path / 'utf8_a.csv'}")) == expected(rows)


def test_10_25_files_that_are_no_text(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    content = written(tmp_path / "b.csv", ROWS).read_bytes()
    path.write_bytes(gzip.compress(content))
    for read in (lambda: load(spec_of(tmp_path, f"csv:{path}")), lambda: list(text_inputs([path], TEXT))):
        with pytest.raises(DataError, match="this is a gzip archive") as caught:
            read()
        assert "gunzip" in caught.value.problems[0].cure
    monkeypatch.setattr(sys, "stdin", type("In", (), {"buffer": io.BytesIO(gzip.compress(content))})())
    with pytest.raises(DataError, match="this is a gzip archive"):
        list(text_inputs(["-"], TEXT))
    path.write_bytes(b"PK\x03\x04rest")
    with pytest.raises(DataError, match="workbook of Excel"):
        load(spec_of(tmp_path, f"csv:{path}"))
    path.write_bytes("text,label\nx,a\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"data\.encoding=utf-16-le"):
        load(spec_of(tmp_path, f"csv:{path}"))


def test_10_25_inputs_of_predictions_take_the_prefixes_of_sources(tmp_path):
    path = written(tmp_path / "test.txt", ROWS, "\t")
    (inputs,) = text_inputs([f"tsv:{path}"], TEXT, DataSpec(source="tsv:x", quoting="standard"))
    assert list(inputs.columns["text"]) == [text for text, _ in ROWS]
    (lines,) = text_inputs([path], TEXT)
    assert len(lines) == 5  # a text a line
    (inputs,) = text_inputs(
        [f"tsv:{path}"], TEXT, DataSpec(source="csv:x", quoting="none")
    )  # of another kind
    assert len(inputs) == 4
    odd = tmp_path / "data.dat"
    path.rename(odd)
    with pytest.raises(DataError, match="no known kind of file") as caught:
        list(text_inputs([odd], TEXT))
    assert caught.value.problems[0].cure == f"say what it is: csv:{odd}"


def test_10_24_keys_where_they_mean_nothing(tmp_path):
    for change in ("data.encoding=klingon", "data.delimiter=ab", "data.columns=[a, a]", 'data.delimiter=" "'):
        with pytest.raises(ConfigError):
            spec_of(tmp_path, "csv:a.csv", change)
    for change in ("data.quoting=none", "data.header=false", 'data.delimiter=";"'):
        with pytest.raises(ConfigError, match="is for csv: and tsv:"):
            spec_of(tmp_path, "json:a.json", change)


@pytest.mark.parametrize("encoding", ["utf-16le", "utf-16be"])
@pytest.mark.parametrize("text", ["text,label\na good film,good\n", "text,label\nein schöner Film,gut\n"])
def test_15_17_utf_16_without_a_mark_is_known_by_its_order(tmp_path, encoding, text):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(DataError) as caught:
        read_text(path)
    assert f"--set data.encoding={encoding}" in caught.value.problems[0].cure.replace("utf-16-", "utf-16")
    assert read_text(path, text_format=TextFormat(encoding=encoding))[0] == text


PIECES = [
    b"a,b\n",
    b"\r\n",
    b"\r",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x00",
    "é漢".encode(),
    b"\xe9",
    b"\x85",
    b" ",
    b'"x',
]


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=6).map(b"".join),
    st.sampled_from([None, "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "iso8859-1", "shift_jis"]),
    st.sampled_from(["", "\n"]),
    st.booleans(),
)
def test_13_06_lines_of_a_file_of_any_size_are_those_of_its_text(
    tmp_path_factory, raw, encoding, newline, packed
):
    """A block of 3 bytes cuts characters and line ends apart."""
    path = tmp_path_factory.mktemp("lines") / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    written = TextFormat(encoding=encoding)
    try:
        text, digest = read_text(path, EXPECTED, written)
        expected = (list(io.StringIO(text, newline=newline)), digest)
    except DataError as error:
        expected = error.problems
    with patch.object(text_format, "_BLOCK", 3):
        try:
            with opened_text(path, EXPECTED, written, newline=newline) as (lines, sha):
                found = (list(lines), sha)
        except DataError as error:
            found = error.problems
    assert found == expected


def test_13_06_a_file_that_is_changed_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "a\n" * 10)
    with pytest.raises(DataError, match="changed while it was read"), opened_text(path) as (lines, _):
        next(lines)
        path.write_text("text\n" + "b\n" * 11)


def test_11_01_windows_quotes_are_no_control_characters(tmp_path):
    """As Latin-1 says: a dash would be read as U+0096, and nobody would be told."""
    path = tmp_path / "a.csv"
    path.write_bytes("text\nplain é\na – b\n".encode("cp1252"))
    with pytest.raises(DataError) as caught:
        read_text(path, text_format=TextFormat(encoding="latin-1"))
    (problem,) = caught.value.problems
    assert problem.where == f"{path}:3" and "0x96 is a control character" in problem.what
    assert "data.encoding=windows-1252" in problem.cure
    with (
        pytest.raises(DataError, match="0x96"),
        opened_text(path, text_format=TextFormat(encoding="latin-1")),
    ):
        pass
    assert "–" in read_text(path, text_format=TextFormat(encoding="windows-1252"))[0]
