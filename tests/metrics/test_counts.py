"""Counts of classes against scikit-learn, to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from ptm.metrics.counts import count_classes, count_flags, roc_auc


@given(st.integers(1, 40), st.integers(2, 9), st.integers(0, 10_000))
def test_13_03_classes_are_counted_as_in_scikit_learn_bit_for_bit(rows, classes, seed):
    generator = np.random.default_rng(seed)
    targets, predicted = generator.integers(classes, size=(2, rows))
    counts = count_classes(targets, predicted, classes)
    rest = {"labels": range(classes), "zero_division": 0}
    precision, recall, f1, support = reference.precision_recall_fscore_support(targets, predicted, **rest)
    assert (counts.precision == precision).all() and (counts.recall == recall).all()
    assert (counts.f1 == f1).all() and (counts.true == support).all()
    assert counts.f1.mean() == reference.f1_score(targets, predicted, average="macro", **rest)
    some = np.union1d(targets, predicted)
    assert counts.of(some).f1.mean() == reference.f1_score(
        targets, predicted, labels=some, average="macro", zero_division=0
    )


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 10_000))
def test_13_03_flags_are_counted_as_in_scikit_learn_bit_for_bit(rows, classes, seed):
    truth, predicted = np.random.default_rng(seed).random((2, rows, classes)) < 0.4
    counts = count_flags(truth, predicted)
    for average, ours in (("micro", counts.total().f1[0]), ("macro", counts.f1.mean())):
        if classes > 1:  # scikit-learn takes one column for one class of two
            assert ours == reference.f1_score(truth, predicted, average=average, zero_division=0)


@given(st.integers(2, 200), st.sampled_from([2, 5, 50, 10**9]), st.integers(0, 10_000))
def test_13_03_the_area_under_the_roc_curve_is_that_of_scikit_learn_bit_for_bit(rows, values, seed):
    generator = np.random.default_rng(seed)
    truth = generator.random(rows) < 0.5
    truth[:2] = True, False
    scores = generator.integers(values, size=rows) / 7 - 3
    assert roc_auc(truth, scores) == reference.roc_auc_score(truth, scores)
    single = scores.astype(np.float32)
    assert roc_auc(truth, single) == reference.roc_auc_score(truth, single)


def test_13_03_equal_scores_count_half():
    assert roc_auc(np.array([True, False]), np.array([1.0, 1.0])) == 0.5
    # Of the 2 x 2 pairs of a hit and a miss one is in order, one is equal, two are not.
    assert roc_auc(np.array([True, True, False, False]), np.array([3.0, 1.0, 2.0, 3.0])) == pytest.approx(
        1.5 / 4
    )
