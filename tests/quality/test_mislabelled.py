"""Confident learning: by hand, and on labels that were turned around."""

import numpy as np

from ptm.quality.mislabelled import doubts


def test_11_05_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 1])
    yes = np.array([0.1, 0.2, 0.9, 0.8, 0.9, 0.45])
    found = doubts(np.stack([1 - yes, yes], axis=1), labels)
    # Thresholds: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, class 1 (0.8 + 0.9 + 0.45) / 3 = 0.717. Of the last row, 0.55
    # and 0.45 reach neither.
    assert [(d.row, d.label, d.likely) for d in found] == [(2, 0, 1)]
    assert (found[0].own, found[0].other) == (1 - 0.9, 0.9)


def test_11_05_the_most_doubtful_stand_first_and_turned_labels_are_found():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 1000)
    logits = rng.normal(size=(1000, 4)) + 5 * np.eye(4)[truth]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = truth.copy()
    turned = rng.choice(1000, 50, replace=False)
    labels[turned] = (labels[turned] + 1) % 4
    found = doubts(p, labels)
    margins = [d.own - d.other for d in found]
    assert margins == sorted(margins)
    first = {d.row for d in found[:40]}
    assert len(first & set(turned)) >= 39
    assert all(d.likely == truth[d.row] for d in found[:40])


def test_11_05_a_class_that_no_label_names_is_never_likely():
    p = np.array([[0.1, 0.1, 0.8], [0.9, 0.05, 0.05], [0.2, 0.7, 0.1]])
    assert all(d.likely != 2 for d in doubts(p, np.array([0, 0, 1])))
