"""Numbers of a report against those of scikit-learn and of formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from ptm.report import scores
from report_runs import (
    wilson_by_formula,
)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_solves_its_equation(case: tuple[int, int]) -> None:
    correct, n = case
    low, high = scores.wilson_interval(correct / n, n)
    assert 0 <= low <= correct / n <= high <= 1
    assert np.allclose((low, high), wilson_by_formula(correct, n), atol=1e-6)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_counts_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    targets, predicted = np.array(pairs).T
    matrix = scores.confusion(targets, predicted, 4)
    assert (matrix == metrics.confusion_matrix(targets, predicted, labels=range(4))).all()
    expected = metrics.precision_recall_fscore_support(targets, predicted, labels=range(4), zero_division=0)
    found = scores.per_class(targets, predicted, 4)
    assert np.allclose((found.precision, found.recall, found.f1, found.support), expected)
    mistakes = [(i, j, int(matrix[i, j])) for i in range(4) for j in range(4) if i != j and matrix[i, j]]
    mistakes.sort(key=lambda mistake: -mistake[2])
    assert scores.most_confused(targets, predicted, 5) == mistakes[:5]


def test_smoothing_is_a_centred_mean_that_skips_gaps() -> None:
    values = np.array([1.0, 2.0, math.nan, 4.0, 6.0])
    assert np.allclose(scores.smooth(values, 3), [1.5, 1.5, math.nan, 5.0, 5.0], equal_nan=True)
    assert np.array_equal(scores.smooth(values, 1), values, equal_nan=True)
