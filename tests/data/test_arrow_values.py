"""What is asked of the values of a column is answered alike however the column is laid out."""

import numpy as np
import pytest

from ptm.data.arrow import Builder, Coded, Texts, join, select
from ptm.data.arrow_values import empty_rows, first_rows, stripped, value_keys, value_numbers

NAMES = ["b", "a", "", "b", "ä", "a\0", "\ud800", "ab", "ba", "a", "語", "b"]


def texts(values):
    builder = Builder()
    builder.extend([f"{number}" for number in range(30)])
    builder.extend(values)
    column = select(builder.column(), np.arange(30, 30 + len(values)))
    assert isinstance(column, Texts)
    return column


def layouts(values):
    there = list(dict.fromkeys(values))
    yield values
    yield texts(values)
    yield join([texts(values[:5]), texts(values[5:])])
    yield Coded(np.array([there.index(value) for value in values], dtype="<u2"), [*there, "none has it"])


@pytest.mark.parametrize("column", [*layouts(NAMES)], ids=["list", "texts", "parts", "coded"])
def test_13_06_equal_values_have_one_number(column):
    firsts = [NAMES.index(name) for name in NAMES]
    numbers = value_numbers(column)
    assert sorted(set(numbers.tolist())) == list(range(len(set(NAMES))))
    assert first_rows(numbers).tolist() == firsts
    assert value_keys(column).tolist() == value_keys(NAMES).tolist()


def test_13_06_texts_that_differ_by_a_byte_its_place_or_the_length_have_other_keys():
    values = ["a" * n for n in range(300)] + [f"{a}{b}" for a in range(60, 99) for b in range(10, 99)]
    values += ["\0", "\0\0", "\0a", "a\0", "ab", "ba", "aab", "aba", "baa"]
    assert len(set(value_keys(values).tolist())) == len(set(values))
    assert len(value_keys([])) == 0


def test_13_06_blanks_around_texts_are_taken_away_and_without_any_nothing_is_made():
    column = texts(["a", "", "é", "b c", "語"])
    assert stripped(column) is column and empty_rows(column) == [1]
    for name in (" a", "a\n", "\u3000a", "a\xa0", "\x1ca", " "):
        made = stripped(texts(["b", name, "c"]))
        assert list(made) == ["b", name.strip(), "c"]
