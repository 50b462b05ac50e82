"""Issue 13, line 6: columns as Arrow lays them out are the same values as lists, whatever these are."""

from collections import Counter

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptm.data import arrow
from ptm.data.arrow import Builder, Coded, Texts, distinct, join, mapped, numbers, rows_where, seen, select
from ptm.data.texts import text_problems

TEXTS = st.text(max_size=6) | st.sampled_from(["", " ", "a", "\u3164", "é", '"q"', "\ud800", "漢字"])
CELLS = (
    TEXTS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.lists(TEXTS, max_size=2)
)


def built(values, chunk=3):
    builder = Builder()
    for start in range(0, len(values), chunk):
        builder.extend(values[start : start + chunk])
    return builder.column()


def exact(values):
    return [(type(value), repr(value)) for value in values]  # 1, 1.0 and True are different cells


@given(values=st.lists(TEXTS, max_size=30) | st.lists(CELLS, max_size=30), more=st.data())
def test_13_06_a_column_is_the_list_of_its_values(values, more):
    column = built(values)
    rows = more.draw(st.lists(st.integers(0, len(values) - 1), max_size=9) if values else st.just([]))
    some = select(column, np.array(rows, dtype=np.int64))
    for made, expected in (
        (column, values),
        (some, [values[row] for row in rows]),
        (select(some, range(0, len(rows), 2)), [values[row] for row in rows[::2]]),
        (join([column, some, column]), [*values, *(values[row] for row in rows), *values]),
        (mapped(column, repr), list(map(repr, values))),
    ):
        assert len(made) == len(expected) and exact(made) == exact(expected)
        assert exact(made[2:7]) == exact(expected[2:7]) and exact(made[::-2]) == exact(expected[::-2])
        assert exact(made[row] for row in range(-len(made), len(made))) == exact([*expected, *expected])
        counts: Counter = Counter()
        first: dict = {}
        for value, count, row in distinct(made):
            counts[repr(value)] += count
            first.setdefault(repr(value), row)
        assert counts == Counter(map(repr, expected))
        assert list(first.items()) == list({repr(v): expected.index(v) for v in expected}.items()) or any(
            type(v) is not str for v in expected
        )
        assert rows_where(made, lambda v: len(repr(v)) > 3) == [
            row for row, v in enumerate(expected) if len(repr(v)) > 3
        ]
        assert numbers(made, lambda v: None if v == "" else 7).tolist() == [
            -1 if v == "" else 7 for v in expected
        ]
        told = [problem.where for problem in text_problems(made, "text", str)]
        assert told == [str(row) for row, v in enumerate(expected) if not isinstance(v, str) or not seen(v)]
        if isinstance(made, Texts):
            quoted = [row for row, v in enumerate(expected) if len(v) > 1 and v[0] == v[-1] == '"']
            assert made.between('"') == quoted


@given(st.lists(TEXTS, max_size=20), st.integers(1, 5))
def test_13_06_the_digest_is_of_the_texts_not_of_how_they_came(texts, chunk):
    texts = [*texts, *(f"{n}" for n in range(20))]
    one, other = built(texts, chunk), built(texts, 7)
    if isinstance(one, Texts):
        assert one.digest == other.digest
        assert one.digest != built([*texts[:-1], "another"]).digest
        assert one.select(np.arange(3)).digest != one.select(np.arange(4)).digest


def test_13_06_pyarrow_reads_the_texts_where_they_lie():
    texts = [f"sentence {n} é" for n in range(50)]
    (part,) = built(texts).parts
    buffers = [None, pyarrow.py_buffer(part.starts), pyarrow.py_buffer(part.data)]
    array = pyarrow.LargeStringArray.from_buffers(len(part), buffers[1], buffers[2])
    array.validate(full=True)
    assert array.to_pylist() == texts


def test_13_06_few_values_are_coded_and_many_are_texts(monkeypatch):
    labels = [("good", "bad")[n % 2] for n in range(100)]
    assert isinstance(built(labels), Coded) and built(labels).codes.nbytes == 200
    assert isinstance(built([str(n) for n in range(100)]), Texts)
    monkeypatch.setattr(arrow, "MOST_VALUES", 10)
    values = [str(n % 20) for n in range(1000)]
    assert isinstance(built(values), Texts) and built(values) == values
    assert built([*values, None, 1]) == [*values, None, 1]
    with pytest.raises(IndexError):
        built(values)[1000]
