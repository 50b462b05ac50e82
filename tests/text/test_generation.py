"""Scores of written words that are no numbers do not pass for an answer."""

import math

import pytest
import torch

from ptm.text.generation import ScoresSeen


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_15_08_the_text_of_a_score_that_is_none_is_named(bad):
    seen = ScoresSeen(2)
    scores = torch.zeros(4, 3)  # two beams a text
    scores[0, 1] = -math.inf  # a word that is forbidden
    assert seen(torch.zeros(4, 1), scores) is scores
    assert seen.not_finite == []
    scores[3, 2] = bad
    seen(torch.zeros(4, 2), scores)
    seen(torch.zeros(4, 3), torch.zeros(4, 3))
    assert seen.not_finite == [1]


def test_15_08_a_text_without_any_word_that_is_allowed_is_none():
    seen = ScoresSeen(1)
    seen(torch.zeros(1, 1), torch.full((1, 3), -math.inf))
    assert seen.not_finite == [0]
