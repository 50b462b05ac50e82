"""Which rows are held out: of both shares, of strata, of groups; always the same ones, whatever the training's seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptm.base import seeds
from ptm.data.arrow import Builder
from ptm.data.sharing import SELECT, hold_out, joined_groups, share_out, share_problem


def alone(n):
    return np.arange(n)


def test_12_01_two_shares_of_one_file_share_no_row_and_leave_the_first_as_it_was():
    strata = np.array([0] * 300 + [1] * 100)
    remaining, (first, second) = share_out(strata, [0.1, 0.2], alone(400))
    assert sorted([*remaining, *first, *second]) == list(range(400))
    assert [len(first), len(second)] == [40, 80]
    assert [int(strata[rows].sum()) for rows in (first, second)] == [10, 20]
    assert first.tolist() == hold_out(strata, 0.1)[1].tolist()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 45), st.integers(1, 45))
def test_12_01_every_row_is_on_one_side_and_equal_ones_on_the_same(values, first, second):
    groups = np.array([values.index(value) for value in values])
    strata = np.array(values) % 2
    for by_counts in (False, True):
        remaining, shares = share_out(strata, [first / 100, second / 100], groups, by_counts=by_counts)
        assert sorted([*remaining, *shares[0], *shares[1]]) == list(range(len(values)))
        sides = [{int(groups[row]) for row in rows} for rows in (remaining, *shares)]
        assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
        assert len(remaining), "there is something to train on"


def test_12_01_train_comes_first_and_then_each_share_as_long_as_there_are_examples():
    def sizes(n):
        remaining, shares = share_out(np.zeros(n, dtype=int), [0.1, 0.1], alone(n))
        return [len(rows) for rows in (remaining, *shares)]

    assert [sizes(n) for n in (1, 2, 3, 4)] == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [2, 1, 1]]
    assert sizes(20) == [16, 2, 2]


def test_12_01_groups_are_shared_out_with_the_labels_alike():
    random = np.random.default_rng(0)
    patients = np.sort(random.integers(0, 120, 1200))
    labels = (random.random(1200) < 0.2 + 0.5 * (patients % 2)).astype(int)  # a patient's rows are alike
    groups = joined_groups(alone(1200), [str(p) for p in patients])
    remaining, shares = share_out(labels, [0.1, 0.2], groups, by_counts=True)
    for rows, wanted in zip((remaining, *shares), (0.7, 0.1, 0.2), strict=True):
        assert len(rows) == pytest.approx(1200 * wanted, abs=12)
        assert labels[rows].mean() == pytest.approx(labels.mean(), abs=0.03)
    ids = [set(patients[rows]) for rows in (remaining, *shares)]
    assert not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])


def test_12_01_rows_are_linked_by_equal_content_and_by_what_they_belong_to():
    equal = np.array([0, 1, 2, 1, 4, 5])  # rows 1 and 3 are equal
    assert joined_groups(equal, ["a", "b", "a", "c", "c", "d"]).tolist() == [0, 1, 0, 1, 1, 5]


def test_12_01_a_share_far_from_what_was_asked_for_is_told():
    assert share_problem("eval", 10, 100, 0.1, "user") is None
    told = share_problem("eval", 40, 100, 0.1, "user")
    assert "40 of 100 rows, 40% where 10% was asked for" in told.what and "'user'" in told.cure


def one_by_one(strata, fraction, groups, passes=4):
    """What ``share_out`` takes by counts of one share: each group by itself, as it was first written."""
    _, stratum = np.unique(strata, return_inverse=True)
    aims = fraction * np.append(np.bincount(stratum), len(stratum))
    firsts, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(firsts), len(aims)))
    np.add.at(counts, (group, stratum), 1)
    counts[:, -1] = counts.sum(1)
    draw = seeds.uniforms(SELECT, 0, np.arange(len(strata)), 1)[firsts, 0]
    most, missing, taken = len(firsts) - 1, aims.copy(), np.zeros(len(firsts), dtype=bool)
    for place in np.tile(np.argsort(draw, kind="stable"), passes):
        other = missing + counts[place] * (1 if taken[place] else -1)
        allowed = taken[place] or taken.sum() < most
        if allowed and (other**2 / aims).sum() < (missing**2 / aims).sum():
            taken[place], missing = not taken[place], other
    if not taken.any() and most > 0:
        taken[np.lexsort((draw, ((aims - counts) ** 2 / aims).sum(1)))[0]] = True
    return np.flatnonzero(taken[group])


@pytest.mark.parametrize("strata", [1, 2, 5, 9, 30])
@pytest.mark.parametrize("rows_a_group", [1, 4, 25])
def test_13_06_groups_that_are_judged_many_at_a_time_are_those_that_are_taken_one_by_one(
    strata, rows_a_group
):
    random = np.random.default_rng(strata)
    for n in (3, 40, 700):
        groups = joined_groups(alone(n), [str(g) for g in random.integers(0, max(2, n // rows_a_group), n)])
        numbers = random.integers(0, strata, n) * random.integers(0, 2, n)
        for fraction in (0.01, 0.2, 0.9):
            _, (taken,) = share_out(numbers, [fraction], groups, by_counts=True)
            assert taken.tolist() == one_by_one(numbers, fraction, groups).tolist()


def test_13_06_rows_are_linked_alike_however_a_column_is_laid_out():
    random = np.random.default_rng(0)
    names = [f"writer {number}" for number in random.integers(0, 150, 400)]
    equal = np.arange(400)
    equal[300:] = random.integers(0, 100, 100)
    component = list(range(400))  # by brute force: every link until nothing changes
    for _ in range(40):
        for row in range(400):
            for other in (int(equal[row]), names.index(names[row])):
                component[row] = component[other] = min(component[row], component[other])
    texts = Builder()
    texts.extend(names)
    coded = Builder()
    coded.extend(names * 9)
    for column in (names, texts.column(), coded.column().select(np.arange(400))):
        assert joined_groups(equal, column).tolist() == component
