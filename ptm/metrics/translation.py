"""What an evaluation says of written texts. BLEU and chrF are sacreBLEU's (Post 2018, arXiv:1804.08771)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np

from ptm.errors import DataError
from ptm.metrics.rouge import SIGNATURE, rouge
from ptm.metrics.summary import Summary
from ptm.pipeline import Batch, Metrics, Output, Prediction

_LARGEST_LOSS = 700.0  # nats a token; the exponential of more is no finite number


class TranslationMetrics:
    """Loss and perplexity a token; corpus BLEU and chrF, and ROUGE, of the texts that were written, from 0 to 100.

    ``Output.predictions`` are dictionaries with ``source``, ``prediction``, and ``target`` where it is known.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[float, int]] = []  # (sum, count) of a batch
        self._texts: dict[int, dict[str, str]] = {}  # by id

    def update(self, batch: Batch, output: Output) -> None:
        if output.targets is not None:
            self._losses.append((float(output.loss_sum), output.count))
        self._texts.update(zip(batch.ids.tolist(), output.predictions, strict=True))

    def merge(self, others: Sequence[Metrics]) -> TranslationMetrics:
        merged = TranslationMetrics()
        for part in (self, *others):
            assert isinstance(part, TranslationMetrics)
            merged._losses += part._losses
            merged._texts |= part._texts
        return merged

    def subset(self, ids: np.ndarray) -> TranslationMetrics:
        subset = TranslationMetrics()
        subset._texts = {index: self._texts[index] for index in ids.tolist()}
        return subset

    def compute(self) -> dict[str, float]:
        texts = [self._texts[index] for index in sorted(self._texts)]
        if not texts or any("target" not in text for text in texts):
            raise DataError("no example with a translation was evaluated", where="data.eval")
        written = [text["prediction"] for text in texts]
        targets = [text["target"] for text in texts]
        bleu, chrf = _scorers()
        return {
            **self._of_tokens(),
            "bleu": float(bleu.corpus_score(written, [targets]).score),
            "chrf": float(chrf.corpus_score(written, [targets]).score),
            **rouge(written, targets),
        }

    def _of_tokens(self) -> dict[str, float]:
        """Loss and perplexity; nothing of a subset, for they are kept by batches."""
        if not self._losses:
            return {}
        # fsum rounds once, so that the order in which batches came does not show.
        loss = math.fsum(loss for loss, _ in self._losses) / sum(count for _, count in self._losses)
        return {"loss": loss, "perplexity": math.exp(min(loss, _LARGEST_LOSS))}

    def summary(self) -> Summary:
        """There is no constant answer; whether all are the same is told."""
        written = {text["prediction"] for text in self._texts.values()}
        same = len(written) == 1 and len(self._texts) > 1
        return Summary(answers=1 if same else None, only=repr(next(iter(written), "")))

    def predictions(self) -> Iterator[Prediction]:
        for index in sorted(self._texts):
            yield cast(Prediction, {"id": index, **self._texts[index]})


def signatures() -> dict[str, str]:
    """How each score is computed, for one reference a text: BLEU and chrF in sacreBLEU's own words."""
    scorers = dict(zip(("bleu", "chrf"), _scorers(), strict=True))
    for scorer in scorers.values():
        scorer.corpus_score(["text"], [["text"]])  # the number of references is part of a signature
    return {name: str(scorer.get_signature()) for name, scorer in scorers.items()} | {"rouge": SIGNATURE}


def _scorers() -> tuple[Any, Any]:
    from sacrebleu.metrics import BLEU, CHRF

    return BLEU(), CHRF()
