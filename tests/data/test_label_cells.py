"""Labels in other clothes: printed lists, separators, vectors of 0 and 1, a column a class."""

import numpy as np
import pytest

from label_tables import EXPECTED, NAMES, SETS, load, table
from ptm.data.label_cells import printed_list, unread_separator, vectors
from ptm.errors import DataError
from tiny.samples import write_jsonl


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
        ("set()", []),
        ("frozenset({'a'})", ["a"]),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("array([], dtype=object)", []),
        ("set(a)", None),
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


def test_10_23_blanks_between_labels():
    names = ("joy", "fear", "love", "grief")
    sets = [" ".join(n for k, n in enumerate(names) if bits >> k & 1) for bits in range(16)]
    assert unread_separator(sets) == " "


@pytest.mark.parametrize("mark", ["、", "，", "；"])
def test_10_23_separators_of_chinese_and_japanese(tmp_path, mark):
    source = table(tmp_path, [mark.join(labels) for labels in SETS])
    with pytest.raises(DataError, match="label_separator"):
        load(source)
    assert load(source, label_separator=mark).train.targets.tolist() == EXPECTED


def test_10_23_a_list_that_ends_with_its_separator(tmp_path):
    data = load(table(tmp_path, [f"{'|'.join(labels)}|" for labels in SETS]))
    assert (data.labels, data.train.targets.tolist()) == (NAMES, EXPECTED)


def test_10_23_names_with_commas_in_them_are_names(tmp_path):
    assert unread_separator(["Toys, Games", "Books", "Toys, Games", ""]) is None
    assert unread_separator(["a|b", "a, b", "b, c", "c, a"]) is None
    assert unread_separator(["very good", "very bad", "good", "bad"]) is None


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
