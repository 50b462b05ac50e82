"""Files of rows, read strictly: what is there stays as it is, what is wrong is refused with its line."""

import csv
import json
from hashlib import sha256

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptm.data import separated, tables
from ptm.data.inputs import text_inputs
from ptm.data.tables import Table, join_tables, read_csv, read_json, read_parquet, read_tsv
from ptm.errors import DataError
from tiny.samples import write_parquet

COLUMNS = ("text", "label")


@pytest.fixture
def make(tmp_path):
    """``make(name, content)``: the path of a file with this content, text or bytes."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def refusal(reader, path, columns=COLUMNS):
    """The one problem that the reader finds."""
    with pytest.raises(DataError) as caught:
        reader(path, columns)
    (problem,) = caught.value.problems
    return problem


def rows(table: Table) -> list[tuple]:
    return list(zip(*(table.columns[name] for name in COLUMNS), strict=True))


def test_csv_keeps_every_character_and_knows_every_line(make):
    content = 'label,text\npos,"two\nlines, ""quoted"""\n\nneg, NA \npos,null\r\nneg,"last"'
    table = read_csv(make("a.csv", content), COLUMNS)
    texts = ['two\nlines, "quoted"', " NA ", "null", "last"]
    assert rows(table) == list(zip(texts, ["pos", "neg", "pos", "neg"], strict=True))
    assert [table.where(i).rpartition(":")[2] for i in range(4)] == ["2", "5", "6", "7"]
    assert table.digest == sha256(content.encode()).hexdigest()
    assert len(table) == 4
    assert table.label_names is None


def test_tsv_keeps_quotes(make):
    table = read_tsv(make("a.tsv", 'text\tlabel\n"half a quote\t1\n""\t0\nwith, comma\t1\n'), COLUMNS)
    assert rows(table) == [('"half a quote', "1"), ('""', "0"), ("with, comma", "1")]


@pytest.mark.parametrize("name", ["NA", "null", "None", "nan", "", " ", "1e5", "True", "01"])
def test_no_type_is_guessed(make, name):
    assert rows(read_csv(make("a.csv", f'text,label\n"{name}","{name}"\n'), COLUMNS)) == [(name, name)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_all_line_ends_are_taken(make, end):
    content = "\N{ZERO WIDTH NO-BREAK SPACE}" + end.join(["text,label", "ä,x", "b,y", ""])
    table = read_csv(make("a.csv", content), COLUMNS)
    assert rows(table) == [("ä", "x"), ("b", "y")]
    assert table.where(1).endswith(":3")


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0")),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
        ),
        min_size=1,
    )
)
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, pairs):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(pairs)
    assert rows(read_csv(path, COLUMNS)) == pairs


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("text,label\na,b\nc\n", 3, ("1 fields, the header has 2", "text, label", "quotes")),
        ("text,label\na,b,c\n", 2, ("3 fields, the header has 2",)),
        ('text,label\n"two\nlines",x\n\n"three\n\nlines",x,y\n', 5, ("3 fields",)),
        ('text,label\na,b\n"never\nclosed,b\n', 3, ("malformed", "unexpected end of data")),
        ('text,label\n"two\nlines",x\n"a" b,c\n', 4, ("malformed", "expected after")),
        ('text,label\na,b\n"opened,b\nc,"d"\n', 3, ("malformed",)),
        ("text,lable\na,b\n", 1, ("no column 'label'", "'text', 'lable'", "did you mean 'lable'?")),
        ("a,text\n1,2\n", 1, ("no column 'label'", "'a', 'text'")),
        ("text\tlabel\n1\t2\n", 1, ("no column 'text'", r"'text\tlabel'", "it is tsv")),
        ("id;texts;label\n1;2;3\n", 1, ("the header is one field", """--set 'data.delimiter=";"'""")),
        ("text,label,label\na,b,c\n", 1, ("the column 'label' stands there twice",)),
        ("text,label\n", None, ("no rows below the header",)),
        ("text,label\n\n\n", None, ("no rows below the header",)),
        ("", None, ("the file is empty",)),
        (" \n\n", None, ("the file is empty",)),
        ("\N{ZERO WIDTH NO-BREAK SPACE}", None, ("the file is empty",)),
        (b"text,label\na,b\n\xe4,b\n", 3, ("byte 0xe4 is not UTF-8", "iconv -f ISO-8859-1 -t UTF-8")),
        (b"\xef\xbb\xbftext,label\na,b\ncc\xe4,b\n", 3, ("byte 0xe4 is not UTF-8",)),
        ("text,label\na,b\n".encode("utf-16"), None, ("the file is in UTF-16", "iconv -f UTF-16")),
        ("text,label\na,b\nc\0c,b\n", 3, ("a NUL character",)),
    ],
)
def test_csv_refusals_name_file_and_line(make, content, line, words):
    path = make("a.csv", content)
    problem = refusal(read_csv, path)
    assert problem.where == (f"{path}:{line}" if line else str(path))
    for word in words:
        assert word in str(problem)


def test_unused_columns_do_not_matter_and_may_repeat(make):
    assert rows(read_csv(make("a.csv", "x,text,x,label\n1,a,2,b\n"), COLUMNS)) == [("a", "b")]


def test_a_ragged_tsv_says_that_quotes_do_not_protect(make):
    problem = refusal(read_tsv, make("a.tsv", 'text\tlabel\n"a\tb"\tc\n'))
    assert problem.where.endswith(":2")
    assert "quotes do not protect" in problem.cure


def test_a_field_may_be_long_but_not_endless(make, monkeypatch):
    long = "x" * 200_000  # the csv module stops at 131,072
    assert rows(read_csv(make("a.csv", f"text,label\n{long},b\n"), COLUMNS)) == [(long, "b")]
    monkeypatch.setattr(separated, "MAX_FIELD_CHARS", 1000)
    problem = refusal(read_csv, make("b.csv", f"text,label\na,b\n{long},b\n"))
    assert problem.where.endswith("b.csv:3")
    assert "field larger than field limit" in problem.what


@pytest.mark.parametrize("reader", [read_csv, read_tsv, read_json, read_parquet])
@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_what_is_no_file_is_refused(reader, kind, tmp_path):
    if kind == "folder":
        (tmp_path / "x").mkdir()
    assert str(tmp_path / "x") in refusal(reader, tmp_path / "x").where


# JSON


def test_json_lines_and_lists_are_told_apart(make):
    records = [{"text": "NA", "label": 1, "more": None}, {"label": "x", "text": "ü\u2028\n"}]
    lines = make("a.jsonl", "\n".join(json.dumps(r) for r in records) + "\n\n")
    table = read_json(lines, COLUMNS)
    assert rows(table) == [("NA", 1), ("ü\u2028\n", "x")]
    assert table.where(1) == f"{lines}:2"
    whole = make("a.json", json.dumps(records, indent=2))
    table = read_json(whole, COLUMNS)
    assert rows(table) == [("NA", 1), ("ü\u2028\n", "x")]
    assert table.where(1) == f"{whole}, record 2"  # its line is not known


def test_line_separators_of_unicode_end_no_line(make):
    content = '{"text": "a\u2028b\x85", "label": 1}\n{"text": "c", "label": 2}\n'
    table = read_json(make("a.jsonl", content), COLUMNS)
    assert table.where(1).endswith(":2")


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        (
            '{"text": "a", "label": 1}\n{"text": "b"}\n',
            ":2",
            ("no 'label', which the rows before have", "add it"),
        ),
        ('{"text": "a", "label": 1}\n\n{"text": \n', ":3", ("not JSON", "an object a line")),
        ('{"text": "a", "label": 1}\n[1]\n', ":2", ("not a JSON object",)),
        ("3\n", ":1", ("not a JSON object",)),
        ('[{"text": "a", "label": 1}, 2]', ", record 2", ("not a JSON object",)),
        ('[{"text": "a", "label": 1}, {"text": "b", "lable": 2}]', ", record 2", ("rename 'lable' in it",)),
        ('[{"text": "a"', "", ("not JSON",)),
        ("[" * 100_000, "", ("not JSON",)),
        ("[]", "", ("no rows",)),
        ("", "", ("the file is empty",)),
        (b'{"text": "a", "label": 1}\n{"text": "\xff"}', ":2", ("byte 0xff is not UTF-8",)),
        ('{"text": "a", "label": 1}\n{"text": "\\ud83d", "label": 1}', ":2", ("half a character, \\ud83d",)),
    ],
)
def test_json_refusals_name_file_and_line(make, content, place, words):
    path = make("a.jsonl", content)
    problem = refusal(read_json, path)
    assert problem.where == f"{path}{place}"
    for word in words:
        assert word in str(problem)


# Parquet


def test_parquet_with_and_without_class_names(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", text=["NA", "b"], label=[1, 0], other=[None, None])
    table = read_parquet(path, COLUMNS)
    assert rows(table) == [("NA", 1), ("b", 0)]
    assert table.label_names is None
    assert table.where(1) == f"{path}, row 1"
    assert table.digest == sha256(path.read_bytes()).hexdigest()
    path = write_parquet(tmp_path / "b.parquet", ["pos", "neg"], text=["a", "b"], label=[1, 0])
    assert read_parquet(path, COLUMNS).label_names == ("pos", "neg")


def test_parquet_written_by_datasets_brings_its_class_names(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["pos", "neg"])})
    data = Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    data.to_parquet(tmp_path / "a.parquet")
    table = read_parquet(tmp_path / "a.parquet", COLUMNS)
    assert (rows(table), table.label_names) == ([("a", 1), ("b", 0)], ("pos", "neg"))


@pytest.mark.parametrize("features", [b"{", b"[]", b'{"info": {"features": []}}', b'{"info": null}'])
def test_metadata_of_other_programs_is_passed_over(tmp_path, features):
    table = pyarrow.table({"text": ["a"], "label": [1]}).replace_schema_metadata({"huggingface": features})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert read_parquet(tmp_path / "a.parquet", COLUMNS).label_names is None


def test_parquet_refusals(make, tmp_path):
    assert "not a readable parquet file" in refusal(read_parquet, make("a.parquet", "no parquet")).what
    whole = write_parquet(tmp_path / "b.parquet", text=["a"] * 100, label=[1] * 100).read_bytes()
    assert "not a readable parquet file" in refusal(read_parquet, make("c.parquet", whole[:-20])).what
    assert "not a readable parquet file" in refusal(read_parquet, make("d.parquet", b"")).what
    problem = refusal(read_parquet, write_parquet(tmp_path / "e.parquet", text=["a"], lable=[1]))
    assert "did you mean 'lable'?" in problem.cure
    assert "no rows" in refusal(read_parquet, write_parquet(tmp_path / "f.parquet", text=[], label=[])).what


# Several files


def test_joined_tables_know_where_each_row_stands(make):
    paths = [make("a.csv", "text,label\na,0\nb,1\n"), make("b.csv", "text,label\nc,0\n")]
    parts = [read_csv(path, COLUMNS) for path in paths]
    table = join_tables(parts)
    assert rows(table) == [("a", "0"), ("b", "1"), ("c", "0")]
    assert [table.where(i) for i in range(3)] == [f"{paths[0]}:2", f"{paths[0]}:3", f"{paths[1]}:2"]
    assert table.digest == join_tables(parts).digest
    assert table.digest != join_tables(parts[::-1]).digest
    assert join_tables(parts[:1]) is parts[0]


def test_files_that_number_their_classes_differently_are_not_joined(tmp_path):
    parts = [
        read_parquet(write_parquet(tmp_path / f"{names[0]}.parquet", names, text=["a"], label=[0]), COLUMNS)
        for names in (["pos", "neg"], ["neg", "pos"])
    ]
    with pytest.raises(DataError, match=r"neg\.parquet, row 0: the class names are neg, pos"):
        join_tables(parts)


def test_only_line_ends_end_a_line(tmp_path):
    """10.12: what else str.splitlines cuts at stands within texts; ptm predict reads the same lines."""
    texts = ["a\x0cb", "c\u2028d", "e\x85f", "g\x1ch", "i\x0bj"]
    path = tmp_path / "t.txt"
    path.write_bytes(
        "\n".join([texts[0], texts[1] + "\r", "", texts[2] + "\r" + texts[3], texts[4]]).encode()
    )
    table = tables.read_lines(path, ["text"])
    assert list(table.columns["text"]) == texts
    assert [table.where(row) for row in range(5)] == [f"{path}:{n}" for n in (1, 2, 4, 5, 6)]
    (piece,) = text_inputs([path], {"text": "text"})
    assert list(piece.columns["text"]) == texts
