"""The best span over all windows, against every span looked at one by one."""

import itertools

import numpy as np
import pytest

from ptm.text.answer_spans import BEST, ScoredWindow, Span, best_answer, without_blanks


def window(draw, begin, tokens, none=-9.0):
    places = np.array([[10 * (begin + n), 10 * (begin + n) + 9] for n in range(tokens)])
    return ScoredWindow(draw.normal(size=tokens), draw.normal(size=tokens), places, none)


def every_span(windows, longest):
    scores = {}
    for each in windows:
        for a, b in itertools.product(range(len(each.first)), repeat=2):
            if a <= b < a + longest:
                span = (int(each.places[a, 0]), int(each.places[b, 1]))
                scores[span] = max(scores.get(span, -np.inf), each.first[a] + each.last[b])
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("longest", [1, 3, 30])
def test_11_13_the_best_span_is_the_best_of_all(seed, longest):
    draw = np.random.default_rng(seed)
    windows = [window(draw, 0, 7), window(draw, 5, 7), window(draw, 10, 1)]  # they share tokens
    ranked = every_span(windows, longest)
    found = best_answer(windows, longest, may_be_none=False, margin=0)
    assert (found.start, found.end) == ranked[0][0]
    powers = np.exp([score for _, score in ranked[:BEST]])
    assert found.probability == pytest.approx(powers[0] / powers.sum())


def test_11_13_no_answer_is_said_where_its_lowest_score_is_higher_by_more_than_the_margin():
    ones = ScoredWindow(np.array([1.0]), np.array([1.0]), np.array([[0, 3]]), none=5.0)
    sure = ScoredWindow(np.array([0.0]), np.array([0.0]), np.array([[4, 7]]), none=2.5)
    found = best_answer([ones, sure], 30, may_be_none=True, margin=0.4)  # 2.5 against 2
    assert (found.start, found.end) == (None, None)
    assert found.probability == pytest.approx(np.exp(2.5) / (np.exp(2.5) + np.exp(2) + 1))
    for how in ({"may_be_none": True, "margin": 0.6}, {"may_be_none": False, "margin": 0.0}):
        assert best_answer([ones, sure], 30, **how).start == 0


def test_11_13_scores_that_are_no_numbers_give_no_probability():
    broken = ScoredWindow(np.full(2, np.nan), np.full(2, np.nan), np.array([[0, 3], [4, 7]]), none=np.nan)
    assert np.isnan(best_answer([broken], 30, may_be_none=False, margin=0).probability)


def test_11_13_no_answer_that_may_not_be_given_takes_no_probability():
    """However high its score is."""
    one = ScoredWindow(np.array([1.0]), np.array([1.0]), np.array([[0, 3]]), none=5000.0)
    assert best_answer([one], 30, may_be_none=False, margin=0).probability == 1.0


def test_11_13_blanks_that_tokens_begin_with_are_no_part_of_an_answer():
    context = "Ada wrote\u3000it"
    assert without_blanks(Span(3, 9, 0.5), context) == Span(4, 9, 0.5)
    assert without_blanks(Span(3, 10, 0.5), context) == Span(4, 9, 0.5)
    assert without_blanks(Span(0, 3, 0.5), context) == Span(0, 3, 0.5)
    assert without_blanks(Span(9, 10, 0.5), context) == Span(10, 10, 0.5)
    assert without_blanks(Span(None, None, 0.5), context) == Span(None, None, 0.5)
