"""From the scores of tokens to the answer: the best span over all windows of a context."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

BEST = 20  # spans that share the probability, as in BERT's run_squad.py


@dataclass(frozen=True)
class Span:
    """Characters of the context, ``start`` to ``end`` (behind the last one); None where it has no answer.
    ``probability``: its share of the softmax over the scores of the best spans."""

    start: int | None
    end: int | None
    probability: float


@dataclass(frozen=True)
class ScoredWindow:
    """The tokens of a window that are of the context, in their order: scores of being the first and the last of the
    answer, fp [tokens], and their characters, int [tokens, 2]; ``none``: the score of no answer."""

    first: np.ndarray
    last: np.ndarray
    places: np.ndarray
    none: float


def best_answer(windows: Sequence[ScoredWindow], longest: int, *, may_be_none: bool, margin: float) -> Span:
    """The span of at most ``longest`` tokens with the highest sum of both scores, over all windows; with
    ``may_be_none`` none, where the score of that, the lowest over the windows as in BERT's ``run_squad.py`` (each
    without the answer says so), is higher by more than ``margin``."""
    candidates: dict[tuple[int, int], float] = {}
    for window in windows:
        for score, first, last in _best_of(window, longest):
            span = (int(window.places[first, 0]), int(window.places[last, 1]))
            candidates[span] = max(score, candidates.get(span, -np.inf))
    ranked = sorted(candidates.items(), key=lambda pair: (-pair[1], pair[0]))[:BEST]
    if not ranked:  # no score is a number, which whoever writes the probability says
        return Span(None, None, math.nan)
    scores = [score for _, score in ranked]
    none = min(window.none for window in windows)
    choices = [*scores, none] if may_be_none else scores
    powers = np.exp(np.array(choices) - max(choices))
    if may_be_none and none - scores[0] > margin:
        return Span(None, None, float(powers[-1] / powers.sum()))
    (start, end), _ = ranked[0]
    return Span(start, end, float(powers[0] / powers.sum()))


def without_blanks(span: Span, context: str) -> Span:
    """Without blanks at its ends: tokens of SentencePiece, and of bytes as GPT-2 has them, begin with the one before
    the word."""
    if span.start is None:
        return span
    text = context[span.start : span.end]
    start = span.start + len(text) - len(text.lstrip())
    return replace(span, start=start, end=start + len(text.strip()))


def _best_of(window: ScoredWindow, longest: int) -> list[tuple[float, int, int]]:
    """(score, first token, last token) of the best spans of a window, all spans looked at."""
    count = len(window.first)
    steps = np.arange(min(longest, count))[:, None]
    ends = np.arange(count) + steps  # [tokens of a span - 1, first token]
    sums = window.first.astype(np.float64) + window.last.astype(np.float64)[np.minimum(ends, count - 1)]
    sums[ends >= count] = -np.inf
    flat = sums.ravel()
    best = np.argsort(-flat, kind="stable")[:BEST]
    return [
        (float(flat[place]), int(place % count), int(ends.ravel()[place]))
        for place in best
        if np.isfinite(flat[place])
    ]
