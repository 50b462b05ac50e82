"""Pairs of rows that may be nearly equal, bounded: rows of one template are all candidates of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class NearPairs:
    """``found``: (i, j, similarity) with i < j, by rising i and j. ``limit``: how many candidates were compared, where
    there were more; else None."""

    found: Sequence[tuple[int, int, float]]
    limit: int | None = None

    def of_rows(self, rows: np.ndarray) -> NearPairs:
        """The same, of ``rows[i]`` and ``rows[j]``, which rise."""
        return NearPairs(
            [(int(rows[i]), int(rows[j]), similarity) for i, j, similarity in self.found], self.limit
        )


@dataclass(frozen=True)
class Candidates:
    """``codes``: i * n + j of pairs of n rows, i < j, each once and rising, int64; ``scores``: how alike they seem,
    uint8. ``complete``: whether none was left out."""

    codes: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    scores: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    complete: bool = True

    def with_others(self, codes: np.ndarray, scores: np.ndarray, most: int) -> Candidates:
        """These and others, of which the same pair has the same score; at most ``most``, those that seem most alike."""
        every, places = np.unique(np.concatenate([self.codes, codes]), return_index=True)
        all_scores = np.concatenate([self.scores, scores])[places]
        if len(every) <= most:
            return Candidates(every, all_scores, self.complete)
        best = np.sort(np.argsort(255 - all_scores, kind="stable")[:most])
        return Candidates(every[best], all_scores[best], False)
