"""What an evaluation says of a language model: loss, perplexity, masked accuracy, bits per byte."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ptm.errors import DataError
from ptm.pipeline import Batch, Metrics, Output, Prediction

_LARGEST_EXPONENT = 709.0  # e to a larger power is no fp64 number


@dataclass(frozen=True)
class Scores:
    """What a model says of the tokens it had to predict, an entry an example (``Output.predictions``)."""

    nats: np.ndarray  # float64 [n]: sum of -ln p(token)
    tokens: np.ndarray  # int64 [n]: how many
    right: np.ndarray  # int64 [n]: of how many the token was the likeliest


class LanguageMetrics:
    """Means over all predicted tokens of a split, however they lie in examples.

    ``loss`` is in nats a token, ``perplexity`` its exponential. Of masked tokens, ``masked_accuracy`` is the share
    whose likeliest token is the right one. With ``text_bytes``, the UTF-8 bytes of the texts that the predicted tokens
    write, ``bits_per_byte`` is the sum of all losses in bits over these bytes: models with different tokens can be
    compared by it.
    """

    def __init__(self, *, masked: bool, text_bytes: int | None = None) -> None:
        self._masked = masked
        self._text_bytes = text_bytes
        self._ids: list[np.ndarray] = []
        self._scores: list[Scores] = []

    def update(self, batch: Batch, output: Output) -> None:
        assert isinstance(output.predictions, Scores)
        self._ids.append(batch.ids)
        self._scores.append(output.predictions)

    def merge(self, others: Sequence[Metrics]) -> LanguageMetrics:
        merged = LanguageMetrics(masked=self._masked, text_bytes=self._text_bytes)
        for part in (self, *others):
            assert isinstance(part, LanguageMetrics)
            merged._ids += part._ids
            merged._scores += part._scores
        return merged

    def subset(self, ids: np.ndarray) -> LanguageMetrics:
        """Without ``bits_per_byte``: bytes are counted of all texts together."""
        subset = LanguageMetrics(masked=self._masked)
        for all_ids, scores in zip(self._ids, self._scores, strict=True):
            rows = np.flatnonzero(np.isin(all_ids, ids))
            subset._ids.append(all_ids[rows])
            subset._scores.append(Scores(scores.nats[rows], scores.tokens[rows], scores.right[rows]))
        return subset

    def compute(self) -> dict[str, float]:
        _, scores = self._sorted()
        nats, tokens = float(scores.nats.sum()), int(scores.tokens.sum())
        loss = nats / tokens
        values = {"loss": loss, "perplexity": math.exp(min(loss, _LARGEST_EXPONENT))}
        if self._masked:
            values["masked_accuracy"] = float(scores.right.sum() / tokens)
        if self._text_bytes:
            values["bits_per_byte"] = nats / math.log(2) / self._text_bytes
        return values

    def predictions(self) -> Iterator[Prediction]:
        """One an example: ``id``, its mean ``loss``, the number of predicted ``tokens``, and how many are ``right``."""
        ids, scores = self._sorted()
        for index, nats, tokens, right in zip(ids, scores.nats, scores.tokens, scores.right, strict=True):
            yield {
                "id": int(index),
                "loss": round(float(nats / tokens), 6),
                "tokens": int(tokens),
                "right": int(right),
            }

    def _sorted(self) -> tuple[np.ndarray, Scores]:
        """By rising id, so that sums do not depend on batches or processes."""
        if not self._ids:
            raise DataError("nothing was evaluated: the evaluation split is empty")
        ids = np.concatenate(self._ids)
        by_id = np.argsort(ids, kind="stable")
        columns = ("nats", "tokens", "right")
        joined = {name: np.concatenate([getattr(s, name) for s in self._scores])[by_id] for name in columns}
        return ids[by_id], Scores(**joined)
