"""Texts that a model writes token by token, and the one thing that the texts themselves do not show."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ScoresSeen:
    """Looks at the scores of each next token, for ``logits_processor`` of ``generate``, and changes none.

    Where they are no numbers the token of the lowest number is written, or the text ends, as if that were an answer.
    """

    def __init__(self, texts: int) -> None:
        self._texts = texts
        self._good: Tensor | None = None  # bool [rows], a row a beam

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``scores``: [rows, vocabulary]; words that are forbidden have minus infinity."""
        good = scores.amax(-1).isfinite()
        self._good = good if self._good is None else self._good & good
        return scores

    @property
    def not_finite(self) -> list[int]:
        """The places in the batch of texts for which a score was no number."""
        if self._good is None:
            return []
        bad: list[int] = torch.nonzero(~self._good.reshape(self._texts, -1).all(1)).flatten().tolist()
        return bad


def write(model: Any, **inputs: Any) -> tuple[Tensor, ScoresSeen]:
    """What ``generate`` gives, int64 [texts, tokens], and what was seen on the way."""
    seen = ScoresSeen(len(inputs["input_ids"]))
    return model.generate(**inputs, logits_processor=[seen]), seen
