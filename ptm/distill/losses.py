"""Distillation losses as sums over examples; the engine divides by their number."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def soft_label_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Sum over n of T² · KL(teacher ‖ student), both softened by T (Hinton et al. 2015, arXiv:1503.02531, §2).

    Logits are [n, classes]; the result divided by n is what ``reduction="batchmean"`` gives. The factor T²
    keeps the gradient's size when T changes: each of the two softmaxes divides it by T.
    """
    log_student = F.log_softmax(student_logits / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    return F.kl_div(log_student, log_teacher, reduction="sum", log_target=True) * temperature**2
