"""Labels in other clothes: printed lists, separators, vectors of 0 and 1, a column a class."""

import numpy as np
import pytest

from ptm.config.spec import DataSpec
from ptm.data.label_cells import printed_list, unread_separator, vectors
from ptm.data.tabular import load_dataset
from ptm.errors import DataError
from tiny.samples import write_csv, write_jsonl

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


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('["a", "b"]', ["a", "b"]),
        ("['a', 'b']", ["a", "b"]),
        ("['a' 'b']", ["a", "b"]),
        ("['a'\n 'b']", ["a", "b"]),
        ("{'a', 'b'}", ["a", "b"]),
        ("('a',)", ["a"]),
        ("[\"it's\", 'b']", ["it's", "b"]),
        ("[very good, bad]", ["very good", "bad"]),
        ("[1 0 1]", ["1", "0", "1"]),
        ("[1. 0.]", ["1.", "0."]),
        ("[1, 0]", [1, 0]),
        ("[]", []),
        ("(none)", None),
        ("joy", None),
        ("a|b", None),
    ],
)
def test_10_23_what_a_cell_is_a_print_of(text, items):
    assert printed_list(text) == items


@pytest.mark.parametrize(
    "write", [repr, lambda s: repr(np.array(s, dtype=object)).removeprefix("array(").partition(", dtype")[0],
              lambda s: str(np.array(s)), lambda s: "|".join(s), lambda s: __import__("json").dumps(s)]
)  # fmt: skip
def test_10_06_lists_printed_into_a_table_are_lists(tmp_path, write):
    data = load(table(tmp_path, [write(labels) for labels in SETS]))
    assert data.labels == NAMES
    assert data.train.targets.tolist() == EXPECTED


@pytest.mark.parametrize(
    ("separator", "key"), [(",", ","), (", ", ","), (";", ";"), ("\t", "\t"), ("/", "/")]
)
def test_10_23_labels_with_another_separator(tmp_path, separator, key):
    source = table(tmp_path, [separator.join(labels) for labels in SETS])
    with pytest.raises(DataError, match=r"label_separator") as caught:
        load(source)
    assert "data.label_separator" in caught.value.problems[0].cure
    data = load(source, label_separator=key)
    assert (data.labels, data.train.targets.tolist()) == (NAMES, EXPECTED)
    whole = load(source, label_separator="|")  # so they are names as they are
    assert len(whole.labels) == 5


def test_10_23_blanks_between_labels():
    names = ("joy", "fear", "love", "grief")
    sets = [" ".join(n for k, n in enumerate(names) if bits >> k & 1) for bits in range(16)]
    assert unread_separator(sets) == " "


def test_10_23_names_with_commas_in_them_are_names(tmp_path):
    assert unread_separator(["Toys, Games", "Books", "Toys, Games", ""]) is None
    assert unread_separator(["a|b", "a, b", "b, c", "c, a"]) is None
    assert unread_separator(["very good", "very bad", "good", "bad"]) is None


@pytest.mark.parametrize(
    "vector", [lambda v: v, lambda v: [float(x) for x in v], lambda v: [bool(x) for x in v], str]
)
def test_10_06_vectors_of_0_and_1_are_no_class_numbers(tmp_path, vector):
    rows = [[1, 0], [0, 0], [1, 1], [0, 1]]
    write_jsonl(tmp_path / "a.json", [{"text": f"t{i}", "label": vector(row)} for i, row in enumerate(rows)])
    data = load(f"json:{tmp_path / 'a.json'}", labels=("toxic", "insult"))
    assert data.train.targets.tolist() == rows
    assert "toxic, insult" in data.warnings[0].what  # that places are used is said
    trained = load(f"json:{tmp_path / 'a.json'}", own=("toxic", "insult"))
    assert trained.eval.targets.tolist() == rows
    assert load(f"json:{tmp_path / 'a.json'}").labels == ("0", "1")
    with pytest.raises(DataError, match="vectors of 2 numbers, and there are 3 labels"):
        load(f"json:{tmp_path / 'a.json'}", labels=("a", "b", "c"))


def test_10_06_class_numbers_stay_class_numbers(tmp_path):
    write_jsonl(tmp_path / "a.json", [{"text": "a", "label": [0, 2]}, {"text": "b", "label": [1]}])
    data = load(f"json:{tmp_path / 'a.json'}", labels=("x", "y", "z"))
    assert data.train.targets.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert vectors([[0], [1]]) is None
    for rows, words in (
        ([[0, 0], [1, 0, 1]], "vectors of 2 to 3"),
        ([[1, -1], [-1, -1]], "with -1"),
        ([[0.5, 0.5], [0.1, 0.9]], "shares"),
    ):
        with pytest.raises(ValueError, match=words):
            vectors(rows)


def test_10_06_a_column_a_class(tmp_path):
    rows = ["text,toxic,insult,clean"] + [f"t{i},{a},{b},{c}" for i, (a, b, c) in enumerate(
        [(1, 0, 0), ("1.0", "True", "false"), (0, 0, 0), (0, 1, 1)])]  # fmt: skip
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    keys = {"labels_from": ("toxic", "insult", "clean")}
    data = load(f"csv:{tmp_path / 'a.csv'}", **keys)
    assert data.labels == ("toxic", "insult", "clean")
    assert data.train.targets.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 1]]
    assert set(data.train.columns) == {"text"}
    trained = load(f"csv:{tmp_path / 'a.csv'}", own=("clean", "insult", "toxic"), **keys)
    assert trained.eval.targets.tolist() == [[0, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]]  # by name
    with pytest.raises(DataError) as caught:
        load(f"csv:{tmp_path / 'a.csv'}", label_type="class", **keys)
    assert [p.where.rpartition(":")[2] for p in caught.value.problems] == ["3", "4", "5"]
    with pytest.raises(DataError, match=r"no column 'tocsic'") as caught:
        load(f"csv:{tmp_path / 'a.csv'}", labels_from=("tocsic", "insult"))
    assert '--set \'data.labels_from=["toxic", "insult"]\'' in caught.value.problems[0].cure
    (tmp_path / "a.csv").write_text("text,a,b\nx,1,0\ny,2,\n")
    with pytest.raises(DataError) as caught:
        load(f"csv:{tmp_path / 'a.csv'}", labels_from=("a", "b"))
    assert [p.what for p in caught.value.problems] == ["a is '2'", "b is ''"]


def test_10_06_one_hot_columns_are_classes(tmp_path):
    (tmp_path / "a.csv").write_text("text,a,b\nx,1,0\ny,0,1\nz,1,0\n")
    data = load(f"csv:{tmp_path / 'a.csv'}", label_type="class", labels_from=("a", "b"))
    assert data.train.targets.tolist() == [0, 1, 0]


def test_10_06_a_printed_list_is_no_class(tmp_path):
    source = table(tmp_path, ["['toxic', 'insult']", "['toxic']", "[]"])
    with pytest.raises(DataError, match=r"the label is a list") as caught:
        load(source, label_type="class")
    assert "label_type: classes" in caught.value.problems[0].cure
    data = load(table(tmp_path, ["a|b", "a", "b", "b|c", "a|c", "c"]), label_type="class")
    assert "label_type: classes" in data.warnings[0].cure


def test_10_23_tags_and_words_printed_into_a_table(tmp_path):
    (tmp_path / "a.csv").write_text(
        'words,tags\n"[\'Ada\', \'ran\']","[""B-X"", ""O""]"\n"[\'x\']","[\'O\']"\n'
    )
    spec = DataSpec(source=f"csv:{tmp_path}", train="a", eval="a", label="tags")
    data = load_dataset(spec, {"words": "words"}, tags=True)
    assert data.labels == ("B-X", "O")
    assert [row.tolist() for row in data.train.targets] == [[0, 1], [1]]
