"""Numbers that are predicted: correlations and errors against the references' own functions."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ptm.metrics.regression import NumberMetrics, pearson
from ptm.pipeline import Batch, Output

TRUTH = np.array([1.0, 2.0, 2.0, 4.0, 5.5, 0.25], dtype=np.float32)
SAID = np.array([1.5, 1.5, 3.0, 3.5, 9.0, 0.0], dtype=np.float32)


def measured(ids, truth=TRUTH, said=SAID):
    ids = np.array(ids)
    targets, logits = torch.from_numpy(truth[ids]), torch.from_numpy(said[ids])[:, None]
    loss = ((targets - logits[:, 0]) ** 2).sum()
    metrics = NumberMetrics()
    metrics.update(
        Batch(ids=ids, inputs={}, targets=targets), Output(loss_sum=loss, count=len(ids), logits=logits)
    )
    return metrics


def test_values_are_scipys_and_do_not_depend_on_the_order():
    values = measured([4, 0, 3]).merge([measured([5, 1, 2])]).compute()
    truth, said = TRUTH.astype(float), SAID.astype(float)
    assert values["pearson"] == pytest.approx(stats.pearsonr(truth, said).statistic)
    assert values["spearman"] == pytest.approx(stats.spearmanr(truth, said).statistic)
    assert values["mean_squared_error"] == pytest.approx(np.mean((truth - said) ** 2)) == values["loss"]
    assert values["mean_absolute_error"] == pytest.approx(np.mean(np.abs(truth - said)))
    assert values == measured(range(6)).compute() and next(iter(values)) == "loss"


def test_a_constant_side_is_not_correlated():
    values = measured(range(6), said=np.full(6, 3, dtype=np.float32)).compute()
    assert values["pearson"] == values["spearman"] == 0.0
    assert pearson(np.ones(3), np.arange(3.0)) == 0.0


@pytest.mark.parametrize("scale", [1e-35, 1.0, 1e38])
def test_a_correlation_is_between_minus_one_and_one(scale):
    a = scale * np.array([1.0, 2.0, 4.0])
    assert pearson(a, a) == pytest.approx(1.0) and pearson(a, -a) == pytest.approx(-1.0)
    assert -1 <= pearson(a, -3 * a) <= pearson(a, 3 * a) <= 1


def test_a_number_that_is_none_is_correlated_with_nothing():
    assert math.isnan(pearson(np.array([1.0, math.nan]), np.array([1.0, 2.0])))


def test_labels_are_as_they_are_written_and_predictions_the_shortest_decimals():
    truth = np.array([0.1, 3.0])
    rows = list(measured([1, 0], truth, np.array([0.3, 1e-7], dtype=np.float32)).predictions())
    assert rows == [{"id": 0, "label": 0.1, "prediction": 0.3}, {"id": 1, "label": 3.0, "prediction": 1e-07}]


def test_the_constant_answer_is_the_mean():
    summary = measured(range(6)).summary()
    assert summary.constant["mean_squared_error"] == pytest.approx(TRUTH.astype(float).var())
    assert summary.answers == 5  # 1.5 is said twice
