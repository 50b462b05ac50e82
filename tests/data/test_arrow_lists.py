"""Columns of lists are the lists that were read, whatever stands in them."""

import json

import numpy as np
import pytest

from ptm.data.arrow import CHUNK, join, select
from ptm.data.arrow_lists import Lists, RowBuilder
from ptm.data.tables import LEAST_BYTES, read_json, read_parquet

ROWS = [["a", "b"], [], ["ä", "\ud800", ""], ["a"], [1, True, None, 1.0, -0.0]]


def built(*parts):
    builder = RowBuilder()
    for part in parts:
        builder.extend(part)
    return builder.column()


def same(ours, theirs):
    """1, 1.0 and True are equal to Python, and not the same."""
    assert [list(map(repr, row)) for row in ours] == [list(map(repr, row)) for row in theirs]


def test_13_06_a_column_of_lists_is_the_lists_of_its_rows():
    column = built(ROWS[:2], ROWS[2:])
    assert isinstance(column, Lists) and len(column) == 5
    same(column, ROWS)
    same([column[row] for row in range(-5, 5)], ROWS + ROWS)
    same(column[1:4], ROWS[1:4])
    same(column[::-2], ROWS[::-2])
    assert column[3:1] == [] and column == ROWS
    with pytest.raises(IndexError):
        column[5]
    chosen = select(column, np.array([4, 0, 2]))
    same(chosen, [ROWS[4], ROWS[0], ROWS[2]])
    same(select(chosen, [2, 1]), [ROWS[2], ROWS[0]])
    both = join([column, chosen])
    assert isinstance(both, Lists)
    same(both, [*ROWS, ROWS[4], ROWS[0], ROWS[2]])
    same(join([column, ["a", ["b"]]]), [*ROWS, "a", ["b"]])


def test_13_06_words_of_many_values_are_texts_and_tags_are_coded():
    words = [[f"w{row}", f"v{row}"] for row in range(CHUNK)]
    column = built(words[:1000], words[1000:])
    assert column == words and type(column.items).__name__ == "Texts"
    assert type(built([["O", "B"]] * 9).items).__name__ == "Coded"


@pytest.mark.parametrize("other", [None, "text", ("a",), {"a": 1}, [["nested"]], [{"a": 1}], 3])
def test_13_06_rows_that_are_no_plain_lists_make_what_they_made_before(other):
    for parts in ([[["a"]], [other]], [[other], [["a"]]], [[["a"], other]]):
        assert list(built(*parts)) == [value for part in parts for value in part]


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_13_06_lists_of_words_are_kept_and_not_read_again(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    records = [
        {"words": [f"w{n}", "of", f"x{n * 7}" * 9], "tags": ["O", "B-X", n % 3]} for n in range(30_000)
    ]
    path = tmp_path / f"rows.{kind}"
    if kind == "json":
        path.write_text("\n".join(map(json.dumps, records)))
        read = read_json
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        for record in records:
            record["tags"] = list(map(str, record["tags"]))
        parquet.write_table(
            pyarrow.Table.from_pylist(records), path, compression="none", use_dictionary=False
        )
        read = read_parquet
    assert path.stat().st_size > LEAST_BYTES
    for _ in range(2):
        table = read(path, ["words", "tags"])
        for name, column in table.columns.items():
            assert isinstance(column, Lists)
            same(column, [record[name] for record in records])
        assert isinstance(
            table.columns["words"].items.parts[0].data.base, np.memmap | np.ndarray | memoryview
        )
        monkeypatch.setattr("ptm.base.strict_json.loads", None)
        monkeypatch.setattr("ptm.data.tables.RowBuilder", None)


@pytest.mark.parametrize("distinct", [5, 3000])
def test_13_06_items_of_lists_lie_end_to_end_and_know_their_rows(distinct):
    random = np.random.default_rng(0)
    rows = [[f"w{n}" for n in random.integers(0, distinct, size)] for size in random.integers(0, 5, 900)]
    column, chosen = built(rows), np.array([7, 0, 7, 300, 899])
    for lists, expected in ((column, rows), (select(column, chosen), [rows[row] for row in chosen])):
        flat = [(row, item) for row, items in enumerate(expected) for item in items]
        assert list(lists.flat()) == [item for _, item in flat]
        assert lists.rows_of(np.arange(len(flat))).tolist() == [row for row, _ in flat]
        assert lists.lengths.tolist() == [*map(len, expected)]
    assert column.nbytes == sum(len(item) for row in rows for item in row)
    digests = {column.digest, select(column, chosen).digest, select(column, chosen[::-1]).digest}
    digests |= {built(rows[:-1]).digest, built([[*rows[0], *rows[1]], *rows[2:]]).digest}
    assert len(digests) == 5 and built(rows[:400], rows[400:]).digest == column.digest
