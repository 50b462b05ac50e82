"""CSV and TSV row by row: where a row begins, what a header is, what is malformed."""

import pytest

from ptm.data.columns import ColumnsMissing
from ptm.data.inputs import text_inputs
from ptm.data.separated import CSV, TSV, separated_rows
from ptm.data.tables import read_csv
from ptm.data.text_format import TextFormat
from ptm.errors import DataError


def rows(text, columns=("text", "label"), usual=CSV, **how):
    chosen = TextFormat(**how) if how else None
    return list(separated_rows(text.splitlines(keepends=True), "a.csv", columns, usual, chosen))


def refused(text, columns=("text", "label"), usual=CSV, **how):
    with pytest.raises(DataError) as caught:
        rows(text, columns, usual, **how)
    return caught.value.problems[0]


def test_a_row_stands_on_the_line_that_it_begins_on():
    text = 'text,label\n"a\nb",x\n\n"c ""d"", e",y\n'
    assert rows(text) == [(1, ["text", "label"]), (2, ["a\nb", "x"]), (5, ['c "d", e', "y"])]


def test_quotes_of_a_tsv_are_characters():
    assert rows('text\tlabel\n"a\tx\n', usual=TSV)[1] == (2, ['"a', "x"])
    assert rows('text\tlabel\n"a\tb"\tx\n', usual=TSV, quoting="standard")[1] == (2, ["a\tb", "x"])


def test_a_file_without_a_header_begins_with_an_example():
    found = list(
        separated_rows(["a,x\n", "b,y\n"], "a", ("text", "label"), CSV, TextFormat(columns=("text", "label")))
    )
    assert found == [(1, ["text", "label"]), (1, ["a", "x"]), (2, ["b", "y"])]
    replaced = TextFormat(columns=("text", "label"), header=True)
    assert [line for line, _ in separated_rows(["t,l\n", "b,y\n"], "a", ("text",), CSV, replaced)] == [1, 2]


def test_blanks_around_names_and_after_delimiters_are_none_of_theirs():
    assert rows("text, label\na, x\n") == [(1, ["text", "label"]), (2, ["a", "x"])]
    assert rows("\ufeffother,text,label\n1, a,x\n")[1] == (2, ["1", " a", "x"])


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("text,label\na,x\nb\n", "a.csv:3", "1 fields, the header has 2"),
        ('text,label\n"a\nb",x,y\n', "a.csv:2", "3 fields, the header has 2"),
        ('text,label\na,x\n"b,y\n', "a.csv:3", "malformed: unexpected end of data"),
        ("text,label\n", "a.csv", "no rows below the header"),
        ("text;labels\na;x\n", "a.csv:1", "no column 'text': the header is one field, 'text;labels'"),
    ],
)
def test_what_is_malformed_is_told_with_its_line(text, where, what):
    problem = refused(text)
    assert (problem.where, problem.what) == (where, what)


def test_a_wrong_delimiter_is_told_with_the_change_that_cures_it():
    assert refused("text;labels\na;x\n").cure == "say so: --set 'data.delimiter=\";\"'"
    assert "it is tsv" in refused("text\tlabel\na\tx\n").cure
    assert rows("text;label\na;x\n", delimiter=";")[1] == (2, ["a", "x"])


def test_where_the_first_row_may_be_an_example_names_are_proposed_by_length():
    with pytest.raises(ColumnsMissing) as caught:
        rows("7,a rather long text,x\n8,another,y\n")
    assert caught.value.headerless == ("column_1", "text", "label")
    with pytest.raises(ColumnsMissing) as caught:
        rows("texts,labels\na,x\n")
    assert caught.value.headerless == ()  # a misspelt header
    with pytest.raises(ColumnsMissing) as caught:
        list(separated_rows(["7,x\n", "8,y\n"], "a", ("text", "pair", "label"), CSV))
    assert caught.value.headerless == ()  # as many columns as this there are not


def test_other_names_than_there_are_columns():
    with pytest.raises(DataError, match=r"2 fields, data\.columns names 3"):
        list(separated_rows(["a,x\n"], "a", ("text",), CSV, TextFormat(columns=("text", "label", "id"))))


SNIFFED = [
    ('text;label\na, b;x\n"c;d";y\n', ["a, b", "c;d"], ";"),
    ("id | text | label\n1 | a | x\n2 | c, d | y\n", ["a ", "c, d "], "|"),
    ("text,label;other\na,x;1\n", None, None),
    ("label;text|text\nx;a|b\n", None, None),
    ("text,label\na;b,x\n", ["a;b"], None),
]


@pytest.mark.parametrize(("content", "texts", "mark"), SNIFFED)
def test_11_03_another_separator_is_found_and_said(tmp_path, content, texts, mark):
    path = tmp_path / "a.csv"
    path.write_text(content)
    if texts is None:
        with pytest.raises(DataError, match="no column"):
            read_csv(path, ["text", "label"])
        return
    table = read_csv(path, ["text", "label"])
    assert table.columns["text"] == texts
    (inputs,) = text_inputs([path], {"text": "text"})
    assert inputs.columns["text"] == texts
    said = [] if mark is None else [f'fields are taken to stand between "{mark}", not ","']
    for notes in (table.notes, inputs.notes):
        assert [note.what for note in notes] == said
        assert all(f"""data.delimiter="{mark}\"""" in note.cure for note in notes)


def test_11_03_a_separator_that_is_found_holds_for_every_row(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text;label\na;x\nb,y\n")
    with pytest.raises(DataError, match=r"a\.csv:3: 1 fields, the header has 2"):
        read_csv(path, ["text", "label"])
    path.write_text("a;x\nb;y\n")
    table = read_csv(path, ["t", "l"], TextFormat(columns=("t", "l")))
    assert (table.columns["t"], len(table.notes)) == (["a", "b"], 1)
    with pytest.raises(DataError, match="no column"):
        read_csv(path, ["t", "l"], TextFormat(delimiter=","))


def test_11_03_utf_8_is_not_read_as_another_encoding(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\nh\u00e4user,x\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv:2: this is UTF-8, not iso8859-1"):
        read_csv(path, ["text", "label"], TextFormat(encoding="latin-1"))
    path.write_text("text,label\nh\u00e4user,x\n", encoding="latin-1")
    assert read_csv(path, ["text"], TextFormat(encoding="latin-1")).columns["text"] == ["häuser"]
    path.write_text("text,label\nh\u00e4user,x\n", encoding="utf-16")
    assert read_csv(path, ["text"], TextFormat(encoding="utf-16")).columns["text"] == ["häuser"]
    with pytest.raises(DataError, match=r"(?s)UTF-16.*data\.encoding=utf-16"):
        read_csv(path, ["text"])


@pytest.mark.parametrize("first", ["sep=;\n", "\ufeffsep=,\r\n", '"sep=|"\n'])
def test_11_01_a_line_for_excel_names_no_columns(first):
    problem = refused(first + "text;label\na;b\n")
    assert problem.where == "a.csv:1" and "is a line for Excel" in problem.what
    assert problem.cure.startswith("remove the line; --set ")
