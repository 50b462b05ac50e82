"""Metrics of many classes and of numbers against scikit-learn, scipy, and numbers worked out by hand."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as reference

from ptm.errors import DataError
from ptm.metrics.label_types import new_metrics, supervised_loss
from ptm.pipeline import Batch, Output

LABELS = ("a", "b", "c")


def collect(kind, logits, targets, *, pieces=1, labels=LABELS):
    parts = []
    for ids in np.array_split(np.arange(len(logits))[::-1].copy(), pieces):
        part = new_metrics(labels, kind)
        known = None if targets is None else targets[ids]
        loss = torch.zeros(()) if known is None else supervised_loss(logits[ids], known, kind)
        part.update(
            Batch(ids=ids, inputs={}, targets=known),
            Output(loss_sum=loss, count=len(ids), logits=logits[ids]),
        )
        parts.append(part)
    return parts[0].merge(parts[1:])


def case(rows=60):
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(rows, 3, generator=generator) < 0.4).float()
    return torch.randn(rows, 3, generator=generator) + targets, targets


def test_binary_cross_entropy_is_the_mean_over_classes_summed_over_examples():
    logits, targets = case()
    p = logits.double().sigmoid()
    by_hand = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean(1).sum()
    assert supervised_loss(logits, targets, "classes").item() == pytest.approx(by_hand.item(), rel=1e-6)
    smooth = targets * 0.9 + 0.05
    by_hand = -(smooth * p.log() + (1 - smooth) * (1 - p).log()).mean(1).sum()
    assert supervised_loss(logits, targets, "classes", 0.1).item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_squared_error_is_summed_over_examples():
    assert supervised_loss(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 5.0]), "number").item() == 5


@pytest.mark.parametrize("pieces", [1, 4])
def test_many_classes_as_scikit_learn_has_them(pieces):
    logits, targets = case()
    values = collect("classes", logits, targets, pieces=pieces).compute()
    truth, said = targets.numpy(), (logits.sigmoid() >= 0.5).numpy()
    assert values["f1_micro"] == pytest.approx(reference.f1_score(truth, said, average="micro"))
    assert values["f1_macro"] == pytest.approx(reference.f1_score(truth, said, average="macro"))
    assert values["subset_accuracy"] == pytest.approx(reference.accuracy_score(truth, said))
    assert values["auroc_macro"] == pytest.approx(
        reference.roc_auc_score(truth, logits.numpy(), average="macro")
    )
    assert values["loss"] == pytest.approx(supervised_loss(logits, targets, "classes").item() / 60, rel=1e-6)


def test_auroc_is_over_the_classes_that_have_one():
    logits = torch.tensor([[2.0, 1.0, 0.0], [-1.0, 1.0, 3.0], [0.5, 1.0, 1.0]])
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    assert collect("classes", logits, targets).compute()["auroc_macro"] == 1.0
    assert "auroc_macro" not in collect("classes", logits, torch.zeros(3, 3)).compute()


def test_predictions_of_many_classes_are_lists():
    logits, targets = (
        torch.tensor([[2.0, -1.0, 0.0], [-1.0, -1.0, -3.0]]),
        torch.tensor([[1.0, 1.0, 0.0], [0, 0, 0]]),
    )
    first, second = collect("classes", logits, targets, pieces=2).predictions()
    assert (first["label"], first["prediction"]) == (["a", "b"], ["a", "c"])
    assert (second["label"], second["prediction"]) == ([], [])
    assert first["scores"] == {"a": 0.880797, "b": 0.268941, "c": 0.5}


def test_numbers_as_scipy_has_them():
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(6, (50,), generator=generator).float()
    logits = (targets + torch.randn(50, generator=generator))[:, None]
    values = collect("number", logits, targets, pieces=3).compute()
    x, y = targets.numpy(), logits[:, 0].numpy()
    assert values["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic, rel=1e-6)
    assert values["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-6)
    assert values["mean_squared_error"] == pytest.approx(reference.mean_squared_error(x, y), rel=1e-6)
    assert values["mean_absolute_error"] == pytest.approx(reference.mean_absolute_error(x, y), rel=1e-6)
    assert values["loss"] == pytest.approx(values["mean_squared_error"], rel=1e-6)
    constant = collect("number", torch.ones(50, 1), targets).compute()
    assert constant["pearson"] == constant["spearman"] == 0
    first = next(collect("number", logits, targets).predictions())
    assert first == {"id": 0, "label": float(targets[0]), "prediction": float(str(logits[0, 0].numpy()))}


@pytest.mark.parametrize("kind", ["class", "classes", "number"])
def test_without_labels_there_are_predictions_and_no_metrics(kind):
    collected = collect(kind, torch.randn(5, 1 if kind == "number" else 3), None, pieces=2)
    rows = list(collected.predictions())
    assert [row["id"] for row in rows] == [0, 1, 2, 3, 4]
    assert all("label" not in row and "prediction" in row for row in rows)
    with pytest.raises(DataError, match="no labels to compare with"):
        collected.compute()


def test_auroc_is_that_of_the_logits_however_certain_the_model():
    """10.3: sigmoids of logits near 20 are all 1 in fp32."""
    generator = torch.Generator().manual_seed(3)
    targets = torch.randint(2, (200, 3), generator=generator).float()
    logits = torch.randn(200, 3, generator=generator) + targets
    area = reference.roc_auc_score(targets.numpy(), logits.double().numpy(), average="macro")
    certain = logits * 0.5 + 20
    again = reference.roc_auc_score(targets.numpy(), certain.double().numpy(), average="macro")
    assert again == pytest.approx(area, abs=1e-3)
    assert collect("classes", certain, targets).compute()["auroc_macro"] == pytest.approx(again, abs=1e-12)


def test_classes_that_do_not_occur_are_left_out_of_the_macro_average():
    """10.11"""
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert collect("classes", targets * 8 - 4, targets).compute()["f1_macro"] == 1.0
    assert collect("classes", torch.full((2, 3), -4.0), torch.zeros(2, 3)).compute()["f1_macro"] == 0.0
