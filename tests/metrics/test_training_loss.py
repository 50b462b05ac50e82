"""What classifiers minimise where classes are rare: against torch's losses, and the papers' formulas by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from helpers import history, image_spec, run
from ptm.config.spec import TeacherSpec, TrainSpec
from ptm.errors import ConfigError
from ptm.metrics.label_types import supervised_loss
from ptm.metrics.training_loss import TrainingLoss, class_weights, log_priors, told

TARGETS = np.array([0] * 6 + [1] * 3 + [2])
LABELS = ("a", "b", "c")


def loss_of(label_type="class", targets=TARGETS, **keys):
    train = TrainSpec(epochs=1, learning_rate=0.1, **keys)
    return TrainingLoss.of(train, label_type, targets, LABELS)


def drawn(n=10, classes=3):
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float32)


def test_11_01_balanced_weights_are_those_of_scikit_learn_and_weigh_classes_alike():
    from sklearn.utils.class_weight import compute_class_weight

    weights = class_weights("balanced", TARGETS, LABELS, "class")[1]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=TARGETS)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    np.testing.assert_allclose(np.bincount(TARGETS, weights[TARGETS]), len(TARGETS) / 3, rtol=1e-6)


def test_11_01_weights_by_name_are_relative_with_a_mean_of_one():
    weights = class_weights({"c": 5.0}, TARGETS, LABELS, "class")[1]
    assert weights[TARGETS].mean() == pytest.approx(1)
    assert weights[2] / weights[0] == pytest.approx(5) and weights[1] == weights[0]
    with pytest.raises(ConfigError, match="no label 'spam'"):
        class_weights({"spam": 2.0}, TARGETS, LABELS, "class")


def test_11_01_a_label_that_no_example_has_changes_nothing():
    weights = class_weights("balanced", np.array([0, 0, 0, 1]), LABELS, "class")[1]
    np.testing.assert_allclose(weights[:2], [4 / 6, 2], rtol=1e-6)
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_11_01_the_weighted_loss_is_torchs_summed(smoothing):
    logits, targets = drawn(), torch.from_numpy(TARGETS)
    loss = loss_of(class_weights="balanced", label_smoothing=smoothing)
    expected = F.cross_entropy(
        logits, targets, weight=loss.weights[1], reduction="sum", label_smoothing=smoothing
    )
    torch.testing.assert_close(loss(logits, targets), expected)


def test_11_01_without_keys_it_is_the_loss_of_an_evaluation_to_the_bit():
    logits, targets = drawn(), torch.from_numpy(TARGETS)
    assert torch.equal(loss_of()(logits, targets), supervised_loss(logits, targets, "class"))


def test_11_01_focal_loss_by_hand_and_against_torchvision():
    from torchvision.ops import sigmoid_focal_loss

    logits, targets = drawn(), torch.from_numpy(TARGETS)
    p = logits.double().softmax(-1)[torch.arange(10), targets]
    expected = (-((1 - p) ** 2) * p.log()).sum()
    torch.testing.assert_close(
        loss_of(focal_gamma=2.0)(logits, targets).double(), expected, rtol=1e-5, atol=0
    )
    several = (drawn().abs() > 0.5).float()
    ours = loss_of("classes", several.numpy(), focal_gamma=2.0)(logits, several)
    theirs = sigmoid_focal_loss(logits, several, alpha=-1, gamma=2).mean(-1).sum()
    torch.testing.assert_close(ours, theirs)


def test_11_01_a_certain_right_answer_has_a_finite_gradient_with_a_small_gamma():
    logits = torch.tensor([[100.0, 0.0, 0.0]], requires_grad=True)
    loss_of(focal_gamma=0.5)(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_11_01_logit_adjustment_adds_log_priors_in_training():
    logits, targets = drawn(), torch.from_numpy(TARGETS)
    priors = torch.log(torch.tensor([0.6, 0.3, 0.1]))
    np.testing.assert_allclose(log_priors(TARGETS, 3), priors, rtol=1e-6)
    loss = loss_of(logit_adjustment=1.5)(logits, targets)
    torch.testing.assert_close(loss, F.cross_entropy(logits + 1.5 * priors, targets, reduction="sum"))
    assert np.isfinite(log_priors(np.array([0, 1]), 3)).all()


@pytest.mark.parametrize("chosen", ["balanced", {"a": 3.0}])
def test_11_01_of_several_labels_each_is_weighed_where_it_applies(chosen):
    targets = (drawn(40) > 0.7).float()
    targets[:, 1] = 1  # one that all have
    weights = torch.from_numpy(class_weights(chosen, targets.numpy(), LABELS, "classes"))
    np.testing.assert_allclose(torch.where(targets > 0, weights[1], weights[0]).mean(0), 1, rtol=1e-5)
    if chosen == "balanced":
        yes = (weights[1] * targets).sum(0)
        torch.testing.assert_close(yes[[0, 2]], torch.full((2,), 20.0))
    logits = drawn(40) * 2
    loss = TrainingLoss("classes", weights=weights)(logits, targets)
    each = F.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=weights[1] / weights[0], reduction="none"
    )
    torch.testing.assert_close(loss, (each * weights[0]).mean(-1).sum())


def test_11_01_sums_over_pieces_are_the_sum_over_the_whole():
    logits, targets = drawn(), torch.from_numpy(TARGETS)
    for keys in ({"class_weights": "balanced"}, {"focal_gamma": 2.0}, {"logit_adjustment": 1.0}):
        loss = loss_of(**keys)
        pieces = sum(loss(logits[part], targets[part]) for part in (slice(0, 3), slice(3, 10)))
        torch.testing.assert_close(loss(logits, targets), pieces)


def test_11_01_what_is_done_is_told_in_words():
    train = TrainSpec(epochs=1, learning_rate=0.1, class_weights={"c": 5.0})
    assert told(train, "class", TARGETS, LABELS) == ["class weights: a 0.714, b 0.714, c 3.57"]
    assert told(replace(train, class_weights=None), "class", TARGETS, LABELS) == []


WEIGHTED = {
    "labels": tuple("0123456789"),
    "class_weights": {"3": 4.0},
    "focal_gamma": 1.5,
}


@pytest.mark.slow
def test_11_01_weights_are_in_training_alone(tmp_path):
    """That a weighted run resumes to the same bits is asked of a mixed distillation, in tests/vision."""
    still = {"epochs": 1, "learning_rate": 1e-12, "log_every_steps": 1}
    plain, weighted = (
        run(image_spec(tmp_path / name, **still, **keys))
        for name, keys in (("plain", {}), ("weighted", WEIGHTED))
    )
    assert weighted["metrics"]["loss"] == pytest.approx(plain["metrics"]["loss"], rel=1e-6)
    losses = [history(tmp_path / name)[0]["loss"] for name in ("plain", "weighted")]
    assert abs(losses[0] - losses[1]) > 0.05


@pytest.mark.slow
def test_11_01_with_a_teacher_the_labels_are_weighed_and_its_part_is_not(tmp_path):
    """The teacher's distance is divided by the number of examples, as without weights."""
    run(image_spec(tmp_path / "teacher", epochs=1))
    taught = {"teacher": TeacherSpec(name=str(tmp_path / "teacher")), "learning_rate": 1e-12, "epochs": 1}
    taught |= {"log_every_steps": 1, "augment": "none"}
    from ptm.config.spec import DistillSpec

    taught["distill"] = DistillSpec(audit="off")
    run(image_spec(tmp_path / "plain", **taught))
    run(image_spec(tmp_path / "weighted", **taught, **WEIGHTED))
    plain, weighted = (history(tmp_path / name)[0]["parts"] for name in ("plain", "weighted"))
    assert weighted["kd"] == pytest.approx(plain["kd"], rel=1e-5)
    assert abs(weighted["ce"] - plain["ce"]) > 0.01
