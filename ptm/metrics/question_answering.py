"""What an evaluation says of answers that are parts of a text: SQuAD's exact match and F1 (arXiv:1606.05250, §6.1;
2.0: arXiv:1806.03822), as fractions. The official numbers are the same times 100."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ptm.errors import DataError
from ptm.metrics.classification import six_digits
from ptm.metrics.summary import Summary
from ptm.pipeline import Batch, Metrics, Output, Prediction

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class FoundAnswer:
    """What a model says: characters ``start`` to ``end`` of the context, None and "" where that has no answer.
    ``accepted``: the texts that are right, none where there is no answer; None where nobody knows."""

    text: str
    start: int | None
    end: int | None
    probability: float
    accepted: tuple[str, ...] | None

    @property
    def place(self) -> tuple[int | None, int | None]:
        """Where in the context it stands."""
        return self.start, self.end


class AnswerMetrics:
    """Loss a window and end of the answer, exact match and F1 a question, against the accepted answer that fits
    best. ``Output.predictions`` are a :class:`FoundAnswer` each."""

    def __init__(self) -> None:
        self._loss_sum = 0.0
        self._count = 0
        self._found: dict[int, FoundAnswer] = {}

    def update(self, batch: Batch, output: Output) -> None:
        self._loss_sum += float(output.loss_sum)
        self._count += output.count
        self._found |= zip(batch.ids.tolist(), output.predictions, strict=True)

    def merge(self, others: Sequence[Metrics]) -> AnswerMetrics:
        merged = AnswerMetrics()
        for part in (self, *others):
            assert isinstance(part, AnswerMetrics)
            merged._loss_sum += part._loss_sum
            merged._count += part._count
            merged._found |= part._found
        return merged

    def subset(self, ids: np.ndarray) -> AnswerMetrics:
        subset = AnswerMetrics()
        subset._found = {index: self._found[index] for index in ids.tolist()}
        return subset

    def compute(self) -> dict[str, float]:
        loss = {"loss": self._loss_sum / self._count} if self._count else {}
        return {**loss, **self._scores(lambda found: found.text)}

    def summary(self) -> Summary:
        """The constant answer is that there is none."""
        texts = {found.text for found in self._found.values()}
        only = repr(next(iter(texts), "")) if texts != {""} else "that there is none"
        return Summary(constant=self._scores(lambda found: ""), answers=len(texts), only=only)

    def _scores(self, answer: Callable[[FoundAnswer], str]) -> dict[str, float]:
        if not self._found:
            raise DataError("nothing was evaluated: the evaluation split is empty")
        exact, shared = 0.0, 0.0
        for _, found in sorted(self._found.items()):
            if found.accepted is None:
                raise DataError("there are no answers to compare with", cure="ptm predict needs none")
            exact += exact_match(answer(found), found.accepted)
            shared += f1(answer(found), found.accepted)
        return {"exact_match": exact / len(self._found), "f1": shared / len(self._found)}

    def predictions(self) -> Iterator[Prediction]:
        """``answer``, ``start``, ``end``, ``probability``; where they are known ``answers``, and the two measures."""
        for index, found in sorted(self._found.items()):
            prediction = Prediction(
                id=index,
                answer=found.text,
                start=found.start,
                end=found.end,
                probability=six_digits(found.probability),
            )
            if found.accepted is not None:
                prediction["answers"] = list(found.accepted)
                prediction["exact_match"] = exact_match(found.text, found.accepted)
                prediction["f1"] = six_digits(f1(found.text, found.accepted))
            yield prediction


def normalised(text: str) -> str:
    """As the official evaluation compares: in lower case, without ASCII punctuation, articles and blanks beyond one."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, accepted: Sequence[str]) -> float:
    """1 where it is one of those that are accepted, up to :func:`normalised`; of none, where it is empty."""
    return float(any(normalised(answer) == normalised(each) for each in _known(accepted)))


def f1(answer: str, accepted: Sequence[str]) -> float:
    """The highest harmonic mean of precision and recall of words, each counted as often as it stands."""
    return max(_shared(normalised(answer).split(), normalised(each).split()) for each in _known(accepted))


def _known(accepted: Sequence[str]) -> Sequence[str]:
    """What is compared with: answers that are nothing but articles and punctuation are none."""
    return [each for each in accepted if normalised(each)] or [""]


def _shared(answer: Sequence[str], accepted: Sequence[str]) -> float:
    if not answer or not accepted:
        return float(answer == accepted)
    both = (Counter(answer) & Counter(accepted)).total()
    return 2 * both / (len(answer) + len(accepted))
