"""Metrics against scikit-learn and against numbers worked out by hand."""

import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from ptm.errors import DataError
from ptm.metrics.classification import ClassificationMetrics, matthews_correlation
from ptm.pipeline import Batch, Output


def names(classes):
    return tuple(f"class {i}" for i in range(classes))


def collect(logits, targets, ids=None, batch_size=7):
    """Metrics that saw these examples, in batches."""
    classes = logits.shape[1]
    ids = np.arange(len(targets)) if ids is None else ids
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    collected = ClassificationMetrics(names(classes))
    for start in range(0, len(targets), batch_size):
        part = slice(start, start + batch_size)
        batch = Batch(ids=ids[part], inputs={}, targets=targets[part])
        collected.update(batch, Output(loss_sum=losses[part].sum(), count=len(batch), logits=logits[part]))
    return collected


def random_case(classes, size=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (size,), generator=generator)
    logits = torch.randn(size, classes, generator=generator)
    logits[torch.arange(size), targets] += 1
    return logits, targets


def test_two_classes_by_hand():
    """Of three positives two are found, of two negatives one is called positive."""
    scores = torch.tensor([2.0, 1.0, -1.0, 0.5, -2.0])
    logits = torch.stack([torch.zeros(5), scores], dim=1)
    values = collect(logits, torch.tensor([1, 1, 1, 0, 0])).compute()
    assert values["accuracy"] == pytest.approx(3 / 5)
    assert values["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))  # 2 tp / (2 tp + fp + fn)
    assert values["precision_macro"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert values["recall_macro"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert values["f1_macro"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert values["mcc"] == pytest.approx((2 * 1 - 1 * 1) / (3 * 3 * 2 * 2) ** 0.5)
    assert values["auroc"] == pytest.approx(5 / 6)  # of six pairs, one is in the wrong order
    signs = np.array([1, 1, 1, -1, -1])
    assert values["loss"] == pytest.approx(np.log1p(np.exp(-signs * scores.numpy())).mean(), rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 7, 30])
def test_the_formulas_are_scikit_learns(classes):
    logits, targets = random_case(classes)
    values = collect(logits, targets).compute()
    probabilities, truth = logits.softmax(-1).numpy(), targets.numpy()
    predicted = probabilities.argmax(-1)
    assert values["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))
    assert values["f1_macro"] == pytest.approx(reference.f1_score(truth, predicted, average="macro"))
    assert values["mcc"] == pytest.approx(reference.matthews_corrcoef(truth, predicted))
    assert values["loss"] == pytest.approx(
        reference.log_loss(truth, probabilities, labels=range(classes)), rel=1e-5
    )
    assert ("f1" in values) == ("auroc" in values) == (classes == 2)
    assert ("top5_accuracy" in values) == (classes > 5)
    if classes == 2:
        assert values["f1"] == pytest.approx(reference.f1_score(truth, predicted))
        assert values["auroc"] == pytest.approx(reference.roc_auc_score(truth, probabilities[:, 1]))
    if classes > 5:
        top5 = reference.top_k_accuracy_score(truth, probabilities, k=5, labels=range(classes))
        assert values["top5_accuracy"] == pytest.approx(top5)
    assert all(type(value) is float for value in values.values())


def test_classes_that_do_not_occur_are_left_out_of_macro_averages():
    """10.11: every answer right is 1.0, whatever else there might have been; a class that is only predicted counts."""
    logits = torch.eye(4)[torch.tensor([0, 1, 2])] * 5
    values = collect(logits, torch.tensor([0, 1, 2])).compute()
    assert (values["f1_macro"], values["precision_macro"], values["recall_macro"]) == (1.0, 1.0, 1.0)
    wrong = torch.eye(4)[torch.tensor([0, 1, 3])] * 5
    assert collect(wrong, torch.tensor([0, 1, 2])).compute()["f1_macro"] == pytest.approx(2 / 4)


@pytest.mark.parametrize("factor", [1.0, 3.0, 10.0, 1000.0])
def test_auroc_is_that_of_the_logits_however_certain_the_model(factor):
    """10.3: probabilities of a scaled last layer are all 0 or 1 in fp32; their order is that of the logits."""
    logits, targets = random_case(2, size=500)
    area = reference.roc_auc_score(targets.numpy(), (logits[:, 1] - logits[:, 0]).double().numpy())
    assert collect(logits * factor, targets).compute()["auroc"] == pytest.approx(area, abs=1e-12)


def test_small_probabilities_are_not_all_zero():
    rows = list(collect(torch.tensor([[0.0, 20.0], [0.0, 25.0]]), torch.tensor([1, 1])).predictions())
    small = [row["scores"]["class 0"] for row in rows]
    assert small == [pytest.approx(np.exp(-20.0), rel=1e-5), pytest.approx(np.exp(-25.0), rel=1e-5)]


def test_one_class_only_has_no_auroc():
    logits, _ = random_case(2, size=10)
    values = collect(logits, torch.ones(10, dtype=torch.long)).compute()
    assert "auroc" not in values
    assert "f1" in values


def test_half_precision_and_numbers_that_are_none():
    logits, targets = random_case(2)
    exact, rounded = (collect(x, targets).compute() for x in (logits, logits.bfloat16()))
    assert rounded["accuracy"] == pytest.approx(exact["accuracy"], abs=0.02)
    logits[3] = float("nan")
    broken = collect(logits, targets).compute()
    assert np.isnan(broken["loss"])
    assert "auroc" not in broken


@pytest.mark.slow
@given(st.permutations(range(5)), st.integers(1, 20))
def test_neither_batches_nor_processes_nor_their_order_matter(order, batch_size):
    logits, targets = random_case(3, size=50)
    whole = collect(logits, targets, batch_size=50)
    ids = np.random.default_rng(batch_size).permutation(50)
    parts = [
        collect(logits[ids[i::5]], targets[ids[i::5]], ids[i::5], batch_size) for i in range(5)
    ]  # each process has its own examples
    merged = parts[order[0]].merge([parts[i] for i in order[1:]])
    assert merged.compute() == pytest.approx(whole.compute(), rel=1e-6)
    assert list(merged.predictions()) == list(whole.predictions())
    assert len(list(parts[0].predictions())) == 10  # merging changes none of its parts


def test_predictions_are_by_rising_id():
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    first, second = collect(logits, torch.tensor([1, 0]), ids=np.array([9, 4])).predictions()
    assert (first["id"], first["label"], first["prediction"]) == (4, "class 0", "class 0")
    assert (second["id"], second["label"], second["prediction"]) == (9, "class 1", "class 2")
    assert list(second["scores"]) == list(names(3))
    assert second["scores"]["class 2"] == pytest.approx(np.exp(2) / (1 + np.e + np.exp(2)), abs=1e-6)
    assert sum(first["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert type(first["id"]) is int


def test_of_many_classes_the_five_highest_are_listed():
    logits, targets = random_case(21, size=3)
    for row, prediction in zip(logits, collect(logits, targets).predictions(), strict=True):
        expected = [f"class {i}" for i in row.argsort(descending=True)[:5].tolist()]
        assert list(prediction["scores"]) == expected
        assert prediction["prediction"] == expected[0]


def test_nothing_evaluated_is_refused():
    empty = ClassificationMetrics(names(2))
    for ask in (empty.compute, lambda: list(empty.predictions()), empty.merge([empty]).compute):
        with pytest.raises(DataError, match="the evaluation split is empty"):
            ask()


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_15_15_the_correlation_needs_no_matrix_of_the_classes(pairs):
    targets, predicted = np.array(pairs).T
    with warnings.catch_warnings(action="ignore"):  # of a single label
        expected = reference.matthews_corrcoef(targets, predicted)
    assert matthews_correlation(targets, predicted, 20_000) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 10_000), st.sampled_from([21, 30, 100]))
def test_15_15_of_many_classes_the_highest_are_kept_in_order(seed, classes):
    """Also where several logits are equal: the first of them come first."""
    draw = np.random.default_rng(seed)
    logits = torch.from_numpy(draw.integers(-3, 4, (6, classes)).astype(np.float32))
    for row, logit in zip(
        collect(logits, torch.zeros(6, dtype=torch.long)).predictions(), logits, strict=True
    ):
        order = np.argsort(-logit.numpy(), kind="stable")[:5]
        assert list(row["scores"]) == [f"class {k}" for k in order]
        assert row["prediction"] == f"class {order[0]}"
        expected = logit.double().softmax(-1)[order].tolist()
        assert list(row["scores"].values()) == [pytest.approx(value, rel=1e-5) for value in expected]


@pytest.mark.slow
def test_15_15_many_classes_take_little_memory():
    """20,000 classes: of 400 examples the logits take 32 MB, a matrix of the classes 3.2 GB."""
    classes, size = 20_000, 400
    targets = torch.arange(size) * 50
    tracemalloc.start()
    collected = ClassificationMetrics(names(classes))
    before = tracemalloc.get_traced_memory()[0]
    for start in range(0, size, 20):
        logits = torch.zeros(20, classes)
        logits[torch.arange(20), targets[start : start + 20]] = 9.0
        batch = Batch(ids=np.arange(start, start + 20), inputs={}, targets=targets[start : start + 20])
        collected.update(batch, Output(loss_sum=torch.tensor(1.0), count=20, logits=logits))
    kept = tracemalloc.get_traced_memory()[0] - before
    values, rows = collected.compute(), list(collected.predictions())
    assert tracemalloc.get_traced_memory()[1] - before < 40e6
    tracemalloc.stop()
    assert kept < 1e6
    assert values["accuracy"] == values["mcc"] == values["top5_accuracy"] == 1.0
    assert rows[3]["prediction"] == rows[3]["label"] == "class 150"
    assert list(rows[3]["scores"]) == [f"class {k}" for k in (150, 0, 1, 2, 3)]
