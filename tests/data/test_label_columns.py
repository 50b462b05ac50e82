"""Columns of labels as tables have them, to plain ones: separators, vectors, a column a class, ``label_map``."""

import pytest

from label_tables import EXPECTED, NAMES, SETS, TEXT, load, table
from ptm.config.spec import DataSpec
from ptm.data.label_columns import label_roles, plain_labels
from ptm.data.tables import Table
from ptm.data.tabular import load_dataset
from ptm.errors import DataError
from tiny.samples import write_jsonl, write_parquet


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
    for vector in ("[1 0 1]", "[1. 0. 0.]", "[True, False, True]"):  # as numpy and pandas print them
        with pytest.raises(DataError, match=r"the label is a list"):
            load(table(tmp_path, [vector, "[0 1 0]", "[0 0 0]"]), label_type="class")
    assert load(table(tmp_path, ["[deleted]", "joy", "[sic]"]), label_type="class").labels
    data = load(table(tmp_path, ["a|b", "a", "b", "b|c", "a|c", "c"]), label_type="class")
    assert "label_type: classes" in data.warnings[0].cure


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


def test_10_23_tags_and_words_printed_into_a_table(tmp_path):
    (tmp_path / "a.csv").write_text(
        'words,tags\n"[\'Ada\', \'ran\']","[""B-X"", ""O""]"\n"[\'x\']","[\'O\']"\n'
    )
    spec = DataSpec(source=f"csv:{tmp_path}", train="a", eval="a", label="tags")
    data = load_dataset(spec, {"words": "words"}, tags=True)
    assert data.labels == ("B-X", "O")
    assert [row.tolist() for row in data.train.targets] == [[0, 1], [1]]


def test_10_08_a_map_serves_lists_tags_folders_and_stored_names(tmp_path):
    data = load(table(tmp_path, ["a|B", "b", "A"]), label_map={"B": "b", "A": "a"})
    assert data.labels == ("a", "b") and data.train.targets.tolist() == [[1, 1], [0, 1], [1, 0]]
    write_parquet(tmp_path / "p.parquet", ["bad", "awful", "good"], text=["a", "b", "c"], label=[0, 1, 2])
    spec = DataSpec(source=f"parquet:{tmp_path}", train="p", eval="p", label_map={"awful": "bad"})
    data = load_dataset(spec, TEXT)
    assert data.labels == ("bad", "good") and data.train.targets.tolist() == [0, 0, 1]
    data = load(table(tmp_path, ["1", "0", "1"]), label_type="class", label_map={"1": "yes", "0": "no"})
    assert data.labels == ("no", "yes") and data.train.targets.tolist() == [1, 0, 1]
    data = load(table(tmp_path, ["a", "b"]), label_type="class", label_map={"c": "b"})
    assert "'c', which no row has" in "".join(w.what for w in data.warnings)
    write_jsonl(tmp_path / "t.jsonl", [{"words": ["x", "y"], "label": ["B-per", "O"]}])
    spec = DataSpec(source=f"json:{tmp_path}", train="t", eval="t", label_map={"B-per": "B-PER"})
    assert load_dataset(spec, {"words": "words"}, tags=True).labels == ("B-PER", "O")


def rows(*cells, names=None, **more):
    """A table with these labels, and columns ``more``."""
    return Table({"label": list(cells), **more}, lambda row: f"a.csv:{row + 2}", "", names)


def plain(table, kind, model_labels=None, **keys):
    return plain_labels([table], DataSpec(source="csv:d", **keys), kind, model_labels)


def labels_of(found):
    (table,) = found.tables
    return table.columns["label"], table.label_names


def test_the_columns_that_labels_are_read_from():
    assert label_roles(DataSpec(source="csv:d", label="y")) == {"label": "y"}
    roles = label_roles(DataSpec(source="csv:d", labels_from=("a", "b")))
    assert roles == {"labels_from a": "a", "labels_from b": "b"}


def test_cells_of_several_labels_are_lists_and_of_one_label_stay():
    assert labels_of(plain(rows("a|b", "", "b"), "classes")) == ([["a", "b"], [], ["b"]], None)
    assert labels_of(plain(rows("a;b", "c"), "classes", label_separator=";"))[0] == [["a", "b"], ["c"]]
    assert labels_of(plain(rows("a|b", "c"), "class")) == (["a|b", "c"], None)


def test_vectors_are_places_among_the_stated_labels_else_the_models_else_numbers():
    vectors = rows([1, 0, 1], [0, 0, 0])
    for keys, names in (
        ({"labels": ("x", "y", "z"), "model_labels": ("p", "q", "r")}, ("x", "y", "z")),
        ({"model_labels": ("p", "q", "r")}, ("p", "q", "r")),
        ({}, ("0", "1", "2")),
    ):
        found = plain(vectors, "classes", **keys)
        assert labels_of(found) == ([[0, 2], []], names)
        assert ", ".join(names) in found.warnings[0].what
    own = plain(rows([1, 0], [1, 1], names=("p", "q")), "classes", labels=("q", "p"))
    assert labels_of(own) == ([[0], [0, 1]], ("p", "q")) and not own.warnings


def test_a_map_renames_classes_not_their_places():
    """Of a column a class, and of vectors, the numbers are places that no table shows."""
    columns = {"labels_from a": [1, 0], "labels_from b": [1, 1]}
    table = Table({"text": ["x", "y"], **columns}, str, "")
    found = plain(table, "classes", labels_from=("a", "b"), label_map={"a": "A", "1": "one"})
    assert labels_of(found) == ([[0, 1], [1]], ("A", "b"))
    assert "data.label_map names '1', which no row has" in found.unused[0].what
    found = plain(rows([1, 0], [1, 1]), "classes", labels=("x", "y"), label_map={"y": "Y"})
    assert labels_of(found) == ([[0], [0, 1]], ("x", "Y")) and not found.unused
    found = plain(rows([1, 0], [1, 1]), "classes", label_map={"0": "x", "1": "y"})
    assert labels_of(found) == ([[0], [0, 1]], ("x", "y")) and not found.unused


def test_a_map_finds_names_of_a_source_by_name_and_by_number():
    stored = rows(0, 1, 2, "awful", names=("bad", "good", "awful"))
    found = plain(stored, "class", label_map={"awful": "bad", "1": "fine"})
    assert labels_of(found) == ([0, 1, 2, "bad"], ("bad", "fine", "bad")) and not found.unused


def test_a_map_finds_numbers_and_truth_values_however_they_are_written():
    found = plain(
        rows(1, 0.0, True, "03", "x"), "class", label_map={"1": "a", "0": "b", "true": "t", "3": "c"}
    )
    assert labels_of(found)[0] == ["a", "b", "t", "c", "x"] and not found.unused
    assert "'y'" in plain(rows("x"), "class", label_map={"x": "z", "y": "z"}).unused[0].what


def test_a_map_finds_tags_within_lists():
    found = plain(rows(["B-per", "O"], "['O']"), "tags", label_map={"B-per": "B-PER"})
    assert labels_of(found)[0] == [["B-PER", "O"], ["O"]]


@pytest.mark.parametrize(
    ("cells", "warned"),
    [
        (("a|b", "a", "b", "b|a"), True),
        (("a,b", "a", "b", "b,a"), True),
        (("a,b", "a", "b"), False),  # once may be a name
        (("a,b", "c,d", "e"), False),  # no part of them stands alone
    ],
)
def test_labels_that_seem_to_be_put_together(cells, warned):
    warnings = plain(rows(*cells), "class").warnings
    assert bool(warnings) == warned
    assert all("data.label_type: classes" in warning.cure for warning in warnings)
