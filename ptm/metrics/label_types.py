"""What a classifier is to learn from each kind of target: its loss, and what measures it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from ptm.metrics.classification import ClassificationMetrics
from ptm.metrics.multilabel import MultiLabelMetrics
from ptm.metrics.regression import NumberMetrics
from ptm.pipeline import Metrics


def supervised_loss(logits: Tensor, targets: Tensor, label_type: str, smoothing: float = 0.0) -> Tensor:
    """The loss summed over examples; ``logits`` fp32 [n, outputs].

    ``class``: cross-entropy, targets int64 [n]. ``classes``: binary cross-entropy, the mean over classes of each
    example, targets 0 or 1 as float32 [n, classes]. ``number``: squared error of the one output, targets float32 [n].
    ``smoothing`` is the share of a target that is spread over all classes, or over yes and no.
    """
    if label_type == "number":
        return F.mse_loss(logits[:, 0], targets, reduction="sum")
    if label_type == "classes":
        smoothed = targets * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none").mean(-1).sum()
    return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)


def new_metrics(labels: Sequence[str], label_type: str) -> Metrics:
    """Empty metrics for outputs of this kind."""
    if label_type == "number":
        return NumberMetrics()
    return MultiLabelMetrics(labels) if label_type == "classes" else ClassificationMetrics(labels)
