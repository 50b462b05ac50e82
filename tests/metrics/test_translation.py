"""Scores of written texts are sacreBLEU's; losses are added up as sums."""

import math

import numpy as np
import pytest
import torch

from ptm.errors import DataError
from ptm.metrics.translation import TranslationMetrics, signatures
from ptm.pipeline import Batch, Output

TEXTS = [
    ("Ein Hund läuft über die Wiese.", "Ein Hund läuft über die Wiese ."),
    ("Zwei Männer stehen am Herd.", "Zwei Männer stehen an einem Herd."),
    ("Eine Frau liest ein Buch im Park.", "Eine Frau liest im Park."),
]


def scored(ids):
    metrics = TranslationMetrics()
    batch = Batch(ids=np.array(ids), inputs={}, targets=torch.zeros(1))
    texts = [{"source": "", "target": TEXTS[i][0], "prediction": TEXTS[i][1]} for i in ids]
    loss = torch.tensor(sum(1.1 * (i + 1) for i in ids))
    metrics.update(batch, Output(loss_sum=loss, count=len(ids), targets=batch.targets, predictions=texts))
    return metrics


def test_scores_are_sacrebleus_and_do_not_depend_on_the_order():
    import sacrebleu

    values = scored([0]).merge([scored([2, 1])]).compute()
    assert values == scored([2, 1]).merge([scored([0])]).compute()
    truth, written = ([pair[side] for pair in TEXTS] for side in (0, 1))
    assert values["bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, [truth]).score)
    assert values["chrf"] == pytest.approx(sacrebleu.corpus_chrf(written, [truth]).score)
    assert values["loss"] == pytest.approx((1.1 + 2.2 + 3.3) / 3)
    assert values["perplexity"] == pytest.approx(math.exp(values["loss"]))
    assert next(iter(values)) == "loss"


def test_bleu_of_a_worked_example():
    """5 of 6 words, 3 of 5 pairs, 1 of 4 triples, no quadruple of 3 (smoothed to half of one), nothing missing."""
    text = [{"source": "", "target": "a b c d e f", "prediction": "a b c x e f"}]
    metrics = TranslationMetrics()
    batch = Batch(ids=np.array([0]), inputs={}, targets=torch.zeros(1))
    metrics.update(
        batch, Output(loss_sum=torch.tensor(1.0), count=1, targets=batch.targets, predictions=text)
    )
    expected = 100 * (5 / 6 * 3 / 5 * 1 / 4 * (0.5 / 3)) ** 0.25
    assert metrics.compute()["bleu"] == pytest.approx(expected)


def test_an_evaluation_without_translations_has_no_scores():
    with pytest.raises(DataError, match="no example with a translation"):
        TranslationMetrics().compute()


def test_a_loss_too_large_for_its_exponential_has_a_finite_perplexity():
    metrics = TranslationMetrics()
    batch = Batch(ids=np.array([0]), inputs={}, targets=torch.zeros(1))
    text = [{"source": "", "target": "a", "prediction": "a"}]
    metrics.update(
        batch, Output(loss_sum=torch.tensor(5000.0), count=2, targets=batch.targets, predictions=text)
    )
    values = metrics.compute()
    assert values["loss"] == 2500 and math.isfinite(values["perplexity"])


def test_predictions_come_by_id_and_texts_alone_have_no_scores():
    metrics = TranslationMetrics()
    texts = [{"source": str(n), "prediction": "x"} for n in (5, 2)]
    batch = Batch(ids=np.array([5, 2]), inputs={}, targets=None)
    metrics.update(batch, Output(loss_sum=torch.tensor(0.0), count=2, predictions=texts))
    assert [(row["id"], row["source"]) for row in metrics.predictions()] == [(2, "2"), (5, "5")]
    assert metrics.summary().answers == 1  # all are the same
    with pytest.raises(DataError):
        metrics.compute()


def test_a_signature_says_how_it_was_computed():
    said = signatures()
    assert set(said) == {"bleu", "chrf", "rouge"}
    assert "tok:13a" in said["bleu"] and "nrefs:1" in said["bleu"] and "nc:6" in said["chrf"]
