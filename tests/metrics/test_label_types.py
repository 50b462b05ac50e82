"""The loss and the metrics of each type of label."""

import math

import pytest
import torch

from ptm.metrics.label_types import SUPERVISION, new_metrics, supervised_loss

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]])


def probabilities(row):
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_of_one_class_it_is_the_cross_entropy_summed_over_examples(smoothing):
    expected = 0.0
    for row, target in zip(LOGITS.tolist(), (0, 2), strict=True):
        p = probabilities(row)
        weights = [smoothing / 3 + (1 - smoothing) * (k == target) for k in range(3)]
        expected -= sum(w * math.log(q) for w, q in zip(weights, p, strict=True))
    loss = supervised_loss(LOGITS, torch.tensor([0, 2]), "class", smoothing)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_of_several_classes_it_is_the_mean_over_them_of_binary_cross_entropies(smoothing):
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    expected = 0.0
    for row, truth in zip(LOGITS.tolist(), targets.tolist(), strict=True):
        for x, t in zip(row, truth, strict=True):
            y = t * (1 - smoothing) + smoothing / 2
            expected -= (y * math.log(sigmoid(x)) + (1 - y) * math.log(1 - sigmoid(x))) / 3
    assert float(supervised_loss(LOGITS, targets, "classes", smoothing)) == pytest.approx(expected, rel=1e-6)


def test_of_a_number_it_is_the_squared_error_of_the_one_output():
    loss = supervised_loss(torch.tensor([[1.0], [-2.0]]), torch.tensor([3.0, -2.5]), "number", 0.5)
    assert float(loss) == pytest.approx(4 + 0.25)


@pytest.mark.parametrize("name", SUPERVISION)
def test_metrics_are_of_their_type_and_measure_what_is_promised(name):
    assert (
        type(new_metrics(("a", "b"), name)).__name__
        == {
            "class": "ClassificationMetrics",
            "classes": "MultiLabelMetrics",
            "number": "NumberMetrics",
        }[name]
    )
