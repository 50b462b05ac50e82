"""What is said of the labels of a data set and stops nothing."""

import numpy as np
import pytest

from ptm.config.spec import DataSpec
from ptm.data.arrow_lists import Lists, RowBuilder
from ptm.data.label_warnings import found_labels, matched_by_position, rare_positive, untaught_warning
from ptm.data.tables import Table
from ptm.data.targets import KINDS
from ptm.errors import DataError

DATA = DataSpec(source="csv:d")


def table(*cells, names=None, digest="a"):
    return Table({"label": list(cells)}, lambda row: f"{digest}.csv:{row + 2}", digest, names)


def found(*tables, kind="class"):
    names = KINDS[kind].discover([cell for t in tables for cell in t.columns["label"]])
    return found_labels(tables, names, KINDS[kind])


def test_labels_that_look_alike_are_counted_with_their_first_rows():
    (warning,) = found(table("ok", "bad", "OK", "ok"))
    assert "'ok' (2 rows, first a.csv:2)" in warning.what and "'OK' (1 row, first a.csv:4)" in warning.what


def test_a_file_that_is_train_and_eval_counts_once():
    (warning,) = found(table("ok", "OK"), table("ok", "OK"))
    assert "(1 row, first" in warning.what
    (warning,) = found(table("ok", "OK"), table("ok", "OK", digest="b"))
    assert "(2 rows, first" in warning.what


def test_a_number_in_several_spellings_is_one_class():
    (warning,) = found(table("1", "01", "1", "2"))
    assert warning.what == "the number 1 is written as '1' (2 rows), '01' (1 row): it is one class"
    assert not found(table(1, 2, "1", " 2"))


def test_labels_within_lists_count_as_well():
    (warning,) = found(table(["joy", "Joy"], ["joy"]), kind="classes")
    assert "'joy' (2 rows" in warning.what


def match(*tables, labels=("x", "y"), kind="class", model=None, data=DATA):
    return matched_by_position(tables, labels, KINDS[kind], data, model)


def test_numbers_that_are_taken_for_places_are_said():
    (warning,) = match(table(0, 1, 0))
    assert warning.what == "labels are matched by position: 0 = x, 1 = y"
    assert match(table("x", "y")) == match(table(0, 1), labels=("0", "1")) == []


def test_names_of_both_sides_are_never_matched_by_place():
    with pytest.raises(DataError, match="the labels of the data are bad, good") as caught:
        match(table(0, 1, names=("bad", "good")), model=("x", "y"))
    assert '"bad": "x"' in caught.value.problems[0].cure
    (warning,) = match(table(0, 1, names=("bad", "good")))
    assert warning.what.endswith("bad = x, good = y")
    assert match(table(0, 1, names=("y", "x")), model=("x", "y")) == []


def test_classes_that_are_never_learned():
    assert untaught_warning([], ("a", "b"), False) == []
    (one,), (two,) = untaught_warning(["a"], ("a", "b"), True), untaught_warning(["a", "b"], "abc", False)
    assert one.what == "no training example has the label a, of 2; it is never learned"
    assert one.cure == "raise data.max_train_examples"
    assert "the labels a, b, of 3" in two.what and "data.labels" in two.cure


@pytest.mark.parametrize(
    ("counts", "warned"),
    [((1, 9), True), ((34, 66), True), ((35, 65), False), ((9, 1), False), ((5, 5), False)],
)
def test_of_two_classes_the_rare_one_is_mostly_looked_for(counts, warned):
    targets = np.repeat([0, 1], counts)
    warnings = rare_positive(targets, ("fraud", "ok"), DATA)
    assert bool(warnings) == warned
    if warned:
        assert f"'fraud' is the rare label ({counts[0] / sum(counts):.1%}" in warnings[0].what
        assert warnings[0].cure.endswith("data.positive_label: fraud")


def test_nothing_is_said_where_the_config_says_it_or_there_are_no_two_classes():
    rare = np.array([0, 1, 1, 1, 1])
    assert not rare_positive(rare, ("a", "b"), DataSpec(source="csv:d", positive_label="b"))
    assert not rare_positive(rare, ("a", "b", "c"), DATA) and not rare_positive(rare[:0], ("a", "b"), DATA)


def test_13_06_tags_of_a_column_are_said_like_those_of_its_lists():
    rows = [["O", "B-X"], [], ["b-x", "O", "o"], ["1", 1, 1.0, True, "01"], ["B-X", None, "None", "O"]]
    builder = RowBuilder()
    builder.extend(rows)
    column = builder.column()
    assert isinstance(column, Lists)
    labels = KINDS["tags"].discover(rows)
    for names in (None, ("B-X", "O")):
        tables = [Table({"label": cells}, lambda row: f"row {row}", "a", names) for cells in (column, rows)]
        ours, theirs = (found_labels([one], labels, KINDS["tags"]) for one in tables)
        assert ours == theirs and len(ours) > 1
        ours, theirs = (matched_by_position([one], ("B-X", "O"), KINDS["tags"], DATA, None) for one in tables)
        assert ours == theirs
