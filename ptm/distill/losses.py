"""Distances between outputs, as sums over examples; the engine divides by their number.

Logits are [n, classes] in fp32 throughout; where a task has a row for each token or pixel, these are the examples.
Each function is pure and names its paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ptm.config.label_types import CLASS, CLASSES, NUMBER, PAIRS
from ptm.config.spec import DistillSpec


@dataclass(frozen=True)
class OutputDistance:
    """How outputs of one label type are held against those of teachers.

    ``loss(student, teacher, targets, spec)`` is summed over examples; ``mean(logits, weights, temperature)`` gives the
    logits of the mean of several teachers.
    """

    loss: Callable[[Tensor, Tensor, Tensor | None, DistillSpec], Tensor]
    mean: Callable[[Sequence[Tensor], Sequence[float], float], Tensor]


def compare(
    student: Tensor, teacher: Tensor, targets: Tensor | None, spec: DistillSpec, label_type: str = CLASS.name
) -> Tensor:
    """The distance between outputs [n, classes] that ``label_type`` and ``distill.method`` name, summed over n."""
    return DISTANCES[label_type].loss(student, teacher, targets, spec)


def mean_teacher(
    logits: Sequence[Tensor], weights: Sequence[float], temperature: float, label_type: str = CLASS.name
) -> Tensor:
    """Logits of the weighted mean of teachers; those of a single one as they are. ``weights`` add up to 1."""
    return logits[0] if len(logits) == 1 else DISTANCES[label_type].mean(logits, weights, temperature)


def _class_loss(student: Tensor, teacher: Tensor, targets: Tensor | None, spec: DistillSpec) -> Tensor:
    if spec.method == "dkd":
        if targets is None:  # nobody knows better than the teacher
            targets = teacher.argmax(-1)
        return decoupled_loss(student, teacher, targets, spec.temperature, spec.dkd_alpha, spec.dkd_beta)
    if spec.method == "dist":
        return dist_loss(student, teacher, spec.temperature, spec.dist_inter, spec.dist_intra)
    return soft_label_loss(student, teacher, spec.temperature)


def soft_label_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Sum over n of T² · KL(teacher ‖ student), both softened by T (Hinton et al. 2015, arXiv:1503.02531, §2).

    Logits are [n, classes]; the result divided by n is what ``reduction="batchmean"`` gives. The factor T²
    keeps the gradient's size when T changes: each of the two softmaxes divides it by T.
    """
    log_student = F.log_softmax(student_logits / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    return F.kl_div(log_student, log_teacher, reduction="sum", log_target=True) * temperature**2


def soft_labels_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """The same where each class applies or does not: T² · KL(teacher ‖ student) of Bernoulli variables softened
    by T, the mean over classes (as the supervised loss has it), summed over n. Logits are [n, classes]."""
    s, t = student_logits / temperature, teacher_logits / temperature
    yes = t.sigmoid() * (F.logsigmoid(t) - F.logsigmoid(s))
    no = (-t).sigmoid() * (F.logsigmoid(-t) - F.logsigmoid(-s))
    return (yes + no).mean(-1).sum() * temperature**2


def number_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of the numbers [n, 1], summed over n; there is nothing that a temperature could soften."""
    return F.mse_loss(student, teacher, reduction="sum")


def decoupled_loss(
    student: Tensor, teacher: Tensor, targets: Tensor, temperature: float, alpha: float, beta: float
) -> Tensor:
    """T² · (alpha · TCKD + beta · NCKD), summed over n (Zhao et al. 2022, arXiv:2203.08679, eq. 7).

    TCKD compares how likely the target class is against all others together, NCKD the distribution among the others.
    ``targets`` int64 [n]. With two classes NCKD is 0, for the only other class has all that is left.
    """
    log_p, log_q = (F.log_softmax(logits / temperature, dim=-1) for logits in (student, teacher))
    target = F.one_hot(targets, student.shape[-1]).bool()

    def two_way(log: Tensor) -> Tensor:  # [n, 2]: log-probabilities of the target and of the rest
        rest = log.masked_fill(target, -torch.inf).logsumexp(-1)
        return torch.stack([log[target], rest], dim=-1)

    def others(logits: Tensor) -> Tensor:  # [n, classes - 1]: log-probabilities among the others
        return F.log_softmax(logits[~target].view(len(logits), -1) / temperature, dim=-1)

    among_two = F.kl_div(two_way(log_p), two_way(log_q), reduction="sum", log_target=True)
    among_others = F.kl_div(others(student), others(teacher), reduction="sum", log_target=True)
    return (alpha * among_two + beta * among_others) * temperature**2


def dist_loss(student: Tensor, teacher: Tensor, temperature: float, inter: float, intra: float) -> Tensor:
    """n · T² · (inter · mean over examples of 1 - r + intra · mean over classes of 1 - r), r Pearson's correlation
    of softened probabilities (Huang et al. 2022, arXiv:2205.10536, eq. 8 to 10, with T² as in the authors' code).

    ``intra`` correlates over the examples of a micro-batch: this loss depends on what is computed together.
    """
    p, q = (F.softmax(logits / temperature, dim=-1) for logits in (student, teacher))
    rows = (1 - pearson(p, q)).mean()
    columns = (1 - pearson(p.T, q.T)).mean()
    return len(p) * temperature**2 * (inter * rows + intra * columns)


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of the rows of two [n, d], fp [n]; 0 where a row is constant."""
    return F.cosine_similarity(a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True), dim=-1, eps=1e-8)


def mean_of_softmaxes(logits: Sequence[Tensor], weights: Sequence[float], temperature: float) -> Tensor:
    """Logits whose softmax at T is the weighted mean of the teachers' softmaxes at T (arXiv:1503.02531, §1)."""
    weighted = [
        F.log_softmax(x / temperature, -1) + torch.tensor(w).log()
        for x, w in zip(logits, weights, strict=True)
    ]
    return temperature * torch.stack(weighted).logsumexp(0)


def mean_of_sigmoids(logits: Sequence[Tensor], weights: Sequence[float], temperature: float) -> Tensor:
    """The same where each class is a yes or no of its own."""
    softened = [(F.logsigmoid(x / temperature), F.logsigmoid(-x / temperature)) for x in logits]
    yes, no = (
        torch.stack(
            [log[i] + torch.tensor(w).log() for log, w in zip(softened, weights, strict=True)]
        ).logsumexp(0)
        for i in (0, 1)
    )
    return temperature * (yes - no)


def mean_of_numbers(numbers: Sequence[Tensor], weights: Sequence[float], temperature: float) -> Tensor:
    """The weighted mean; there is nothing that a temperature could soften."""
    return torch.stack([w * x for x, w in zip(numbers, weights, strict=True)]).sum(0)


DISTANCES: Mapping[str, OutputDistance] = {
    CLASS.name: OutputDistance(_class_loss, mean_of_softmaxes),
    CLASSES.name: OutputDistance(
        lambda student, teacher, targets, spec: soft_labels_loss(student, teacher, spec.temperature),
        mean_of_sigmoids,
    ),
    NUMBER.name: OutputDistance(
        lambda student, teacher, targets, spec: number_loss(student, teacher), mean_of_numbers
    ),
    # The cosine of a pair is a number too.
    PAIRS.name: OutputDistance(
        lambda student, teacher, targets, spec: number_loss(student, teacher), mean_of_numbers
    ),
}
