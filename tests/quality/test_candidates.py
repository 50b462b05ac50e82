"""Candidates are kept each once, and where there are too many those that seem most alike."""

import numpy as np

from ptm.quality.candidates import Candidates, NearPairs


def test_15_15_the_most_alike_are_kept():
    def more(known, codes, scores):
        return known.with_others(np.array(codes, dtype=np.int64), np.array(scores, dtype=np.uint8), 3)

    some = more(Candidates(), [7, 2, 7], [50, 60, 50])
    assert some.codes.tolist() == [2, 7] and some.scores.tolist() == [60, 50] and some.complete
    best = more(some, [9, 7, 4], [255, 50, 0])
    assert best.codes.tolist() == [2, 7, 9] and best.scores.tolist() == [60, 50, 255] and not best.complete
    assert not more(best, [], []).complete


def test_pairs_of_some_rows_are_named_by_all_rows():
    pairs = NearPairs([(0, 2, 0.9)], 5).of_rows(np.array([3, 4, 8]))
    assert pairs == NearPairs([(3, 8, 0.9)], 5)
