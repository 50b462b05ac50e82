"""Losses of outputs against values computed another way: by hand, by loops, by a reference implementation."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import rel_entr, softmax
from torch.distributions import Bernoulli, kl_divergence

from ptm.config.spec import DistillSpec
from ptm.distill.losses import (
    compare,
    decoupled_loss,
    dist_loss,
    mean_teacher,
    number_loss,
    soft_label_loss,
    soft_labels_loss,
)

RNG = np.random.default_rng(0)


def numbers(*shape):
    return torch.from_numpy(RNG.normal(size=shape)).float()


def logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


def test_soft_labels_by_hand():
    """Two classes, T = 2: softmax(2·ln3 / 2, 0) = (3/4, 1/4) for the teacher, (1/2, 1/2) for the student."""
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    student = torch.zeros(1, 2)
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert soft_label_loss(student, teacher, 2.0).item() == pytest.approx(4 * divergence, rel=1e-6)


def test_it_is_a_sum_over_examples_and_batchmean_is_its_mean():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 7), torch.randn(5, 7)
    reference = torch.nn.KLDivLoss(reduction="batchmean")(
        torch.log_softmax(student / 3, -1), torch.softmax(teacher / 3, -1)
    )
    assert soft_label_loss(student, teacher, 3.0).item() / 5 == pytest.approx(9 * reference.item(), rel=1e-5)


def test_a_student_that_equals_its_teacher_has_no_loss_and_no_gradient():
    teacher = torch.randn(3, 4)
    student = teacher.clone().requires_grad_()
    loss = soft_label_loss(student, teacher, 4.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert student.grad.abs().max().item() < 1e-6


def test_the_gradient_keeps_its_size_when_the_temperature_rises():
    """For large T the gradient tends to (student - teacher) / classes, both centred (Hinton et al., eq. 4)."""
    student = torch.tensor([[1.0, -1.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[0.5, 0.5, -1.0]])
    soft_label_loss(student, teacher, 1000.0).backward()
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 3, rtol=1e-2, atol=1e-3)


def test_extreme_logits_stay_finite():
    loss = soft_label_loss(torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]]), 1.0)
    assert math.isfinite(loss.item())


def test_dkd_by_probabilities():
    """arXiv:2203.08679, eq. 7, written with probabilities and loops in float64."""
    student, teacher, targets, t = numbers(4, 5), numbers(4, 5), [0, 3, 3, 1], 2.0
    expected = 0.0
    for s, q, k in zip(
        softmax(student.double() / t, -1), softmax(teacher.double() / t, -1), targets, strict=True
    ):
        two = rel_entr([q[k], 1 - q[k]], [s[k], 1 - s[k]]).sum()
        rest_q, rest_s = np.delete(q, k) / (1 - q[k]), np.delete(s, k) / (1 - s[k])
        expected += t * t * (1.5 * two + 4.0 * rel_entr(rest_q, rest_s).sum())
    loss = decoupled_loss(student, teacher, torch.tensor(targets), t, 1.5, 4.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_dkd_with_the_teachers_own_weights_is_kd():
    """arXiv:2203.08679, eq. 5: KD = TCKD + (1 - p of the target) · NCKD."""
    student, teacher = numbers(1, 6), numbers(1, 6)
    beta = 1 - torch.softmax(teacher / 3, -1)[0, 2].item()
    loss = decoupled_loss(student, teacher, torch.tensor([2]), 3.0, 1.0, beta)
    assert loss.item() == pytest.approx(soft_label_loss(student, teacher, 3.0).item(), rel=1e-5)


def test_dkd_stays_finite_and_has_gradients_at_the_extremes():
    student = torch.tensor([[1e3, -1e3, 0.0]], requires_grad=True)
    loss = decoupled_loss(student, torch.tensor([[-50.0, 50.0, 0.0]]), torch.tensor([0]), 1.0, 1.0, 8.0)
    loss.backward()
    assert math.isfinite(loss.item()) and student.grad.isfinite().all()


def test_dist_by_scipys_correlation():
    student, teacher, t = numbers(6, 4), numbers(6, 4), 2.0
    p, q = softmax(student.double() / t, -1), softmax(teacher.double() / t, -1)
    inter = np.mean([1 - stats.pearsonr(a, b)[0] for a, b in zip(p, q, strict=True)])
    intra = np.mean([1 - stats.pearsonr(a, b)[0] for a, b in zip(p.T, q.T, strict=True)])
    loss = dist_loss(student, teacher, t, 2.0, 3.0)
    assert loss.item() == pytest.approx(6 * t * t * (2 * inter + 3 * intra), rel=1e-4)


def test_several_teachers_mean_their_softened_probabilities():
    teachers = [numbers(3, 4), numbers(3, 4)]
    mean = mean_teacher(teachers, [0.25, 0.75], 3.0)
    expected = 0.25 * torch.softmax(teachers[0] / 3, -1) + 0.75 * torch.softmax(teachers[1] / 3, -1)
    torch.testing.assert_close(torch.softmax(mean / 3, -1), expected)


def test_soft_label_sets_by_hand():
    """T = 2: the teacher says 3/4 and 1/2, the student 1/2 twice."""
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert soft_labels_loss(torch.zeros(1, 2), teacher, 2.0).item() == pytest.approx(
        4 * divergence / 2, rel=1e-6
    )


def test_soft_label_sets_and_their_gradient_against_torch_distributions():
    student, teacher = logits(5, 3).double().requires_grad_(), logits(5, 3, seed=1).double()
    loss = soft_labels_loss(student, teacher, 4.0)
    divergence = kl_divergence(Bernoulli(logits=teacher / 4), Bernoulli(logits=student / 4))
    assert loss.item() == pytest.approx(16 * divergence.mean(1).sum().item(), rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, student)
    by_hand = (
        4 * ((student / 4).sigmoid() - (teacher / 4).sigmoid()) / 3
    )  # T² · 1/T · (q - p), mean over classes
    torch.testing.assert_close(gradient, by_hand.detach())
    assert torch.autograd.gradcheck(lambda s: soft_labels_loss(s, teacher, 2.0), (student,))


def test_a_student_that_equals_its_teacher_has_no_loss_and_extremes_stay_finite():
    teacher = logits(4, 3)
    student = teacher.clone().requires_grad_()
    loss = soft_labels_loss(student, teacher, 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert student.grad.abs().max().item() < 1e-6
    assert math.isfinite(
        soft_labels_loss(torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]]), 1.0).item()
    )


def test_numbers_by_hand_gradient_included():
    student = torch.tensor([[1.0], [2.0]], requires_grad=True)
    loss = number_loss(student, torch.tensor([[0.0], [4.0]]))
    loss.backward()
    assert loss.item() == 5
    assert student.grad.tolist() == [[2.0], [-4.0]]


def test_the_label_type_chooses_the_loss():
    spec, student, teacher = DistillSpec(temperature=3.0), logits(4, 1), logits(4, 1, seed=1)
    assert compare(student, teacher, None, spec, "number") == number_loss(student, teacher)
    assert compare(student, teacher, None, spec, "classes") == soft_labels_loss(student, teacher, 3.0)


def test_the_mean_of_teachers_is_one_of_probabilities_or_of_numbers():
    teachers = [logits(4, 3), logits(4, 3, seed=1)]
    mean = mean_teacher(teachers, [0.25, 0.75], 2.0, "classes")
    expected = 0.25 * (teachers[0] / 2).sigmoid() + 0.75 * (teachers[1] / 2).sigmoid()
    torch.testing.assert_close((mean / 2).sigmoid(), expected)
    assert torch.equal(
        mean_teacher(teachers, [0.25, 0.75], 2.0, "number"), 0.25 * teachers[0] + 0.75 * teachers[1]
    )
