"""Labels to class numbers, and the outputs of one model in the order of another's labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptm.data.labels import (
    choose_labels,
    discover_labels,
    encode_labels,
    match_labels,
    unnamed,
    untaught_classes,
)
from ptm.errors import DataError, ModelError

LABELS = ("negative", "positive", "mixed")


def encode(values, labels=LABELS, stored=None):
    return encode_labels(values, labels, stored, lambda row: f"row {row}").tolist()


def refused(values, labels=LABELS, stored=None):
    with pytest.raises(DataError) as caught:
        encode(values, labels, stored)
    return caught.value.problems


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["b", "a", "b"], ("a", "b")),
        ([10, 9, 2], ("2", "9", "10")),
        (["10", "9", " 2"], ("2", "9", "10")),
        ([1.0, 0.0], ("0", "1")),
        ([True, False], ("0", "1")),
        (["1", "x", "10"], ("1", "10", "x")),
        (["-1", "1"], ("-1", "1")),
        (["--1", "1-"], ("--1", "1-")),
        (["a", "", None, " ", 0.5, ["b"], {}, float("nan")], ("a",)),  # left for encode_labels to refuse
        ([], ()),
    ],
)
def test_labels_are_found_in_a_fixed_order(values, labels):
    assert discover_labels(values) == labels
    assert discover_labels(values[::-1]) == labels


def test_names_and_numbers_are_classes():
    assert encode(["mixed", "negative", 1, "1", 2.0, True]) == [2, 0, 1, 1, 2, 1]


def test_a_number_is_a_name_where_the_labels_are_numbers():
    stars = ("1", "2", "3")
    assert encode([1, "2", 3.0], stars) == [0, 1, 2]
    assert encode(["3", 1], ("3", "2", "1")) == [0, 2]
    assert len(refused([1, 0], stars)) == 1  # not the class at place 0
    assert "its number" not in refused([0], stars)[0].expected
    assert encode([1, "many"], ("1", "2", "many")) == [0, 2]


def test_the_numbers_that_a_message_names_are_those_that_count():
    stored = ("blue", "green", "red")
    assert refused(["green"], ("red", "blue"), stored)[0].expected.endswith("its number in the data: 0, 2")
    assert refused(["green"], ("red", "blue"))[0].expected.endswith("or its number from 0 to 1")


def test_numbers_of_a_source_with_names_count_in_its_own_order():
    stored = ("mixed", "positive", "negative")
    assert encode([0, 1, 2, "mixed"], LABELS, stored) == [2, 1, 0, 2]
    assert encode([0, 1, 2], ("minus", "plus", "both"), stored) == [0, 1, 2]  # other names: by position
    assert encode([0, 2], ("mixed", "negative"), stored) == [0, 1]
    assert len(refused([0, 1, 2], ("mixed", "negative"), stored)) == 1  # never another class's number
    assert encode([0, 4], ("1", "2", "3", "4", "5"), ("a", "b", "c", "d", "e")) == [0, 4]
    assert len(refused([-1, 3], LABELS, stored)) == 2


def test_rows_without_a_class_are_named_and_counted():
    problems = refused(["positive", *["bad"] * 7, 3, -1, None, "", 0.5, ["positive"], "  "])
    assert [p.where for p in problems[:5]] == ["row 1", "row 2", "row 3", "row 4", "row 5"]
    assert "label 'bad' is not one of the 3 labels" in problems[0].what
    assert problems[0].expected == "one of negative, positive, mixed, or its number from 0 to 2"
    assert problems[5].what == "and 9 more rows like these"


@pytest.mark.parametrize(
    "value", [3, -1, "3", None, "", " ", 0.5, float("nan"), float("inf"), [1], {}, "--1", "²"]
)
def test_what_is_no_label(value):
    (problem,) = refused(["positive", value, "negative"])
    assert problem.where == "row 1"


def test_a_column_without_any_label_is_refused():
    assert refused([None, 0.5], labels=())[0].expected == "a name or a whole number"


@pytest.mark.slow
@given(st.lists(st.one_of(st.text(), st.integers(-(10**17), 10**17), st.booleans(), st.none()), min_size=1))
def test_whatever_is_discovered_can_be_encoded(values):
    labels = discover_labels(values)
    assert len(set(labels)) == len(labels)
    usable = [v for v in values if v is not None and str(v).strip()]
    codes = encode(usable, labels)
    assert set(codes) == set(range(len(labels)))
    for value, code in zip(usable, codes, strict=True):
        assert labels[code] == str(value) or int(labels[code]) == int(value)


def test_classes_without_an_example():
    assert untaught_classes(np.array([0, 1, 2]), LABELS) == []
    assert untaught_classes(np.array([1, 1]), LABELS) == ["negative", "mixed"]


def test_outputs_are_brought_into_the_order_of_the_data():
    model = ("c", "a", "b")
    permutation = match_labels(model, ("a", "b", "c"), 3, where="teacher")
    logits = np.array([[30, 10, 20]])  # of c, a, b
    assert logits[:, permutation].tolist() == [[10, 20, 30]]


@given(st.permutations(["a", "b", "c", "d"]), st.permutations(["a", "b", "c", "d"]))
def test_any_two_orders_are_matched(model, data):
    permutation = match_labels(tuple(model), tuple(data), 4, where="")
    taken = model if permutation is None else np.array(model)[permutation].tolist()
    assert list(taken) == list(data)


def test_nothing_to_do():
    assert match_labels(LABELS, LABELS, 3, where="") is None
    assert match_labels(None, LABELS, 3, where="") is None
    assert match_labels(("LABEL_0", "LABEL_1", "LABEL_2"), LABELS, 3, where="") is None
    assert match_labels(("0", "1", "2"), LABELS, 3, where="") is None
    assert unnamed(("0", "1"))
    assert not unnamed(("1", "0"))


def test_numbers_are_names_where_the_data_have_the_same():
    assert match_labels(("0", "1"), ("1", "0"), 2, where="").tolist() == [1, 0]


def test_other_outputs_or_names_are_refused():
    with pytest.raises(ModelError, match="teacher: the model has 2 outputs, the data have 3 labels"):
        match_labels(None, LABELS, 2, where="teacher")
    with pytest.raises(
        ModelError, match="the model's labels are bad, good, the data's are negative, positive"
    ):
        match_labels(("bad", "good"), ("negative", "positive"), 2, where="teacher")


@pytest.mark.parametrize(
    ("stated", "of_model", "of_source", "expected"),
    [
        (None, None, None, ("c",)),
        (None, None, ("s", "t"), ("s", "t")),
        (None, ("m", "n"), ("s", "t"), ("m", "n")),
        (None, ("0", "1"), ("s", "t"), ("s", "t")),
        (None, ("LABEL_0", "LABEL_1"), ("s", "t"), ("s", "t")),
        (None, ("0", "1"), ("0", "1", "2"), ("0", "1")),
        (None, ("0", "1"), None, ("0", "1")),
        (("x", "y"), ("m", "n"), ("s", "t"), ("x", "y")),
    ],
)
def test_labels_are_those_stated_then_the_models_then_the_sources_then_those_that_occur(
    stated, of_model, of_source, expected
):
    assert choose_labels(stated, of_model, of_source, lambda: ("c",)) == expected


def test_11_05_a_label_of_thousands_of_letters_is_cut_where_it_is_printed():
    from ptm.data.labels import encode_labels
    from ptm.errors import DataError

    with pytest.raises(DataError) as caught:
        encode_labels(["x" * 5000], ("y" * 5000, "b"), None, str)
    assert len(str(caught.value)) < 800
