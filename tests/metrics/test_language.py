"""Metrics of language models against the same numbers computed by hand."""

import math

import numpy as np
import pytest
import torch

from ptm.errors import DataError
from ptm.metrics.language import LanguageMetrics, Scores
from ptm.pipeline import Batch, Output

NATS = np.array([1.5, 4.0, 0.25, 3.0])
TOKENS = np.array([2, 3, 1, 4])
RIGHT = np.array([1, 0, 1, 2])


def updated(metrics, ids):
    ids = np.array(ids)
    scores = Scores(NATS[ids], TOKENS[ids], RIGHT[ids])
    batch = Batch(ids=ids, inputs={}, targets=None)
    metrics.update(batch, Output(loss_sum=torch.zeros(()), count=1, predictions=scores))
    return metrics


def test_means_over_tokens_not_over_examples():
    values = updated(LanguageMetrics(masked=True), [0, 1, 2, 3]).compute()
    assert list(values) == ["loss", "perplexity", "masked_accuracy"]
    assert values["loss"] == pytest.approx(8.75 / 10)
    assert values["perplexity"] == pytest.approx(math.e**0.875)
    assert values["masked_accuracy"] == pytest.approx(0.4)


def test_bits_per_byte():
    values = updated(LanguageMetrics(masked=False, text_bytes=25), [0, 1, 2, 3]).compute()
    assert list(values) == ["loss", "perplexity", "bits_per_byte"]
    assert values["bits_per_byte"] == pytest.approx(8.75 / 0.6931471805599453 / 25)


def test_order_and_processes_do_not_matter():
    one = updated(LanguageMetrics(masked=True, text_bytes=9), [0, 1, 2, 3])
    parts = [updated(LanguageMetrics(masked=True, text_bytes=9), ids) for ids in ([3, 1], [2], [0])]
    merged = parts[0].merge(parts[1:])
    assert merged.compute() == one.compute()
    rows = list(merged.predictions())
    assert rows == list(one.predictions())
    assert rows[1] == {"id": 1, "loss": round(4 / 3, 6), "tokens": 3, "right": 0}


def test_a_loss_beyond_all_measure_still_has_a_perplexity():
    metrics = LanguageMetrics(masked=False)
    scores = Scores(np.array([1e6]), np.array([1]), np.array([0]))
    batch = Batch(ids=np.array([0]), inputs={}, targets=None)
    metrics.update(batch, Output(loss_sum=torch.zeros(()), count=1, predictions=scores))
    assert math.isfinite(metrics.compute()["perplexity"])


def test_an_empty_evaluation_is_an_error():
    with pytest.raises(DataError, match="nothing was evaluated"):
        LanguageMetrics(masked=True).compute()
