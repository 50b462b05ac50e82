"""What evaluations say of embeddings: how cosines follow scores, and what is found by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ptm.errors import DataError
from ptm.metrics.classification import AccumulatedMetrics
from ptm.metrics.regression import NumberMetrics
from ptm.metrics.summary import Summary
from ptm.pipeline import Batch, Output, Prediction

_CHUNK = 1024  # queries compared with all candidates at a time, at most
_COSINES = 2**23  # held at a time: 64 MB
ALONE = "one text alone has no nearest one"
_DIGITS = 6  # of a cosine that is shown; fp32 has seven


class ScoreMetrics(NumberMetrics):
    """Cosines of pairs beside their scores. ``score_range``: the scores whose cosine is to be 0 and 1; errors are in
    units of the scores, the loss is of cosines."""

    def __init__(self, score_range: tuple[float, float]) -> None:
        super().__init__()
        self._range = score_range

    def _empty(self) -> Self:
        return type(self)(self._range)

    def update(self, batch: Batch, output: Output) -> None:
        assert output.logits is not None
        low, high = self._range
        cosines = output.logits.float().cpu().numpy()
        self._accumulator.add(batch, output, (low + (high - low) * cosines).astype(np.float32))

    def summary(self) -> Summary:
        low, high = self._range
        summary = super().summary()
        constant = {**summary.constant, "loss": summary.constant["loss"] / (high - low) ** 2}
        return replace(summary, constant=constant)

    def predictions(self) -> Iterator[Prediction]:
        """``similarity`` is the cosine, ``prediction`` what score that comes to."""
        low, high = self._range
        for row in super().predictions():
            prediction = row["prediction"]
            assert isinstance(prediction, float)
            row["similarity"] = round((prediction - low) / (high - low), _DIGITS)
            yield row


class EmbeddingMetrics(AccumulatedMetrics):
    """What the embeddings of all evaluated examples have in common: they are held, fp32 [n, texts, d].

    ``Output.predictions`` are these of a batch; targets int64 [n], equal for texts that belong together, None where
    nobody knows.
    """

    def update(self, batch: Batch, output: Output) -> None:
        self._accumulator.add(batch, output, output.predictions)


class RetrievalMetrics(EmbeddingMetrics):
    """Pairs of texts that belong together: which place its second text has among all second texts, by the cosine with
    its first. ``temperature``: that of the loss, the cross-entropy over all of them."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self._temperature = temperature

    def _empty(self) -> Self:
        return type(self)(self._temperature)

    def compute(self) -> dict[str, float]:
        """``recallK``: the share of pairs whose second text is among the first K; ``mrr``: the mean of 1 / place."""
        _, targets, embeddings = self._accumulator.labelled()
        ranks, losses = self._places(targets, embeddings)
        recalls = {f"recall{k}": float(np.mean(ranks <= k)) for k in (1, 5, 10)}
        return {"loss": float(np.mean(losses)), **recalls, "mrr": float(np.mean(1 / ranks))}

    def summary(self) -> Summary:
        """The constant answer is one order of all texts for every question."""
        _, targets, _ = self._accumulator.labelled()
        n = len(np.unique(targets))
        places = np.arange(1, n + 1)
        recalls = {f"recall{k}": float(np.mean(places <= k)) for k in (1, 5, 10)}
        return Summary(constant={"loss": float(np.log(n)), **recalls, "mrr": float(np.mean(1 / places))})

    def predictions(self) -> Iterator[Prediction]:
        """``similarity`` is the cosine of the pair; ``rank`` the place of its second text, from 1, where it is known
        that they belong together."""
        ids, targets, embeddings = self._accumulator.by_id()
        cosines = np.einsum("nd,nd->n", embeddings[:, 0], embeddings[:, 1])
        ranks = None if targets is None else self._places(targets, embeddings)[0]
        for row, index in enumerate(ids):
            prediction = Prediction(id=int(index), similarity=round(float(cosines[row]), _DIGITS))
            if ranks is not None:
                prediction["rank"] = int(ranks[row])
            yield prediction

    def _places(self, targets: np.ndarray, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places from 1, int64 [n], and cross-entropies in nats, float64 [n]. Equal texts are one candidate; of others
        with the same cosine a text has the last place: embeddings that are all alike find nothing."""
        first = embeddings[:, 0].astype(np.float64)
        _, where, numbers = np.unique(targets, return_index=True, return_inverse=True)
        second = embeddings[where, 1].astype(np.float64)
        ranks, losses = [], []
        for part in _parts(len(first), len(second)):
            own = numbers[part, None]
            cosines = first[part] @ second.T
            of_pair = np.take_along_axis(cosines, own, axis=1)
            ranks.append((cosines >= of_pair).sum(1))
            scores = cosines / self._temperature
            highest = scores.max(1, keepdims=True)
            total = np.log(np.exp(scores - highest).sum(1)) + highest[:, 0]
            losses.append(total - of_pair[:, 0] / self._temperature)
        return np.concatenate(ranks), np.concatenate(losses)


class NeighbourMetrics(EmbeddingMetrics):
    """Single texts of known classes: whether the text that is most like another one is of its class."""

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()
        self._labels = tuple(labels)

    def _empty(self) -> Self:
        return type(self)(self._labels)

    def compute(self) -> dict[str, float]:
        """``accuracy``: of the answer "the class of the nearest other text". ``loss``: the mean over texts of the mean
        of (1 - cosine)² over the others of its class plus that of cosine² over those of other classes."""
        _, targets, embeddings = self._accumulator.labelled()
        nearest, loss = _neighbours(targets, embeddings[:, 0])
        return {"loss": loss, "accuracy": float(np.mean(targets[nearest] == targets))}

    def summary(self) -> Summary:
        """The constant answer is the most frequent class; of its loss nothing is known."""
        _, targets, _ = self._accumulator.labelled()
        counts = np.bincount(targets, minlength=len(self._labels))
        return Summary(constant={"accuracy": float(counts.max() / counts.sum())})

    def predictions(self) -> Iterator[Prediction]:
        """``label``, and ``prediction``: that of the nearest other text; of texts without labels ``embedding``."""
        ids, targets, embeddings = self._accumulator.by_id()
        if targets is None:
            for index, vector in zip(ids, embeddings[:, 0], strict=True):
                yield Prediction(id=int(index), embedding=[_shown(value) for value in vector])
            return
        nearest, _ = _neighbours(targets, embeddings[:, 0])
        for row, index in enumerate(ids):
            label, prediction = (self._labels[targets[place]] for place in (row, nearest[row]))
            yield Prediction(id=int(index), label=label, prediction=prediction)


def _neighbours(targets: np.ndarray, embeddings: np.ndarray) -> tuple[np.ndarray, float]:
    """The nearest other text of each, int64 [n], and the loss of :meth:`NeighbourMetrics.compute`. Raises DataError for
    one text alone."""
    if len(targets) < 2:
        raise DataError(ALONE, cure="evaluate on several")
    vectors = embeddings.astype(np.float64)
    nearest, losses = [], []
    for part in _parts(len(vectors), len(vectors)):
        cosines = vectors[part] @ vectors.T
        same = targets[part, None] == targets
        same[np.arange(len(part)), part] = False
        other = targets[part, None] != targets
        losses.append(_mean_where((1 - cosines) ** 2, same) + _mean_where(cosines**2, other))
        cosines[np.arange(len(part)), part] = -np.inf
        nearest.append(cosines.argmax(1))
    return np.concatenate(nearest), float(np.mean(np.concatenate(losses)))


def _parts(queries: int, candidates: int) -> Iterator[np.ndarray]:
    """The queries in pieces, int64, whose cosines with all candidates take little memory."""
    size = max(1, min(_CHUNK, _COSINES // candidates))
    for start in range(0, queries, size):
        yield np.arange(start, min(start + size, queries))


def _mean_where(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean of each row over the chosen places, 0 where there are none."""
    counts = chosen.sum(1)
    means: np.ndarray = np.where(chosen, values, 0.0).sum(1) / np.maximum(counts, 1)
    return means


def _shown(value: np.floating[Any]) -> float:
    """The shortest decimal number that is this float32."""
    return float(str(np.float32(value)))
