"""What an evaluation says of tags: every word counts, and entities count as wholes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ptm.config.tags import OUTSIDE, entities, entity_tags
from ptm.errors import DataError
from ptm.metrics.classification import six_digits
from ptm.metrics.summary import Summary, absent_labels, entropy
from ptm.pipeline import Batch, EntityRow, Metrics, Output, Prediction


@dataclass(frozen=True)
class TaggedWords:
    """A sentence and what a model says of it. ``text``: the sentence as it was given, or its words with blanks between
    them; ``starts``: where in it each word begins, in characters. ``predicted`` is -1 for a word that the model did not
    see."""

    text: str
    starts: Sequence[int]
    words: Sequence[str]
    tags: np.ndarray | None  # int64 [words]; None where nobody knows them
    predicted: np.ndarray  # int64 [words]
    probabilities: np.ndarray  # float32 [words], of the predicted tag


class TagMetrics:
    """Loss a tagged word, accuracy over all words, and precision, recall and F1 of entities where tags name them.

    A word that the model did not see, for it lies beyond max_length, counts as tagged ``O``, or as wrong where there is
    no such tag.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._entity_tags = entity_tags(self._labels)
        self._loss_sum = 0.0
        self._count = 0
        self._sentences: dict[int, TaggedWords] = {}

    def update(self, batch: Batch, output: Output) -> None:
        self._loss_sum += float(output.loss_sum)
        self._count += output.count
        self._sentences |= zip(batch.ids.tolist(), output.predictions, strict=True)

    def merge(self, others: Sequence[Metrics]) -> TagMetrics:
        merged = TagMetrics(self._labels)
        for part in (self, *others):
            assert isinstance(part, TagMetrics)
            merged._loss_sum += part._loss_sum
            merged._count += part._count
            merged._sentences |= part._sentences
        return merged

    def subset(self, ids: np.ndarray) -> TagMetrics:
        subset = TagMetrics(self._labels)
        subset._sentences = {index: self._sentences[index] for index in ids.tolist()}
        return subset

    def compute(self) -> dict[str, float]:
        pairs = [(self._names(s.tags), self._names(s.predicted)) for s in self._known()]
        words = sum(len(tags) for tags, _ in pairs)
        right = sum(a == b for tags, predicted in pairs for a, b in zip(tags, predicted, strict=True))
        loss = {"loss": self._loss_sum / self._count} if self._count else {}
        values = {**loss, "accuracy": _ratio(right, words)}
        return values | (entity_scores(pairs, self._entity_tags) if self._entity_tags else {})

    def summary(self) -> Summary:
        """The constant answer is the most frequent tag for every word."""
        known = self._known()
        truth = np.concatenate([sentence.tags for sentence in known if sentence.tags is not None])
        counts = np.bincount(truth, minlength=len(self._labels))
        majority = self._labels[int(counts.argmax())]
        pairs = [(self._names(s.tags), [majority] * len(s.words)) for s in known]
        scores = entity_scores(pairs, self._entity_tags) if self._entity_tags else {}
        constant = {
            "loss": entropy(counts / counts.sum()),
            "accuracy": float(counts.max() / counts.sum()),
            **{name: value for name, value in scores.items() if "/" not in name},
        }
        answers = sorted({name for s in known for name in self._names(s.predicted) if name is not None})
        only = f"{answers[0]!r} for every word" if answers else ""
        absent = absent_labels(counts, self._labels)
        return Summary(constant=constant, absent=absent, answers=len(answers), only=only)

    def predictions(self) -> Iterator[Prediction]:
        """``words``, ``tags`` (if known), ``predicted_tags`` and the probability of each, ``scores``; None for a word
        that was not seen and cannot be O. Where tags name entities, those that are predicted: ``entities``."""
        for index, sentence in sorted(self._sentences.items()):
            prediction = Prediction(id=index, words=list(sentence.words))
            if sentence.tags is not None:
                prediction["tags"] = self._names(sentence.tags)
            prediction["predicted_tags"] = self._names(sentence.predicted)
            pairs = zip(sentence.probabilities, sentence.predicted >= 0, strict=True)
            prediction["scores"] = [six_digits(float(p)) if within else None for p, within in pairs]
            if self._entity_tags:
                prediction["entities"] = self._entities(sentence)
            yield prediction

    def _entities(self, sentence: TaggedWords) -> list[EntityRow]:
        rows = []
        for kind, first, last in entities(self._names(sentence.predicted), self._entity_tags):
            start, end = sentence.starts[first], sentence.starts[last] + len(sentence.words[last])
            score = float(sentence.probabilities[first : last + 1].astype(np.float64).mean())
            text = sentence.text[start:end]
            rows.append(EntityRow(text=text, kind=kind, start=start, end=end, score=six_digits(score)))
        return rows

    def _names(self, numbers: np.ndarray | None) -> list[str | None]:
        assert numbers is not None
        missing = OUTSIDE if OUTSIDE in self._labels else None
        return [self._labels[number] if number >= 0 else missing for number in numbers]

    def _known(self) -> list[TaggedWords]:
        if not self._sentences:
            raise DataError("nothing was evaluated: the evaluation split is empty")
        if any(sentence.tags is None for sentence in self._sentences.values()):
            raise DataError("there are no tags to compare with", cure="ptm predict needs none")
        return list(self._sentences.values())


def entity_scores(
    pairs: Sequence[tuple[Sequence[str | None], Sequence[str | None]]], known: Mapping[str, tuple[str, str]]
) -> dict[str, float]:
    """``precision``, ``recall``, ``f1`` over all entities of (true, predicted) tags, and ``f1/KIND``; 0 for 0 / 0."""
    true: Counter[str] = Counter()
    claimed: Counter[str] = Counter()
    both: Counter[str] = Counter()
    for tags, predicted in pairs:
        truth, guess = set(entities(tags, known)), set(entities(predicted, known))
        for counter, spans in ((true, truth), (claimed, guess), (both, truth & guess)):
            counter.update(kind for kind, _, _ in spans)
    precision, recall = _ratio(both.total(), claimed.total()), _ratio(both.total(), true.total())
    f1 = _ratio(2 * both.total(), true.total() + claimed.total())
    kinds = {f"f1/{kind}": _ratio(2 * both[kind], true[kind] + claimed[kind]) for kind in sorted(true)}
    return {"precision": precision, "recall": recall, "f1": f1, **kinds}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
