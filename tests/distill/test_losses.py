"""Distillation losses against values computed by hand."""

import math

import pytest
import torch

from ptm.distill.losses import soft_label_loss


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
